"""A rollout: carries out what :mod:`harness.providers.docker.plan` says, one step after the other.

Thin on purpose: every decision is the plan's. When a gateway does not become ready, those that were changed
go back to what they had, and nothing else is touched.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Protocol

from docker.errors import DockerException

from harness.errors import DeadlineExceeded, DeployError, RolledBack
from harness.providers.base import Progress
from harness.providers.docker.balancer import Server, merged
from harness.providers.docker.engine import Engine, NotReady
from harness.providers.docker.plan import Action, GatewayState, Slot, Step, Version, steps, way_back
from harness.redaction import redact
from harness.waiting import wait_until

__all__ = ["Balances", "Rollout"]

_REFILL_SECONDS = 15.0


class Balances(Protocol):
    """What a rollout needs of a load balancer."""

    def servers(self) -> list[Server]:
        """Every gateway in every back end."""
        ...

    def drain(self, name: str) -> None:
        """Lead no new request to ``name``."""
        ...

    def undrain(self, name: str) -> None:
        """Lead requests to ``name`` again."""
        ...


class Rollout:
    """Brings the gateways on ``engines`` to one version behind ``balancer``.

    ``pulling`` makes the registry reachable from a machine for as long as its block lasts;
    ``before`` is called before every step (the deploy lock is still ours; tests kill there).
    """

    Before = Callable[[Step], None]

    def __init__(
        self,
        engines: Mapping[str, Engine],
        balancer: Balances,
        *,
        drain_seconds: float,
        pulling: Callable[[str], AbstractContextManager[object]] = lambda _: contextlib.nullcontext(),
        before: Before = lambda _: None,
        progress: Progress = lambda _: None,
    ) -> None:
        self.engines, self._balancer = engines, balancer
        self._drain_seconds, self._pulling = drain_seconds, pulling
        self._before, self._progress = before, progress

    def states(self, *, balanced: bool = True) -> list[GatewayState]:
        """Every machine as it is, all read at once; without the balancer, when it is not set up yet."""
        servers = self._balancer.servers() if balanced else []

        def read(name: str) -> GatewayState:
            server = merged(servers, name)
            return self.engines[name].state(drained=server is not None and server.drained)

        with ThreadPoolExecutor(max(1, len(self.engines))) as pool:
            return list(pool.map(read, self.engines))

    def run(self, target: Version) -> list[Step]:
        """Bring every gateway to ``target``; the steps that were taken, none when all were there.

        Raises:
            RolledBack: when a gateway does not become ready; all serve what they served before.
            DeployError: when nothing served before, or a step cannot be taken.
        """
        taken: list[Step] = []
        try:
            todo = steps(self.states(), target)
            fetched = [step for step in todo if step.action is Action.PULL]
            taken += self._together(fetched)
            for step in todo[len(fetched) :]:
                self._take(step)
                taken.append(step)
        except NotReady as failure:
            raise self._back(failure, target, taken) from failure
        return taken

    def fetch(self, target: Version) -> list[Step]:
        """Have the image of ``target`` on every machine before a rollout; what was fetched.

        Raises:
            DeployError: when a machine cannot fetch it.
        """
        todo = steps(self.states(balanced=False), target)
        return self._together([step for step in todo if step.action is Action.PULL])

    # --- inside ----------------------------------------------------------------------------------

    def _together(self, todo: Sequence[Step]) -> list[Step]:
        with ThreadPoolExecutor(max(1, len(todo))) as pool:
            return [step for step, _ in zip(todo, pool.map(self._take, todo), strict=True)]

    def _back(self, failure: NotReady, target: Version, taken: Sequence[Step]) -> DeployError:
        started = time.monotonic()
        moved = frozenset(step.machine for step in taken if step.action is Action.PROMOTE)
        todo = way_back(self.states(), target, moved)
        self._progress("not ready: going back")
        served = started
        for step in todo:
            self._take(step)
            served = time.monotonic() if step.action is Action.UNDRAIN else served
        if not any(step.action is Action.UNDRAIN for step in todo):
            return DeployError("gateway", failure.what, "nothing served there before; read its log")
        seconds = served - started
        machines = tuple(dict.fromkeys(s.machine for s in todo if s.action is not Action.SWEEP))
        done = f"{' and '.join(machines)} went back to what served before in {seconds:.1f} s"
        hint = "read its log, mend it, deploy again"
        return RolledBack("gateway", f"{failure.what}\n  {done}", hint, machines, seconds)

    def _take(self, step: Step) -> None:
        self._before(step)
        self._progress(f"{step.machine}: {step.action}")
        try:
            self._DO[step.action](self, self.engines[step.machine], step)
        except (DockerException, OSError) as error:
            what = f"{step.machine}: cannot {step.action}: {redact(str(error))}"
            raise DeployError("gateway", what, "run it again: it goes on from what is there") from error

    def _pull(self, engine: Engine, step: Step) -> None:
        with self._pulling(step.machine):
            engine.pull(step.version)

    def _drain(self, engine: Engine, step: Step) -> None:
        servers = self._balancer.servers()
        own = merged(servers, step.machine)
        others = [s for n in self.engines if n != step.machine and (s := merged(servers, n))]
        serves = own is not None and own.up and not own.drained
        if serves and others and not any(s.up and not s.drained for s in others):
            what = f"draining {step.machine} would leave no gateway: none of the others is ready"
            raise DeployError("gateway", what, f"look at {' and '.join(s.name for s in others)} first")
        self._balancer.drain(step.machine)
        with contextlib.suppress(DeadlineExceeded):  # they get the rest of their time when it is stopped
            wait_until(
                f"requests at {step.machine}",
                lambda: self._sessions(step.machine) == 0,
                seconds=self._drain_seconds,
            )

    def _undrain(self, engine: Engine, step: Step) -> None:
        self._balancer.undrain(step.machine)
        try:
            wait_until(
                f"the balancer's check of {step.machine}",
                lambda: (s := merged(self._balancer.servers(), step.machine)) is not None and s.up,
                seconds=_REFILL_SECONDS,
            )
        except DeadlineExceeded as error:
            what = f"{step.machine} is ready, but the balancer does not find it ready: {error}"
            raise NotReady("gateway", what) from error

    def _sessions(self, machine: str) -> int:
        server = merged(self._balancer.servers(), machine)
        return server.sessions if server else 0

    def _sweep(self, engine: Engine, step: Step) -> None:
        state = engine.state(drained=False)
        engine.sweep(state.in_use)

    _DO: Mapping[Action, Callable[[Rollout, Engine, Step], None]] = {
        Action.PULL: _pull,
        Action.CREATE: lambda _, engine, step: engine.create(step.version),
        Action.REVIVE: lambda _, engine, step: engine.rename(Slot.PREVIOUS, Slot.NEXT),
        Action.DRAIN: _drain,
        Action.STOP: lambda _, engine, step: engine.stop(),
        Action.START: lambda _, engine, step: engine.start(),
        Action.RESTART: lambda _, engine, step: engine.restart(),
        Action.GATE: lambda _, engine, step: engine.gate(),
        Action.DISCARD: lambda _, engine, step: engine.discard(Slot.NEXT),
        Action.FORGET: lambda _, engine, step: engine.discard(Slot.PREVIOUS),
        Action.KEEP: lambda _, engine, step: engine.rename(Slot.CURRENT, Slot.PREVIOUS),
        Action.RETIRE: lambda _, engine, step: engine.discard(Slot.CURRENT),
        Action.PROMOTE: lambda _, engine, step: engine.rename(Slot.NEXT, Slot.CURRENT),
        Action.UNDRAIN: _undrain,
        Action.SWEEP: _sweep,
    }
