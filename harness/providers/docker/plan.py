"""What a rollout has to do, from what is there: pure, so that every way of dying half-way can be tried.

A machine has up to three containers, told apart by name: the one that serves, the candidate that has not
yet proven itself, and the one that served before. A name is the engine's own record and changes at once, so
whatever a killed run leaves behind says what it is, and planning again from it goes on from there.

    pull, create, drain, stop, start, gate, forget, keep, promote, undrain, sweep

A candidate gets no request before ``gate`` has seen it ready as the wanted release; what served before is
not removed before that.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

__all__ = [
    "Action",
    "Container",
    "GatewayState",
    "Slot",
    "Step",
    "Version",
    "in_order",
    "steps",
    "way_back",
]


@dataclass(frozen=True)
class Version:
    """What a container is: its image's digest (`sha256:…`) and a fingerprint of all its settings."""

    digest: str
    settings: str


@dataclass(frozen=True)
class Container:
    """A container on a machine."""

    version: Version
    running: bool


class Slot(enum.StrEnum):
    """What a container is for; the suffix of its name."""

    CURRENT = ""
    NEXT = "-next"
    PREVIOUS = "-previous"


@dataclass(frozen=True)
class GatewayState:
    """One machine as it was read back.

    ``alive``: what listens on the gateway's port answers as a gateway. ``drained``: the balancer leads no
    new request there, because it was told so. ``images``: digests of the gateway's images that it holds.
    """

    machine: str
    current: Container | None = None
    next: Container | None = None
    previous: Container | None = None
    alive: bool = False
    drained: bool = False
    images: frozenset[str] = frozenset()

    @property
    def serves(self) -> bool:
        """Whether requests are led here and answered."""
        return self.alive and not self.drained

    @property
    def in_use(self) -> frozenset[str]:
        """Digests of the images that some container here was made from."""
        held = (self.current, self.next, self.previous)
        return frozenset(container.version.digest for container in held if container)


class Action(enum.StrEnum):
    """One change at one machine (or at the balancer, for one machine); each can be done again."""

    PULL = "pull"
    """Fetch the image by its digest."""
    CREATE = "create"
    """Create the candidate from the image and the settings; it is not started."""
    REVIVE = "revive"
    """Make the previous container the candidate."""
    DRAIN = "drain"
    """Lead no new request to the machine; wait for those under way."""
    STOP = "stop"
    """Stop the serving container."""
    START = "start"
    """Start the candidate."""
    RESTART = "restart"
    """Start the serving container, or start it again."""
    GATE = "gate"
    """Wait until what was started is ready and says that it is the wanted release."""
    DISCARD = "discard"
    """Remove the candidate."""
    FORGET = "forget"
    """Remove the previous container."""
    KEEP = "keep"
    """What served before becomes the previous container."""
    RETIRE = "retire"
    """Remove what served before: the same image, with settings of the past."""
    PROMOTE = "promote"
    """The candidate becomes the serving container."""
    UNDRAIN = "undrain"
    """Lead requests to the machine again; wait until the balancer's own check holds."""
    SWEEP = "sweep"
    """Remove the images that no container here was made from."""


@dataclass(frozen=True)
class Step:
    """An action at a machine, with the version that it is about."""

    action: Action
    machine: str
    version: Version

    def __str__(self) -> str:
        return f"{self.action} {self.machine}"


def in_order(states: Iterable[GatewayState]) -> list[GatewayState]:
    """Machines that serve nothing first: what serves is not touched while another is down."""
    return sorted(states, key=lambda state: state.serves)


def steps(states: Sequence[GatewayState], target: Version) -> list[Step]:
    """Everything that brings all machines to ``target``, one machine after the other; nothing if all are.

    Images are fetched everywhere before anything is touched anywhere.
    """
    planned = {state.machine: list(_machine(state, target)) for state in in_order(states)}
    first = [Step(Action.PULL, name, target) for name, own in planned.items() if Action.PULL in own]
    rest = [
        Step(action, name, target)
        for name, own in planned.items()
        for action in own
        if action is not Action.PULL
    ]
    return first + rest


def way_back(states: Sequence[GatewayState], target: Version, moved: frozenset[str]) -> list[Step]:
    """From a failed rollout of ``target``, every machine to what it had: nothing has to be created for it.

    ``moved`` are those on which this rollout has already replaced what served. Of the others only the one
    that has a candidate of ``target`` was touched. Where nothing served before, nothing is left; images
    that were fetched go last.
    """
    planned: list[Step] = []
    for state in in_order(states):
        if state.machine in moved and state.current and state.current.version == target and state.previous:
            planned += steps([state], state.previous.version)
        elif state.next is not None and state.next.version == target and state.current is not None:
            planned += steps([state], state.current.version)
        elif state.next is not None:  # nothing served here before
            planned.append(Step(Action.DISCARD, state.machine, target))
    fetched = [s.machine for s in states if target.digest in s.images and s.machine not in moved]
    return planned + [Step(Action.SWEEP, name, target) for name in fetched]


def _machine(state: GatewayState, target: Version) -> Iterator[Action]:
    current, candidate = state.current, state.next
    if current is None and candidate is not None and (state.previous is not None or state.alive):
        yield Action.PROMOTE  # a run was killed between keeping the old one and this
        current, candidate = candidate, None
    if current is not None and current.version == target:
        yield from _same(state, current, candidate, target)
    else:
        yield from _replaced(state, current, candidate, target)


def _same(
    state: GatewayState, current: Container, candidate: Container | None, target: Version
) -> Iterator[Action]:
    """The wanted version is there; is it running, alone, and led to?"""
    needs_start = not current.running or not state.alive
    drained = state.drained
    if not drained and (needs_start or (candidate is not None and candidate.running)):
        yield Action.DRAIN
        drained = True
    if candidate is not None:
        yield Action.DISCARD
    if needs_start or (candidate is not None and candidate.running):
        yield Action.RESTART
    if drained:
        yield Action.GATE
        yield Action.UNDRAIN
    if state.images - _held(target, state.previous):
        yield Action.SWEEP


def _replaced(
    state: GatewayState, current: Container | None, candidate: Container | None, target: Version
) -> Iterator[Action]:
    """Another version is there, or none."""
    previous = state.previous
    drained = state.drained
    if candidate is not None and candidate.version != target:
        if candidate.running and not drained:
            yield Action.DRAIN
            drained = True
        yield Action.DISCARD
        candidate = None
    if candidate is None and previous is not None and previous.version == target:
        yield Action.REVIVE
        candidate, previous = previous, None
    if candidate is None:
        if target.digest not in state.images:
            yield Action.PULL
        yield Action.CREATE
    if not drained:
        yield Action.DRAIN
    if current is not None and current.running:
        yield Action.STOP
    yield Action.START
    yield Action.GATE
    settled, previous = _settled(current, previous, target)
    yield from settled
    yield Action.PROMOTE
    yield Action.UNDRAIN
    if (state.images | {target.digest}) - _held(target, previous):
        yield Action.SWEEP


def _settled(
    current: Container | None, previous: Container | None, target: Version
) -> tuple[list[Action], Container | None]:
    """What becomes of the container that served, and which one is the previous then."""
    if current is None:
        return [], previous
    if current.version.digest == target.digest:  # other settings only: the previous image stays
        return [Action.RETIRE], previous
    return [Action.FORGET, Action.KEEP] if previous else [Action.KEEP], current


def _held(target: Version, previous: Container | None) -> frozenset[str]:
    return frozenset({target.digest, previous.version.digest if previous else target.digest})
