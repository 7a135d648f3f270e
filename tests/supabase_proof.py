"""How a negative control of Supabase is written: break the real thing, see the check refute it, heal it."""

from __future__ import annotations

from typing import Any

from harness.checks.base import Check
from harness.evidence import Evidence, Verdict
from harness.stack import Stack


def told(evidence: Evidence) -> str:
    """Everything that a person would read."""
    return "\n".join([evidence.summary, *map(str, evidence.findings)])


def holds(check: Check, stack: Stack, **parameters: Any) -> None:
    """``check`` holds."""
    evidence = check(stack, **parameters)
    assert evidence.verdict is Verdict.HOLDS, told(evidence)


def refutes(check: Check, stack: Stack, *culprits: str, **parameters: Any) -> Evidence:
    """``check`` is refuted, and its findings name every one of ``culprits``."""
    evidence = check(stack, **parameters)
    assert evidence.verdict is Verdict.REFUTED, told(evidence)
    for culprit in culprits:
        assert culprit in told(evidence), f"{culprit!r} is not named in:\n{told(evidence)}"
    assert all(f.expected and f.observed and f.where and f.remedy for f in evidence.findings)
    return evidence
