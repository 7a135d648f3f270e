"""The one value that everything ends in.

A check returns :class:`Evidence`; sinks (terminal, Allure, JUnit, decision page) serialise it. Text is
redacted here, when evidence is built, so no sink has to remember to do it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.secrets import redact, redact_tree

__all__ = [
    "Evidence",
    "Finding",
    "Verdict",
    "blocked",
    "holds",
    "judge",
    "refuted",
    "unreachable",
]


class Verdict(enum.StrEnum):
    """How a check ended. Only ``holds`` and an unexpired ``waived`` let a run pass."""

    HOLDS = "holds"
    REFUTED = "refuted"
    UNREACHABLE = "unreachable"
    BLOCKED = "blocked"
    WAIVED = "waived"

    @property
    def passes(self) -> bool:
        """Whether a run in which every check ended like this is a pass."""
        return self in (Verdict.HOLDS, Verdict.WAIVED)


@dataclass(frozen=True)
class Finding:
    """One contradiction between the checklist and the world.

    ``where`` names the culprit (a table and policy, a URL, a process, a file and line); ``remedy`` says
    what to do about it.
    """

    expected: str
    observed: str
    where: str
    remedy: str

    def __post_init__(self) -> None:
        for name in ("expected", "observed", "where", "remedy"):
            object.__setattr__(self, name, redact(str(getattr(self, name))))

    def __str__(self) -> str:
        return (
            f"expected  {self.expected}\nobserved  {self.observed}\n"
            f"where     {self.where}\nto do     {self.remedy}"
        )


@dataclass(frozen=True)
class Evidence:
    """What one check found, and how long it took (``seconds``, wall clock)."""

    verdict: Verdict
    summary: str
    findings: tuple[Finding, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    check: str = ""
    component: str = ""
    seconds: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "summary", redact(self.summary))
        object.__setattr__(self, "facts", redact_tree(dict(self.facts)))
        if self.verdict is Verdict.REFUTED and not self.findings:
            raise ValueError("refuted evidence needs a finding: expected, observed, where, what to do")
        if self.verdict is Verdict.HOLDS and self.findings:
            raise ValueError("evidence with findings cannot hold")

    def as_dict(self) -> dict[str, Any]:
        """The JSON form that every sink shares."""
        return {
            "check": self.check,
            "component": self.component,
            "verdict": str(self.verdict),
            "summary": self.summary,
            "seconds": round(self.seconds, 3),
            "findings": [vars(finding) for finding in self.findings],
            "facts": dict(self.facts),
        }


def holds(summary: str, **facts: Any) -> Evidence:
    """The world agrees with the checklist; ``summary`` says what was seen, not what was hoped for."""
    return Evidence(Verdict.HOLDS, summary, facts=facts)


def refuted(summary: str, *findings: Finding, **facts: Any) -> Evidence:
    """The world contradicts the checklist."""
    return Evidence(Verdict.REFUTED, summary, findings=findings, facts=facts)


def judge(summary: str, findings: Sequence[Finding], **facts: Any) -> Evidence:
    """``holds`` with ``summary`` when there is no finding, else ``refuted`` by all of them."""
    if not findings:
        return holds(summary, **facts)
    first = findings[0]
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return refuted(f"{first.where}: {first.observed}{more}", *findings, **facts)


def unreachable(where: str, error: BaseException | str) -> Evidence:
    """Nothing answered: an outage is not a finding, and not a pass."""
    detail = error if isinstance(error, str) else f"{type(error).__name__}: {error}".rstrip(": ")
    return Evidence(Verdict.UNREACHABLE, f"{where}: {detail}")


def blocked(reason: str) -> Evidence:
    """The check was not reached, because something before it failed or is missing."""
    return Evidence(Verdict.BLOCKED, reason)
