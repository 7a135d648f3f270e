"""What a step may do: declare that a component is deployed, and ask a check.

Every step function runs twice. First, right after collection, with a :class:`Recorder`: so the harness
learns which components to deploy and which questions will be asked, and can do both side by side. Then, as
its scenario runs, with the real thing, which waits for the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.checks.base import Check

__all__ = ["Ask", "Deploy", "Question", "Recorder"]


@dataclass(frozen=True)
class Question:
    """A check with the parameters of one step."""

    check: Check
    parameters: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        shown = ", ".join(f"{name}={value}" for name, value in self.parameters)
        return f"{self.check.name}({shown})" if shown else self.check.name


class Deploy(Protocol):
    """The fixture ``deploy``: ``deploy("gateway")`` means the gateway is in its declared state."""

    def __call__(self, component: str) -> None:
        """Wait until ``component`` is deployed; fail the step when it is not."""
        ...


class Ask(Protocol):
    """The fixture ``ask``: ``ask(checks.ready)`` fails the step unless the evidence passes."""

    def __call__(self, check: Check, **parameters: Any) -> None:
        """Ask ``check`` with the parameters of the step (hashable values)."""
        ...


@dataclass
class Recorder:
    """Stands in for both fixtures while the run is planned; collects what the steps would do."""

    components: list[str] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)

    def deploy(self, component: str) -> None:
        """Remember that ``component`` is needed."""
        if component not in self.components:
            self.components.append(component)

    def ask(self, check: Check, **parameters: Any) -> None:
        """Remember the question."""
        question = Question(check, tuple(sorted(parameters.items())))
        if question not in self.questions:
            self.questions.append(question)
