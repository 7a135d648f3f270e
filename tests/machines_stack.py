"""Fixtures: real machines (containers with systemd, sshd, nftables, WireGuard), and ways to break them.

* ``machines_stand`` (session): balancer, gateway-1, instant, outsider, raised as a rehearsal of their own;
  the firewalls, the real instant engine and haproxy's real configuration deployed by their providers.
* ``machines``: the same, healed before and after each test.

In the place of the gateway's image stands a small HTTP server in a container of the same shape: these tests
are about what is around it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.checks import firewall as firewall_checks
from harness.checks import machines as machine_checks
from harness.checks.base import Check
from harness.checks.machines import programs_on_machines
from harness.environment import Environment
from harness.evidence import Evidence, Verdict
from harness.hosts import firewall
from harness.hosts.ssh import CommandResult
from harness.providers.docker.balancer import CONFIGURATION, configuration
from harness.providers.docker.provider import DockerGateway
from harness.providers.local.model_files import ModelFiles
from harness.providers.machine_programs import MachineProgram, MachinePrograms
from harness.providers.pod.instant import PodInstant
from harness.rehearsal.down import tear_down
from harness.rehearsal.up import raise_rehearsal
from harness.secrets import SecretStore
from harness.stack import Stack
from tests.pg_fixture import free_port
from tests.rehearsal.conftest import free_number

ROOT = Path(__file__).parents[1]
NAMES = ("balancer", "gateway-1", "instant", "outsider")
GATEWAY = """\
use IO::Socket::INET; $| = 1;
my $door = IO::Socket::INET->new(LocalPort => 8000, Listen => 99, ReuseAddr => 1) or die;
$SIG{TERM} = sub { exit };
while (my $call = $door->accept) {
    my $asked = "";
    while (my $line = <$call>) { $asked .= $line; last if $line eq "\\r\\n" }
    my ($id) = $asked =~ /x-request-id: (\\S+)/i;
    print STDOUT "{\\"event\\":\\"request\\",\\"request_id\\":\\"", $id // "", "\\"}\\n";
    print $call "HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\nconnection: close\\r\\n\\r\\nok"; close $call;
}
"""
START = """cd "$(mktemp -d)"
ldd /usr/bin/perl | grep -o '/[^ ]*' | xargs tar -chf image.tar /usr/bin/perl /usr/lib/*/perl-base
docker import -c 'CMD ["/usr/bin/perl", "/gateway.pl"]' image.tar perl >/dev/null
docker run -d --name gateway -p 8000:8000 --restart unless-stopped --log-driver journald \
    --log-opt tag=gateway -v /opt/gateway.pl:/gateway.pl:ro perl >/dev/null
"""
CHECKS: dict[str, Check] = {
    check.name: check
    for check in (
        firewall_checks.rules,
        firewall_checks.reach,
        firewall_checks.instant_reach,
        machine_checks.private_only,
        machine_checks.kept_running,
        machine_checks.fit,
    )
}


@dataclass
class Machines:
    """The stack, and what tests hurt its machines with."""

    stack: Stack

    def run(self, machine: str, script: str) -> CommandResult:
        """A shell script as root on ``machine``; must succeed."""
        return self.stack.remote.script(machine, f"set -eu\n{script}", sudo=True, seconds=60).require()

    def ask(self, *names: str) -> dict[str, Evidence]:
        """Ask the checks ``names`` (all of CHECKS when empty) about the machines as they are now."""
        self.stack.fleet.refresh()
        return {name: CHECKS[name](self.stack) for name in names or CHECKS}

    def only(self, *culprits: str) -> str:
        """Ask everything: ``culprits`` refute, the rest hold. What the culprits say."""
        asked = self.ask()
        wrong = {name for name, evidence in asked.items() if evidence.verdict is not Verdict.HOLDS}
        shown = {name: (str(e.verdict), e.summary, said(e)) for name, e in asked.items() if name in wrong}
        assert wrong == set(culprits), shown
        assert all(asked[name].verdict is Verdict.REFUTED for name in wrong), shown
        return "\n".join(said(asked[name]) for name in culprits)

    def heal(self) -> None:
        """Firewalls and services as declared."""
        fleet = self.stack.fleet
        firewall.prepare(fleet, [machine.name for machine in fleet.servers], lambda _: None)
        fleet.refresh()

    @contextlib.contextmanager
    def broken(self, machine: str, script: str, healed_by: str) -> Iterator[None]:
        """Inside the block as after ``script``; ``healed_by`` is run after it, whatever happens."""
        self.run(machine, script)
        try:
            yield
        finally:
            self.run(machine, healed_by)


def said(evidence: Evidence) -> str:
    return "\n".join(str(finding) for finding in evidence.findings)


def environment_text(name: str, third: int) -> dict[str, Any]:
    """environments/rehearsal.yaml with four machines, other addresses and free ports."""
    text = (ROOT / "environments" / "rehearsal.yaml").read_text()
    for network in ("10.86.1.", "10.87.1."):
        text = text.replace(network, network.replace(".1.", f".{third}."))
    found: dict[str, Any] = yaml.safe_load(text.replace(".harness/rehearsal/", f".harness/{name}/"))
    found |= {"environment": name}
    local = yaml.safe_load((ROOT / "environments" / "local.yaml").read_text())
    found["supabase"] = local["supabase"]
    found["gateway"] |= {"hosts": ["gateway-1"], "registry": f"127.0.0.1:{free_port()}"}
    hosts = [host for host in found["machines"]["hosts"] if host["name"] in NAMES]
    for host in hosts:
        for allow in host["allows"]:
            allow["sources"] = [s for s in allow["sources"] if s in (*NAMES, "operator", "anyone")]
        host["allows"] = [allow for allow in host["allows"] if allow["port"] != 8443]
    found["machines"]["hosts"] = hosts
    return found


def programs(stack: Stack) -> list[MachineProgram]:
    """What the providers keep running; the stand-in for the gateway's image has no probe in it."""
    listed = programs_on_machines(stack)
    return [replace(program, ready=None) if program.container else program for program in listed]


def deploy(stack: Stack) -> None:
    """What the providers deploy, as far as these tests are about it."""
    fleet = stack.fleet
    firewall.prepare(fleet, [machine.name for machine in fleet.servers], lambda _: None)
    stack.remote.put("gateway-1", "/opt/gateway.pl", GATEWAY.encode())
    stack.remote.script("gateway-1", f"set -eu\n{START}", sudo=True, seconds=60).require()
    stack.remote.put("balancer", CONFIGURATION, configuration(stack.environment).encode())
    stack.remote.script(
        "balancer", "systemctl -q enable haproxy; systemctl restart haproxy", sudo=True
    ).require()
    stack.providers["instant"].deploy(lambda _: None)


@pytest.fixture(scope="session")
def machines_stand(engine: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    root = tmp_path_factory.mktemp("machines")
    third = free_number()
    name = f"machines-{third}"
    (root / "inference").symlink_to(ROOT / "inference")
    environment = Environment.model_validate_json(json.dumps(environment_text(name, third)))
    stack: Stack | None = None
    try:
        raise_rehearsal(environment, root, lambda _: None)
        state = root / ".harness" / name
        stack = made = Stack(root, state, environment, SecretStore(root, state))
        stack.providers |= {"instant": (instant := PodInstant(stack)), "gateway": DockerGateway(stack)}
        instant.files = ModelFiles(ROOT)
        stack.process_control = MachinePrograms(lambda: made.remote, programs(stack))
        deploy(stack)
        yield Machines(stack)
    finally:
        if stack is not None:
            stack.close()
        tear_down(environment, root)


@pytest.fixture
def machines(machines_stand: Machines) -> Iterator[Machines]:
    machines_stand.heal()
    yield machines_stand
    machines_stand.heal()
