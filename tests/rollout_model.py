"""A model of machines, engines and a balancer: what a step of a rollout does to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from harness.providers.docker.plan import Action, Container, GatewayState, Step, Version, steps, way_back

__all__ = ["BAD", "NEW", "OLD", "OTHER", "Killed", "NeverReady", "World", "healthy"]

OLD = Version("sha256:old", "1")
NEW = Version("sha256:new", "1")
OTHER = Version("sha256:new", "2")  # the same image with other settings
BAD = Version("sha256:bad", "1")  # runs, and never answers


class Killed(Exception):
    pass


class NeverReady(Exception):
    pass


def healthy(version: Version, previous: Version | None = None) -> GatewayState:
    """A machine that serves ``version`` and has kept ``previous``."""
    kept = Container(previous, running=False) if previous else None
    digests = frozenset({version.digest} | ({previous.digest} if previous else set()))
    return GatewayState("?", Container(version, running=True), None, kept, alive=True, images=digests)


@dataclass
class World:
    """The machines; ``seen`` is every state that they were in, together."""

    states: dict[str, GatewayState]
    seen: list[dict[str, GatewayState]] = field(default_factory=list)

    @classmethod
    def of(cls, *states: GatewayState) -> World:
        named = {f"gateway-{n}": replace(s, machine=f"gateway-{n}") for n, s in enumerate(states, 1)}
        return cls({name: _observed(state) for name, state in named.items()})

    def copy(self) -> World:
        return World(dict(self.states))

    def now(self) -> list[GatewayState]:
        return list(self.states.values())

    def take(self, step: Step) -> None:
        changed = _observed(_CHANGES[step.action](self.states[step.machine], step.version))
        self.states[step.machine] = changed
        self.seen.append(dict(self.states))

    def run(self, target: Version, kill_before: int | None = None) -> list[Step]:
        """What Rollout.run does; killed before the step of that number, those of the way back counted."""
        taken: list[Step] = []

        def carry_out(todo: Sequence[Step]) -> None:
            for step in todo:
                if len(taken) == kill_before:
                    raise Killed
                self.take(step)
                taken.append(step)

        try:
            carry_out(steps(self.now(), target))
        except NeverReady:
            moved = frozenset(s.machine for s in taken if s.action is Action.PROMOTE)
            carry_out(way_back(self.now(), target, moved))
            raise
        return taken


def _observed(state: GatewayState) -> GatewayState:
    """``alive`` as the engine would find it."""
    serving = state.current or state.next
    return replace(state, alive=bool(serving and serving.running and serving.version != BAD))


def _gate(state: GatewayState, version: Version) -> GatewayState:
    started = state.next or state.current
    assert started is not None and started.running, "nothing was started"
    if started.version == BAD:
        raise NeverReady
    return state


def _create(state: GatewayState, version: Version) -> GatewayState:
    assert version.digest in state.images, "the image is not here"
    return replace(state, next=Container(version, running=False))


def _start(state: GatewayState, version: Version) -> GatewayState:
    assert state.next is not None
    assert not (state.current and state.current.running), "the port is taken"
    assert state.drained, "an unproven candidate would get requests"
    return replace(state, next=replace(state.next, running=True))


def _stop(state: GatewayState, version: Version) -> GatewayState:
    assert state.current is not None and state.drained, "requests under way would be cut"
    return replace(state, current=replace(state.current, running=False))


def _restart(state: GatewayState, version: Version) -> GatewayState:
    assert state.current is not None
    assert not (state.next and state.next.running), "the port is taken"
    return replace(state, current=replace(state.current, running=True))


def _keep(state: GatewayState, version: Version) -> GatewayState:
    assert state.previous is None, "the name is taken"
    return replace(state, current=None, previous=state.current)


def _promote(state: GatewayState, version: Version) -> GatewayState:
    assert state.current is None, "the name is taken"
    return replace(state, current=state.next, next=None)


_CHANGES: dict[Action, Callable[[GatewayState, Version], GatewayState]] = {
    Action.PULL: lambda s, v: replace(s, images=s.images | {v.digest}),
    Action.CREATE: _create,
    Action.REVIVE: lambda s, v: replace(s, next=s.previous, previous=None),
    Action.DRAIN: lambda s, v: replace(s, drained=True),
    Action.STOP: _stop,
    Action.START: _start,
    Action.RESTART: _restart,
    Action.GATE: _gate,
    Action.DISCARD: lambda s, v: replace(s, next=None),
    Action.FORGET: lambda s, v: replace(s, previous=None),
    Action.KEEP: _keep,
    Action.RETIRE: lambda s, v: replace(s, current=None),
    Action.PROMOTE: _promote,
    Action.UNDRAIN: lambda s, v: replace(s, drained=False),
    Action.SWEEP: lambda s, v: replace(s, images=s.in_use),
}
