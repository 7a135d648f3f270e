"""The same questions once more: what follows a rollback, so that "taken back" means "as it was"."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from harness.checks.base import Check
from harness.evidence import Finding, Verdict
from harness.stack import Stack

__all__ = ["Again", "asked_again"]


@dataclass(frozen=True)
class Again:
    """Which checks were asked, and what is wrong; an outage is, too: it was no outage before."""

    names: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def count(self) -> int:
        """How many were asked."""
        return len(self.names)


def asked_again(stack: Stack, checks: Sequence[Check]) -> Again:
    """Ask ``checks`` side by side; a finding for everything that does not hold."""
    with ThreadPoolExecutor(max(1, len(checks))) as pool:
        answers = list(pool.map(lambda question: question(stack), checks))
    findings: list[Finding] = []
    for answer in answers:
        findings += answer.findings
        if answer.verdict is not Verdict.HOLDS and not answer.findings:
            remedy = "look at it before anything else is deployed"
            findings.append(Finding(f"{answer.check} holds", answer.summary, answer.check, remedy))
    return Again(tuple(question.name for question in checks), tuple(findings))
