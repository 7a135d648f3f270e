"""What a provider is: the only part of the harness that changes the world.

A provider brings one component of one environment to its declared state. Its deploy is idempotent: when
nothing has to change it changes nothing and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

__all__ = [
    "ComponentProvider",
    "Deployment",
    "KeptDeployment",
    "LogReader",
    "Plan",
    "Prepares",
    "Process",
    "Program",
    "Progress",
    "Spending",
    "was_done",
]

Progress = Callable[[str], None]
"""Called with a short phrase ("building", "migrating 3 of 5") while a deployment goes on; thread-safe."""


@dataclass(frozen=True)
class Plan:
    """What a deploy would do. ``digest`` identifies the declared state; ``changes`` empty: nothing."""

    component: str
    digest: str
    changes: tuple[str, ...] = ()

    @property
    def unchanged(self) -> bool:
        """Whether a deploy would change nothing."""
        return not self.changes


@dataclass(frozen=True)
class Deployment:
    """What a deploy did. ``changes`` empty: it changed nothing."""

    component: str
    digest: str
    changes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def changed(self) -> bool:
        """Whether anything was changed."""
        return bool(self.changes)


class ComponentProvider(Protocol):
    """One component of one environment. ``component`` is web, gateway, instant, thinking or supabase."""

    component: str

    def plan(self) -> Plan:
        """Compare the declared with the live state. Reads only."""
        ...

    def deploy(self, progress: Progress) -> Deployment:
        """Bring the live state to the declared one; idempotent.

        Raises:
            DeployError: when it cannot; says at what and what to do.
        """
        ...


@runtime_checkable
class Prepares(Protocol):
    """A provider that can do a part of its deploy before what its component needs is there."""

    def prepare(self, progress: Progress) -> None:
        """Build and fetch what the deploy will need; nothing that serves is touched. Idempotent.

        Raises:
            DeployError: when it cannot, as the deploy would.
        """
        ...


@dataclass(frozen=True)
class KeptDeployment:
    """A deployment that is still there: of which ``release``, and ``where`` to look at it.

    ``trouble`` says why it cannot serve again at once; empty: it can.
    """

    id: str
    release: str
    where: str
    trouble: str = ""


@dataclass(frozen=True)
class Spending:
    """US dollars an hour of an account at a vendor: its limit (None: it has none), what it spends now."""

    limit: float | None
    now: float
    where: str


@dataclass(frozen=True)
class Program:
    """A process that the local process manager keeps running.

    ``env`` is the whole environment of the process (nothing is inherited but PATH, HOME, LANG, TMPDIR).
    ``ready`` returns true once the program serves; ``ready_seconds`` is its deadline. ``user`` is a user
    to drop to, for servers that refuse to run as root. ``digest`` says when the program must be replaced.
    ``port`` and ``other_ports`` are the loopback ports it will listen on: if another process holds one,
    the deploy says so.
    """

    name: str
    component: str
    argv: Sequence[str]
    ready: Callable[[], bool]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    user: str | None = None
    ready_seconds: float = 30.0
    stop_signal: str = "TERM"
    stop_seconds: float = 10.0
    digest: str = ""
    port: int | None = None
    other_ports: Sequence[int] = ()

    @property
    def ports(self) -> tuple[int, ...]:
        """Every port that it will listen on."""
        return (*(() if self.port is None else (self.port,)), *self.other_ports)


@dataclass(frozen=True)
class Process:
    """A running program as the process manager sees it."""

    name: str
    state: str
    pid: int
    uptime_seconds: float
    restarts: bool


class LogReader(Protocol):
    """Reads what a component has logged."""

    def lines(self, component: str, since: float = 0.0) -> list[str]:
        """Lines written after ``since`` (a mark from :meth:`mark`), oldest first."""
        ...

    def mark(self, component: str) -> float:
        """A position: lines written from now on come after it."""
        ...


_DONE = {
    "build": "built",
    "configure": "configured",
    "fetch": "fetched",
    "replace": "replaced",
    "restart": "restarted",
    "start": "started",
    "tidy": "tidied",
}


def was_done(change: str) -> str:
    """A change that a plan announced ("start the gateway"), said of what has been done."""
    verb, space, rest = change.partition(" ")
    return _DONE.get(verb, verb) + space + rest
