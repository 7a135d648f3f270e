"""Fixtures: the instant model and Supabase on real machines, deployed by their providers, and broken.

* ``services_stand`` (session): the machines `instant` and `database`, raised as a rehearsal of their own.
* ``services``: the same, deployed before and healed after each test.

There is no load balancer here: the Data API is asked on the private network, where the balancer would be.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.environment import Environment
from harness.hosts.ssh import CommandResult
from harness.identity import LocalIdentities
from harness.providers.host.supabase import HostSupabase
from harness.providers.local.model_files import ModelFiles
from harness.providers.machine_programs import MachinePrograms
from harness.providers.pod.instant import PodInstant
from harness.rehearsal.down import tear_down
from harness.rehearsal.up import raise_rehearsal
from harness.secrets import SecretStore
from harness.stack import Stack
from tests.rehearsal.conftest import free_number

ROOT = Path(__file__).parents[1]
NAMES = ("instant", "database")
CONTEXT = 512


def quietly(_: str) -> None:
    """Progress that nobody reads."""


@dataclass
class Services:
    """The stack, its two providers, and what tests hurt their machines with."""

    stack: Stack
    instant: PodInstant
    supabase: HostSupabase

    def run(self, machine: str, script: str) -> CommandResult:
        """A shell script as root on ``machine``; must succeed."""
        return self.stack.remote.script(machine, f"set -eu\n{script}", sudo=True, seconds=60).require()

    def heal(self) -> None:
        """Both as declared."""
        for provider in (self.instant, self.supabase):
            if provider.deploy(quietly).changed:
                self.stack.close()  # kept-alive connections to the ones before

    @contextlib.contextmanager
    def broken(self, machine: str, script: str, healed_by: str = "true") -> Iterator[None]:
        """Inside the block as after ``script``; ``healed_by`` is run after it, whatever happens."""
        self.run(machine, script)
        try:
            yield
        finally:
            self.run(machine, healed_by)


def environment_text(name: str, third: int) -> dict[str, Any]:
    """environments/rehearsal.yaml with two machines and other addresses; the gateway would be local."""
    text = (ROOT / "environments" / "rehearsal.yaml").read_text()
    for network in ("10.86.1.", "10.87.1."):
        text = text.replace(network, network.replace(".1.", f".{third}."))
    found: dict[str, Any] = yaml.safe_load(text.replace(".harness/rehearsal/", f".harness/{name}/"))
    password = found["gateway"]["database_password"]
    found["gateway"] = yaml.safe_load((ROOT / "environments" / "local.yaml").read_text())["gateway"]
    found["gateway"]["database_password"] = password
    found["supabase"]["api_url"] = f"http://10.87.{third}.41:3000"
    found["instant"]["model"]["context_tokens"] = CONTEXT
    hosts = [host for host in found["machines"]["hosts"] if host["name"] in NAMES]
    for host in hosts:
        for allow in host["allows"]:
            allow["sources"] = ["operator"]
    found["machines"]["hosts"] = hosts
    return found | {"environment": name}


def build(environment: Environment, root: Path) -> Services:
    """The stack of ``environment`` with its two providers, not yet deployed."""
    state = root / ".harness" / environment.environment
    stack = Stack(root, state, environment, SecretStore(root, state))
    stack.identities_source = LocalIdentities(stack)
    instant, supabase = PodInstant(stack), HostSupabase(stack)
    instant.files = ModelFiles(ROOT)
    stack.providers |= {"instant": instant, "supabase": supabase}
    programs = [*instant.machine_programs(), *supabase.machine_programs()]
    there = MachinePrograms(lambda: stack.remote, programs)
    stack.process_control = stack.logs_source = there
    return Services(stack, instant, supabase)


@pytest.fixture(scope="session")
def services_stand(engine: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    root = tmp_path_factory.mktemp("services")
    for name in ("inference", "supabase", "tools"):
        (root / name).symlink_to(ROOT / name)
    third = free_number()
    text = environment_text(f"services-{third}", third)
    environment = Environment.model_validate_json(json.dumps(text))
    made: Services | None = None
    try:
        raise_rehearsal(environment, root, quietly)
        made = build(environment, root)
        yield made
    finally:
        if made is not None:
            made.stack.close()
        tear_down(environment, root)


@pytest.fixture
def services(services_stand: Services) -> Iterator[Services]:
    services_stand.heal()
    yield services_stand
    services_stand.heal()
