"""What it costs to ask machines what they are: our one batch against testinfra and pyinfra.

    .venv/bin/python -m benchmarks.hosts [--machines 6 50] [--rounds 3] [--write]

Needs root and Docker: it raises its own machines, and takes them away. pyinfra goes into a virtual
environment that is thrown away. Everybody asks for the same nine facts of each; ours come with more.
--write puts the table into docs/performance.md between its markers.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import testinfra
import yaml

from harness.environment import Environment
from harness.hosts.fleet import Fleet
from harness.hosts.ssh import Remote
from harness.hosts.survey import survey
from harness.rehearsal.down import tear_down
from harness.rehearsal.up import raise_rehearsal
from harness.secrets import SecretStore

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- hosts:begin -->", "<!-- hosts:end -->"
PYINFRA = "pyinfra==3.10.0"
NAME = "machines-measured"
Measured = tuple[float, float]
"""Seconds, and commands a machine."""


def environment(count: int) -> Environment:
    """environments/rehearsal.yaml with ``count`` machines, all of them servers with ssh alone."""
    text = (ROOT / "environments" / "rehearsal.yaml").read_text()
    text = text.replace("10.86.1.", "10.86.99.").replace("10.87.1.", "10.87.99.")
    found: dict[str, Any] = yaml.safe_load(text.replace(".harness/rehearsal/", f".harness/{NAME}/"))
    local = yaml.safe_load((ROOT / "environments" / "local.yaml").read_text())
    found |= {name: local[name] for name in ("supabase", "instant")}
    found["gateway"] |= {"hosts": ["machine-0"], "balancer": "machine-1", "registry": "127.0.0.1:5099"}
    found["environment"] = NAME
    found["machines"].pop("operator_private_address")
    allows = [{"port": 22, "sources": ["operator"]}]
    found["machines"]["hosts"] = [
        {"name": f"machine-{n}", "address": f"10.86.99.{n + 10}", "allows": allows} for n in range(count)
    ]
    return Environment.model_validate_json(json.dumps(found))


class Counting(Remote):
    """Counts what is run on machines."""

    commands = 0

    def _run(self, *arguments: Any) -> subprocess.CompletedProcess[bytes]:
        Counting.commands += 1
        return super()._run(*arguments)

    def talking(self, *arguments: Any, **named: Any) -> Any:
        Counting.commands += 1
        return super().talking(*arguments, **named)


def ours(environment: Environment, root: Path, *, tried: bool) -> Callable[[], Measured]:
    """One batch of facts a machine; with ``tried``, every connection between them as well."""
    machines = environment.machines
    assert machines is not None
    state = root / ".harness" / NAME
    remote = Counting(machines, SecretStore(root, state).resolve(machines.ssh.key), root, state)
    fleet = Fleet(machines, remote)
    names = list(fleet.names)
    with ThreadPoolExecutor(8) as pool:  # connections are made once, and not measured
        list(pool.map(lambda name: remote.run(name, ["true"]), names))

    def once() -> Measured:
        fleet.refresh()
        Counting.commands, started = 0, time.monotonic()
        fleet.facts.every(names)
        if tried:
            assert not survey(fleet).unreachable
        return time.monotonic() - started, Counting.commands / len(names)

    return once


def with_testinfra(environment: Environment, root: Path, *, reused: bool) -> Callable[[], Measured]:
    """The nine facts, asked one by one on one machine after the other, as tests do."""
    machines = environment.machines
    assert machines is not None
    state = root / ".harness" / NAME
    configuration = state / f"ssh_config-{reused}"
    lines = ["Host *", "  User deploy", f"  UserKnownHostsFile {root / machines.ssh.known_hosts}"]
    lines += [f"  IdentityFile {root / machines.ssh.key.removeprefix('file:')}", "  IdentitiesOnly yes"]
    sockets = tempfile.mkdtemp(prefix="ti")
    lines += [f"  ControlPath {sockets}/%C", "  ControlPersist 60"] if reused else []
    configuration.write_text("\n".join(lines) + "\n")

    def once() -> Measured:
        commands, started = 0, time.monotonic()
        for machine in machines.hosts:
            host = testinfra.get_host(
                f"ssh://{machine.address}?ssh_config={configuration}&sudo=true", sudo=True
            )
            inner, run = 0, host.backend.run

            def counted(*arguments: Any, run: Any = run, **named: Any) -> Any:
                nonlocal inner
                inner += 1
                return run(*arguments, **named)

            host.backend.run = counted
            nine(host)
            commands += inner
        return time.monotonic() - started, commands / len(machines.hosts)

    return once


def nine(host: Any) -> None:
    """The nine facts in testinfra's words."""
    assert host.service("ssh").is_running
    assert host.service("ssh").is_enabled
    assert host.socket("tcp://0.0.0.0:22").is_listening
    assert host.interface("eth0").addresses
    assert host.check_output("nft -j list ruleset")
    assert host.mount_point("/").exists
    assert host.process.filter(comm="sshd")
    assert host.file("/etc/passwd").sha256sum
    assert host.check_output("date +%s")


