"""Tries every connection between the machines at once, and asks each firewall what it refused.

Two commands a machine: the facts, and one program that tries everything from there and waits, so that
what the firewalls refused is read when every vantage point has finished.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from typing import Any

from harness.environment.machines import OPERATOR, Machines
from harness.errors import Unreachable
from harness.hosts.conversation import Conversation
from harness.hosts.fleet import Fleet
from harness.hosts.matrix import Probe, Seen, matrix
from harness.hosts.policy import Refused, refused, resolved

__all__ = ["Survey", "survey"]

DEADLINE_SECONDS = 0.25
"""What must be refused gets so long to answer; a refusal is proven by the firewall that refused."""
PATIENCE_SECONDS = 3.0
"""What must answer gets so long: a busy machine is no finding."""
_ROUNDS = 3
_ANSWER_SECONDS = 40.0
_PROGRAM = resources.files("harness.hosts").joinpath("probe.py").read_bytes()
_BOOT = "import sys; exec(sys.stdin.buffer.read(int(sys.stdin.buffer.readline())))"
_ARGV = ("python3", "-I", "-S", "-c", _BOOT)


@dataclass(frozen=True)
class Survey:
    """What every vantage point saw. ``unreachable``: machines that could not be asked, and why."""

    seen: tuple[Seen, ...]
    refused: Mapping[str, Refused | None]
    unreachable: Mapping[str, Unreachable]


def survey(fleet: Fleet) -> Survey:
    """Try everything, once a run; whoever asks again gets the same (until ``fleet.refresh()``).

    Raises:
        UnknownFact: when a machine could not say what listens on it.
    """
    return fleet.once("survey", lambda: _survey(fleet))


def _survey(fleet: Fleet) -> Survey:
    known = fleet.facts.all(fleet.names)
    lost = {name: facts for name, facts in known.items() if isinstance(facts, Unreachable)}
    facts = {name: facts for name, facts in known.items() if not isinstance(facts, Unreachable)}
    seen: dict[Probe, Seen] = {}
    denied: dict[str, Refused | None] = {}
    waiting = [probe for probe in matrix(fleet.machines, facts) if probe.vantage not in lost]
    for _ in range(_ROUNDS):
        tried, told, gone = _try(fleet, waiting)
        lost |= gone
        denied |= told
        seen |= {probe: _seen(fleet.machines, probe, how, told.get(probe.target)) for probe, how in tried}
        waiting = [probe for probe in waiting if probe in seen and _unclear(seen[probe])]
        if not waiting:
            break
    return Survey(tuple(seen.values()), denied, lost)


def _unclear(seen: Seen) -> bool:
    """Whether it may have been bad luck: a tunnel takes a handshake, which is tried again after 5 s."""
    return seen.outcome == "silent" and not seen.denied and seen.probe.joined


def _seen(machines: Machines, probe: Probe, tried: Mapping[str, Any], denied: Refused | None) -> Seen:
    found = None
    if denied is not None:
        found = (tried["own_address"], tried["own_port"], probe.port) in denied.tries
        if probe.vantage == OPERATOR and not probe.allowed:  # a router may have changed our source port
            private = machines.operator_private_address
            ours = resolved(machines.operator) if probe.over == "public" else (private,)
            found |= any(source in ours and port == probe.port for source, _, port in denied.tries)
    return Seen(probe, tried["outcome"], tried["ms"], found)


# --- the conversation ----------------------------------------------------------------------------

Tried = list[tuple[Probe, dict[str, Any]]]


def _try(
    fleet: Fleet, wanted: Sequence[Probe]
) -> tuple[Tried, dict[str, Refused | None], dict[str, Unreachable]]:
    """How each probe ended, what each target refused, and which machines were lost on the way."""
    probes: dict[str, list[Probe]] = {probe.target: [] for probe in wanted}
    for probe in wanted:
        probes.setdefault(probe.vantage, []).append(probe)
    lost: dict[str, Unreachable] = {}
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(len(probes) or 1) as pool:
        talks: dict[str, Conversation] = {}

        def begin(vantage: str) -> list[tuple[Probe, dict[str, Any]]]:
            with _lost(vantage, lost):
                talks[vantage] = talk = stack.enter_context(_talking(fleet, vantage))
                talk.say(_asked(probes[vantage]))
                return list(zip(probes[vantage], json.loads(talk.line(_ANSWER_SECONDS)), strict=True))
            return []

        def end(vantage: str) -> Refused | None:
            with _lost(vantage, lost):
                talks[vantage].say(b"\n")
                return refused(json.loads(talks[vantage].line(_ANSWER_SECONDS)))
            return None

        tried = [one for results in pool.map(begin, probes) for one in results]
        told = dict(zip(talks, pool.map(end, talks), strict=True))
    return tried, {name: said for name, said in told.items() if name not in lost}, lost


@contextlib.contextmanager
def _lost(vantage: str, lost: dict[str, Unreachable]) -> Iterator[None]:
    try:
        yield
    except Unreachable as error:
        lost[vantage] = error
    except ValueError as error:
        lost[vantage] = Unreachable(vantage, f"its answer makes no sense: {error}")


def _asked(probes: Sequence[Probe]) -> bytes:
    asked = {
        "targets": [[p.address, p.port, p.allowed] for p in probes],
        "patience": PATIENCE_SECONDS,
        "deadline": DEADLINE_SECONDS,
    }
    program = _PROGRAM + f"\nmain({asked!r})\n".encode()
    return f"{len(program)}\n".encode() + program


@contextlib.contextmanager
def _talking(fleet: Fleet, vantage: str) -> Iterator[Conversation]:
    if vantage != OPERATOR:
        with fleet.remote.talking(vantage, _ARGV, sudo=True) as talk:
            yield talk
        return
    with subprocess.Popen(
        [sys.executable, *_ARGV[1:]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            yield Conversation(vantage, process)
        finally:
            process.kill()
