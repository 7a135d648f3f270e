"""A rehearsal of one's own, raised once for all tests here; torn down after them, whatever happened."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from harness.environment import Environment
from harness.environment.loader import load
from harness.errors import HarnessError
from harness.hosts.ssh import Remote
from harness.rehearsal.down import tear_down
from harness.rehearsal.engine import connect, lacks
from harness.rehearsal.topology import Topology, topology_of
from harness.rehearsal.up import raise_rehearsal
from harness.secrets import SecretStore
from tests.pg_fixture import free_port

ROOT = Path(__file__).resolve().parents[2]
REQUIRED = "HARNESS_REQUIRE_REHEARSAL"
"""Where this is set, a machine that cannot raise a rehearsal is a failure, and nothing is skipped."""


@dataclass
class Rehearsal:
    """A copy of environments/rehearsal.yaml under another name, with addresses that nobody uses."""

    root: Path
    environment: Environment
    topology: Topology

    def up(self):
        return raise_rehearsal(self.environment, self.root, lambda phrase: None)

    def down(self):
        return tear_down(self.environment, self.root)

    def remote(self) -> Remote:
        key = SecretStore(self.root, self.topology.state).resolve(self.topology.machines.ssh.key)
        return Remote(self.topology.machines, key, self.root, self.topology.state)

    def left(self, client: docker.DockerClient) -> dict[str, list[str]]:
        """Everything of it that this machine still has, by kind."""
        chosen = {"label": f"harness.rehearsal={self.topology.name}"}
        ranges = (str(self.topology.network), str(self.topology.private))
        routes = json.loads(run("ip", "-json", "-details", "route", "show", "table", "all"))
        links = json.loads(run("ip", "-json", "link", "show"))
        interfaces = (self.topology.bridge, self.topology.operator_interface)
        found = {
            "containers": [c.name for c in client.containers.list(all=True, filters=chosen)],
            "networks": [n.name for n in client.networks.list(filters=chosen)],
            "volumes": [v.name for v in client.volumes.list(filters=chosen)],
            "routes": [r["dst"] for r in routes if r.get("dst") in ranges],
            "interfaces": [link["ifname"] for link in links if link["ifname"] in interfaces],
            "processes": processes_of(self.topology.state),
        }
        return {kind: names for kind, names in found.items() if names}


def run(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=300).stdout


def processes_of(state: Path) -> list[str]:
    """Command lines of processes that belong to a state directory, ssh's kept connections among them."""
    sockets = f"harness-{os.getuid()}-{hashlib.sha256(str(state).encode()).hexdigest()[:10]}"
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                environ = (entry / "environ").read_bytes()
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:  # it has ended meanwhile, or is not ours to read
                continue
            if str(state).encode() in environ or str(state) in command or sockets in command:
                found.append(command)
    return found


def copy_of(root: Path, name: str, number: int) -> Rehearsal:
    """environments/rehearsal.yaml as ``name``, with ``number`` as the third one of its addresses."""
    text = (ROOT / "environments" / "rehearsal.yaml").read_text()
    for old, new in (
        ("rehearsal", name),
        ("10.86.1.", f"10.86.{number}."),
        ("10.87.1.", f"10.87.{number}."),
        ("5086", str(free_port())),
    ):
        text = text.replace(old, new)
    (root / "environments").mkdir(parents=True, exist_ok=True)
    (root / "environments" / f"{name}.yaml").write_text(text)
    (root / "environments" / "local.yaml").write_text((ROOT / "environments" / "local.yaml").read_text())
    environment = load(name, root).environment
    return Rehearsal(root, environment, topology_of(environment, root))


def free_number() -> int:
    """A third number that no network of this machine has: several test runs may go on side by side."""
    routes = run("ip", "-json", "route", "show", "table", "all")
    numbers = [(os.getpid() + step) % 150 + 100 for step in range(150)]
    return next(number for number in numbers if f"10.86.{number}." not in routes)


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """The engine of this machine; tests install and start none."""
    problems = list(lacks([]))
    try:
        client = connect()
    except HarnessError as error:
        problems.append(f"{error} (start one: harness rehearsal engine)")
    if problems:
        reason = f"no rehearsal can be raised here: {'; '.join(problems)}"
        if os.environ.get(REQUIRED):
            pytest.fail(reason)
        pytest.skip(reason)
    yield client
    client.close()


@pytest.fixture(scope="session")
def rehearsal(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    number = free_number()
    made = copy_of(tmp_path_factory.mktemp("rehearsal"), f"tested-{number}", number)
    try:
        made.up()
        yield made
    finally:
        made.down()


@pytest.fixture
def remote(rehearsal: Rehearsal) -> Iterator[Remote]:
    remote = rehearsal.remote()
    yield remote
    remote.close()