PYINFRA_PROGRAM = """
import json, sys, time
from pyinfra.api import Config, Inventory, State
from pyinfra.api.connect import connect_all
from pyinfra.api.facts import get_facts
from pyinfra.facts.files import Sha256File
from pyinfra.facts.hardware import NetworkDevices
from pyinfra.facts.server import Command, Date, Mounts
from pyinfra.facts.systemd import SystemdEnabled, SystemdStatus
asked = json.loads(sys.stdin.read())
options = {"ssh_user": "deploy", "ssh_key": asked["key"], "ssh_known_hosts_file": asked["known_hosts"]}
state = State(Inventory((asked["hosts"], options)), Config(SUDO=True, PARALLEL=len(asked["hosts"])))
connect_all(state)
commands = ["ss -Htulnp", "nft -j list ruleset", "ps -eo pid,args"]
for _ in range(asked["rounds"]):
    started = time.monotonic()
    for fact in (SystemdStatus, SystemdEnabled, NetworkDevices, Mounts, Date):
        assert all(get_facts(state, fact).values())
    for command in commands:
        assert all(get_facts(state, Command, args=(command,)).values())
    assert all(get_facts(state, Sha256File, args=("/etc/passwd",)).values())
    print(time.monotonic() - started, flush=True)
"""


def with_pyinfra(environment: Environment, root: Path, python: Path, rounds: int) -> list[Measured]:
    """The nine facts by pyinfra, on all machines side by side; connections are made before."""
    machines = environment.machines
    assert machines is not None
    asked = {
        "hosts": [machine.address for machine in machines.hosts],
        "key": str(root / machines.ssh.key.removeprefix("file:")),
        "known_hosts": str(root / machines.ssh.known_hosts),
        "rounds": rounds,
    }
    done = subprocess.run(
        [python, "-c", PYINFRA_PROGRAM],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"pyinfra: {done.stderr[-1500:]}")
    return [(float(line), 9.0) for line in done.stdout.split()]


def middle(measured: list[Measured]) -> Measured:
    return statistics.median(s for s, _ in measured), statistics.median(c for _, c in measured)


def measure(count: int, rounds: int, python: Path) -> dict[str, Measured]:
    """Everybody, on ``count`` machines."""
    with tempfile.TemporaryDirectory() as directory:
        root, declared = Path(directory), environment(count)
        try:
            raise_rehearsal(declared, root, lambda phrase: print(f"  … {phrase}", file=sys.stderr))
            contenders = {
                "harness: all facts, one batch": ours(declared, root, tried=False),
                "harness: facts, and every connection tried": ours(declared, root, tried=True),
                "testinfra, connection reused": with_testinfra(declared, root, reused=True),
                "testinfra as it comes": with_testinfra(declared, root, reused=False),
            }
            found: dict[str, Measured] = {}
            for name, once in contenders.items():
                if "as it comes" in name:  # it takes minutes, and nothing of it stays warm
                    found[name] = once()
                else:
                    once()  # the first one pays for what is cold
                    found[name] = middle([once() for _ in range(rounds)])
                print(f"  {count} machines: {name}: {found[name][0]:.2f} s", file=sys.stderr)
            found["pyinfra, side by side"] = middle(with_pyinfra(declared, root, python, rounds))
            return found
        finally:
            tear_down(declared, root)


def table(results: dict[int, dict[str, Measured]]) -> str:
    counts = sorted(results)
    first = "harness: all facts, one batch"
    head = ["who asks", "commands a machine"]
    for count in counts:
        head += [f"{count} machines", "x ours"]
    rows = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for name in results[counts[0]]:
        cells = [name, f"{results[counts[0]][name][1]:.0f}"]
        for count in counts:
            seconds, base = results[count][name][0], results[count][first][0]
            cells += [f"{seconds * 1000:,.0f} ms", f"{seconds / base:.1f}"]
        rows.append(f"| {' | '.join(cells)} |")
    load = os.getloadavg()[0]
    told = f"Nine facts of each machine (containers, {os.cpu_count()} cores, load {load:.0f}); medians;"
    return "\n".join([told, "connections stand, except where testinfra makes its own.", "", *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machines", type=int, nargs="+", default=[6, 50])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        venv.create(directory, with_pip=True)
        python = Path(directory) / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "-q", PYINFRA], check=True)
        results = {count: measure(count, options.rounds, python) for count in options.machines}
    text = table(results)
    print(text)
    if options.write:
        page = ROOT / "docs" / "performance.md"
        before, _, rest = page.read_text().partition(BEGIN)
        page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
