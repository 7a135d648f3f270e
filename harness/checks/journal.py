"""What the machines' journals hold: the containers' logs as JSON, and no secret of anybody's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from harness.checks.base import check
from harness.checks.firewall import ON_MACHINES
from harness.checks.leaks import Needles, declared_secrets
from harness.checks.machines import programs_on_machines
from harness.errors import NoProvider
from harness.evidence import Evidence, Finding, judge
from harness.providers.machine_programs import MachineProgram
from harness.stack import Stack

__all__ = ["containers_logged", "journals_private"]

_LINES = 20_000
"""Of each machine, the newest: a leak that goes on is among them."""
_FIELDS = "MESSAGE,_SYSTEMD_UNIT,CONTAINER_NAME,CONTAINER_TAG,CONTAINER_ID_FULL,SYSLOG_IDENTIFIER"
_REPORTED = 5


@dataclass(frozen=True)
class _Line:
    """One entry of a machine's journal; ``source``: the unit or container that wrote it.

    ``tag``: Docker's for a container, whatever it was called when it wrote; empty for others.
    ``container``: its id; empty for others.
    """

    machine: str
    source: str
    tag: str
    container: str
    text: str


@check("machines.containers_logged", component="gateway", needs=ON_MACHINES)
def containers_logged(stack: Stack) -> Evidence:
    """Every container logs to its machine's journal, one JSON object a line, each request with its id."""
    containers = [program for program in programs_on_machines(stack) if program.container]
    if not containers:
        raise NoProvider("no provider of this environment runs containers on machines")
    findings, seen = [], []
    for program in containers:
        driver = _driver(stack, program)
        where = f"{program.machine}: container {program.container}"
        if driver != "journald":
            findings.append(Finding("log driver journald", driver, where, "deploy it again"))
            continue
        lines = _lines(stack, program)
        seen.append(f"{program.machine} {len(lines)}")
        if not lines:
            remedy = f"journalctl CONTAINER_TAG={program.container} there"
            findings.append(Finding("lines in the journal", "none", where, remedy))
        findings += list(_not_json(where, lines))[:_REPORTED]
    return judge(f"JSON lines in the journal: {', '.join(seen)}", findings)


def _lines(stack: Stack, program: MachineProgram) -> list[_Line]:
    """What the program's container has written, and those before it that are kept.

    What a container wrote that is gone by now (an image that was refused and taken back) is past mending:
    the journal keeps it until the machine is rebooted.
    """
    there = {one.id for one in stack.fleet.facts.of(program.machine).containers} | {""}
    written = _journal(stack, program.machine)
    return [line for line in written if line.tag == program.container and line.container in there]


def _driver(stack: Stack, program: MachineProgram) -> str:
    facts = stack.fleet.facts.of(program.machine)
    found = [one.log_driver for one in facts.containers if one.name == program.container]
    return found[0] if found else "no such container"


def _not_json(where: str, lines: Sequence[_Line]) -> Iterator[Finding]:
    for line in lines:
        try:
            record = json.loads(line.text)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            remedy = "send every logger of the process through the JSON handler"
            yield Finding("one JSON object a line", line.text[:120], where, remedy)
        elif "route" in record and not record.get("request_id"):
            yield Finding(
                "a request with its request_id", "without one", where, "log it with every request"
            )


@check("machines.journals_private", component="gateway", needs=ON_MACHINES)
def journals_private(stack: Stack) -> Evidence:
    """No journal of any machine holds a secret of this environment, in any encoding, whoever wrote it."""
    needles = Needles(declared_secrets(stack))
    names = [machine.name for machine in stack.fleet.servers]
    with ThreadPoolExecutor(len(names)) as pool:
        read = list(pool.map(lambda name: _journal(stack, name), names))
    found: dict[tuple[str, str, str], int] = {}
    for line in (line for lines in read for line in lines):
        for hit in needles.in_text(line.text):
            place = (line.machine, line.source, str(hit))
            found[place] = found.get(place, 0) + 1
    findings = [
        Finding(
            f"nothing of {hit.partition(' (')[0]}",
            f"{hit} is there, in {count} lines",
            f"{machine}: journal of {source}",
            "log the request id, not what was sent; then change the secret",
        )
        for (machine, source, hit), count in sorted(found.items())
    ]
    total = sum(map(len, read))
    return judge(f"{total} lines of {len(names)} machines: no declared secret", findings, lines=total)


def _journal(stack: Stack, machine: str) -> list[_Line]:
    """The newest lines of a machine since its start, oldest first; read once a run, whoever asks.

    Raises:
        Unreachable, CommandFailed: when they cannot be read.
    """
    argv = ["journalctl", "-q", "-b", "--no-pager", "-o", "json", f"--output-fields={_FIELDS}"]

    def read() -> list[_Line]:
        done = stack.remote.run(machine, [*argv, "-n", str(_LINES)], sudo=True, seconds=60.0).require()
        return [_line(machine, json.loads(line)) for line in done.stdout.splitlines()]

    return stack.fleet.once(f"journal of {machine}", read)


def _line(machine: str, entry: Mapping[str, Any]) -> _Line:
    source = entry.get("CONTAINER_NAME") or entry.get("_SYSTEMD_UNIT") or entry.get("SYSLOG_IDENTIFIER")
    message = entry.get("MESSAGE") or ""
    if isinstance(message, list):  # bytes that are no UTF-8 come as numbers
        message = bytes(message).decode("utf-8", "replace") if isinstance(message[0], int) else message[0]
    tag, container = (str(entry.get(name, "")) for name in ("CONTAINER_TAG", "CONTAINER_ID_FULL"))
    return _Line(machine, str(source or "the kernel"), tag, container, str(message))
