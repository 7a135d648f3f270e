"""Does what runs on machines come back: when it is killed, and when its machine is rebooted?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import httpx
import psycopg

from harness.checks.base import Effect, check
from harness.checks.firewall import ON_MACHINES
from harness.checks.machines import kept_units, programs_on_machines
from harness.environment.inference import PodInstant
from harness.errors import DeadlineExceeded, NoProvider, Unreachable
from harness.evidence import Evidence, Finding, judge, refuted
from harness.hosts import firewall
from harness.hosts.facts import HostFacts, UnknownFact
from harness.providers.machine_programs import MachineProgram
from harness.stack import Stack
from harness.waiting import wait_until

__all__ = ["programs_recover", "reboots"]

_NOT_YET = (Unreachable, UnknownFact, httpx.TransportError, psycopg.OperationalError, OSError)


@check(
    "machines.programs_recover",
    component="gateway",
    needs=ON_MACHINES,
    effect=Effect.DISTURBS,
    within=600.0,
)
def programs_recover(stack: Stack) -> Evidence:
    """Every program on a machine, killed at the same moment as all others, is back within its time."""
    programs = programs_on_machines(stack)
    if not programs:
        raise NoProvider("no provider of this environment runs programs on machines")
    before = _pids(stack, programs)
    for program, pid in before.items():
        if pid:
            stack.remote.run(program.machine, program.crash(pid), sudo=True).require()
    started = time.monotonic()
    took, findings = {}, []
    for program, pid in before.items():
        left = program.ready_seconds - (time.monotonic() - started)
        try:
            wait_until(
                f"{program.name} on {program.machine}",
                _back(stack, program, pid),
                seconds=max(left, 1.0),
                longest_pause=0.5,
                errors=_NOT_YET,
            )
        except DeadlineExceeded:
            findings.append(_lost(program, _pids(stack, [program])[program]))
            stack.processes.start(program.name)
        took[f"{program.name} on {program.machine}"] = round(time.monotonic() - started, 1)
    stack.fleet.refresh()
    slowest = max(took.values())
    return judge(
        f"{len(took)} programs killed at once, all back after {slowest:.1f} s", findings, took=took
    )


def _back(stack: Stack, program: MachineProgram, before: int) -> Callable[[], bool]:
    def back() -> bool:
        now = _pids(stack, [program])[program]
        return now not in (0, before) and (program.ready is None or program.ready())

    return back


def _lost(program: MachineProgram, pid: int) -> Finding:
    what = f"unit {program.unit}" if program.unit else f"container {program.container}"
    observed = f"pid {pid}, but it does not serve" if pid else "it does not run"
    expected = f"a new process that serves within {program.ready_seconds:g} s of a kill"
    return Finding(expected, observed, f"{program.machine}: {what}", "let it be restarted always")


def _pids(stack: Stack, programs: Sequence[MachineProgram]) -> dict[MachineProgram, int]:
    """The main process of each program now; 0 when it does not run. One round trip a machine."""
    machines = dict.fromkeys(program.machine for program in programs)
    known = {name: stack.fleet.facts.read(name, ["units", "containers"]) for name in machines}
    return {program: _pid(known[program.machine], program) for program in programs}


def _pid(facts: HostFacts, program: MachineProgram) -> int:
    if program.unit:
        return facts.unit(program.unit).pid
    running = [c.pid for c in facts.containers if c.name == program.container and c.state == "running"]
    return running[0] if running else 0


@check("instant.reboots", component="instant", effect=Effect.DISTURBS, within=600.0)
def reboots(stack: Stack) -> Evidence:
    """After a reboot the instant host is back within its time: engine, private network and firewall."""
    declared = stack.environment.instant
    if not isinstance(declared, PodInstant):
        raise NoProvider(f"the provider {declared.provider} has no host that could be rebooted")
    name, seconds = declared.host, declared.recover_within_seconds
    fleet = stack.fleet
    before = fleet.facts.read(name, ["booted"]).booted
    started = time.monotonic()
    fleet.remote.run(name, ["systemctl", "reboot"], sudo=True)
    fleet.remote.drop(name)
    left: list[str] = []

    def back() -> bool:
        seen = fleet.facts.read(name)
        left[:] = _not_back(stack, seen, before)
        return not left

    try:
        wait_until(
            f"{name} after a reboot",
            back,
            seconds=seconds,
            seen=lambda: "; ".join(left),
            errors=_NOT_YET,
        )
    except DeadlineExceeded as error:
        expected = f"everything of it runs again within {seconds:g} s"
        finding = Finding(expected, error.last_seen, f"{name}, rebooted", "enable the units that it needs")
        return refuted(f"{name} is not back after {seconds:g} s", finding)
    finally:
        fleet.refresh()
    took = time.monotonic() - started
    return judge(f"{name}: rebooted, everything back after {took:.1f} s", [], seconds=round(took, 1))


def _not_back(stack: Stack, seen: HostFacts, before: float) -> list[str]:
    """What of a machine is not yet as it was before its reboot."""
    if seen.booted <= before + 0.5:
        return ["it has not gone down yet"]
    machine = stack.fleet.machines.host(seen.machine)
    missing = [f"firewall: {wrong}" for wrong in firewall.prepared(stack.fleet, machine, seen)]
    for place, unit, _ in kept_units(stack):
        if place == seen.machine and seen.unit(unit).state != "active":
            missing.append(f"{unit} is {seen.unit(unit).state}")
    for program in programs_on_machines(stack):
        if program.machine == seen.machine and program.ready and not program.ready():
            missing.append(f"{program.name} does not serve")
    return missing
