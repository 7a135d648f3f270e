"""How a check is written: a function from the stack to Evidence, with its facts declared beside it.

    @check("gateway.ready", component="gateway")
    def ready(stack: Stack) -> Evidence:
        "The gateway is ready, and names every dependency."
        ...
        return judge(f"ready; {seen}", findings, latency_ms=3)

A check never asserts, prints, or returns a bool. An outage that it does not handle (connection refused, a
time-out) becomes ``unreachable``; anything else that it raises becomes ``blocked`` and says where it broke.
"""

from __future__ import annotations

import enum
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import httpx
import psycopg

from harness.errors import DeadlineExceeded, HarnessError, NoProvider, Unreachable
from harness.evidence import Evidence, blocked, unreachable

if TYPE_CHECKING:
    from harness.stack import Stack

__all__ = ["CHECKS", "Check", "Effect", "Turn", "check"]


class Effect(enum.Enum):
    """What asking does to the environment."""

    READS = "reads"
    """Changes nothing; runs beside everything else."""
    PLANTS = "plants"
    """Writes rows or requests of its own and removes them; runs beside everything else."""
    DISTURBS = "disturbs"
    """Stops, kills or fills something and heals it; runs alone, and never under --verify-only."""


class Turn(enum.IntEnum):
    """When, among the checks that run side by side, a check is asked."""

    TIMED = 0
    """Judges by the clock: once nothing is being deployed any more, and before heavy checks."""
    ANY = 1
    """As soon as what it needs is there."""
    HEAVY = 2
    """Keeps its component busy: after the timed checks of that component."""
    LAST = 3
    """Wants quiet (a cold start): after all other checks that need its component."""


@dataclass(frozen=True)
class Check:
    """A question with a name. Call it with the stack and the step's parameters to get Evidence.

    ``needs`` are the components that must be deployed before it can be asked (its own is always among
    them). ``turn`` says when it may start. ``within`` seconds it must have answered, or it counts as
    unreachable.
    """

    name: str
    component: str
    needs: tuple[str, ...]
    effect: Effect
    function: Callable[..., Evidence]
    turn: Turn = Turn.ANY
    within: float = 90.0

    @property
    def purpose(self) -> str:
        """The first line of the check's docstring."""
        return (self.function.__doc__ or "").strip().partition("\n")[0]

    def __call__(self, stack: Stack, **parameters: Any) -> Evidence:
        """Ask. Never raises: an outage is ``unreachable``, a broken check is ``blocked``."""
        started = time.monotonic()
        evidence = self._ask(stack, parameters)
        if not isinstance(evidence, Evidence):  # True would be a verdict without a proof
            evidence = blocked(f"the check itself broke: it returned {evidence!r}, which is no Evidence")
        return replace(
            evidence, check=self.name, component=self.component, seconds=time.monotonic() - started
        )

    def _ask(self, stack: Stack, parameters: dict[str, Any]) -> Evidence:
        try:
            return self.function(stack, **parameters)
        except NoProvider as error:
            return blocked(f"no provider: {error}")
        except (httpx.TransportError, psycopg.OperationalError, ConnectionError, TimeoutError) as error:
            return unreachable(_where(error) or self.component, error)
        except (DeadlineExceeded, Unreachable) as error:
            return unreachable(getattr(error, "machine", self.component), getattr(error, "why", str(error)))
        except (HarnessError, *_REFUSALS) as error:  # type: ignore[misc] # mypy: a tuple made of keys
            return blocked(f"{_REFUSALS.get(type(error), '')}{error}".strip())
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            return blocked(
                f"the check itself broke: {type(error).__name__}: {error} ({frame.filename}:{frame.lineno})"
            )


_REFUSALS: dict[type[Exception], str] = {
    psycopg.errors.InsufficientPrivilege: "the database role lacks a right that this check needs: ",
    psycopg.errors.ReadOnlySqlTransaction: "the database only reads (a replica?), and this check writes: ",
}


def _where(error: BaseException) -> str:
    """The URL that a transport error was about, when it knows."""
    if isinstance(error, httpx.RequestError):
        try:
            return str(error.request.url)
        except RuntimeError:  # httpx: the request was never set
            return ""
    return ""


CHECKS: dict[str, Check] = {}
"""Every check by name, filled as the modules of harness.checks are imported."""


def check(
    name: str,
    *,
    component: str,
    needs: tuple[str, ...] = (),
    effect: Effect = Effect.READS,
    turn: Turn = Turn.ANY,
    within: float = 90.0,
) -> Callable[[Callable[..., Evidence]], Check]:
    """Register a function as the check ``name``.

    Raises:
        ValueError: when the name is taken: two checks of one name would hide each other.
    """

    def register(function: Callable[..., Evidence]) -> Check:
        if name in CHECKS:
            raise ValueError(f"two checks are named {name!r}")
        wanted = tuple(dict.fromkeys((component, *needs)))
        made = Check(name, component, wanted, effect, function, turn, within)
        CHECKS[name] = made
        return made

    return register
