"""The errors of the harness: one base, so that a caller can catch them all.

    HarnessError                 anything a person should read without a traceback
    ├── ConfigurationError       environment files, secret references, flags (all problems at once)
    ├── DeployError              a provider could not bring a component to its declared state
    │   └── RolledBack           it did not, and what served before serves again
    ├── DeadlineExceeded         a wait ran out; carries what was last seen
    ├── NoProvider               nothing implements this provider for this component yet
    └── Unreachable              a machine did not let us in, or did not answer

A contradiction between the world and a checklist is not an error: it is Evidence with the verdict
``refuted``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "ConfigurationError",
    "DeadlineExceeded",
    "DeployError",
    "HarnessError",
    "NoProvider",
    "Problem",
    "RolledBack",
    "Unreachable",
]


class HarnessError(Exception):
    """Base of every error that the harness raises on purpose."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a configuration: where it stands, what it is, what to do."""

    where: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f" ({self.hint})" if self.hint else "")


class ConfigurationError(HarnessError):
    """Every configuration problem that could be found, reported at once."""

    def __init__(self, problems: Sequence[Problem], title: str = "configuration") -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        noun = "problem" if count == 1 else "problems"
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"{title}: {count} {noun}\n{lines}")


class DeployError(HarnessError):
    """A deployment stopped: which component, at what, and what to do about it."""

    def __init__(self, component: str, what: str, hint: str = "") -> None:
        self.component, self.what, self.hint = component, what, hint
        super().__init__(f"{component}: {what}" + (f"\n  what to do: {hint}" if hint else ""))


class RolledBack(DeployError):
    """A deployment failed and went back by itself: on which ``machines``, in how many ``seconds``."""

    def __init__(
        self, component: str, what: str, hint: str, machines: Sequence[str], seconds: float
    ) -> None:
        super().__init__(component, what, hint)
        self.machines, self.seconds = tuple(machines), seconds


class DeadlineExceeded(HarnessError):
    """A wait ran into its deadline."""

    def __init__(self, what: str, seconds: float, last_seen: str) -> None:
        self.what, self.seconds, self.last_seen = what, seconds, last_seen
        super().__init__(f"{what}: not within {seconds:g} s; last seen: {last_seen}")


class NoProvider(HarnessError):
    """The environment names a provider that nothing implements for what was asked."""


class Unreachable(HarnessError):
    """A machine did not let us in, or did not answer: an outage, not a finding."""

    def __init__(self, machine: str, why: str) -> None:
        self.machine, self.why = machine, why
        super().__init__(f"{machine}: {why}")
