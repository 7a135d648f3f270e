"""Asks all of the gateway's checks at once, and tells which of them refute."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from harness.checks import declared, gateway, limits, logs, settings
from harness.checks.base import Check
from harness.evidence import Evidence
from tests.gateway_stack import RealStack

__all__ = ["OF_SOURCES", "STEADY", "refuted_by", "said"]

STEADY = (
    gateway.live,
    gateway.ready,
    gateway.identity,
    logs.logs_structured,
    logs.logs_private,
    logs.metrics_private,
    settings.settings_live,
    limits.strangers_refused,
    limits.request_limit,
    limits.daily_limit,
    limits.concurrency_limit,
)

OF_SOURCES = (settings.defaults_refused, declared.every_environment)
"""These do not ask the running process."""


def refuted_by(real: RealStack, *culprits: Check, beside: tuple[Check, ...] = ()) -> list[Evidence]:
    """Ask everything: ``culprits`` refute, and everything else holds; ``beside`` are not asked."""
    chosen = [check for check in STEADY if check not in beside]
    with ThreadPoolExecutor(8) as pool:  # side by side, as in a run
        asked = dict(zip(chosen, pool.map(lambda check: check(real.stack), chosen), strict=True))
    verdicts = {check.name: str(evidence.verdict) for check, evidence in asked.items()}
    expected = {check.name: "refuted" if check in culprits else "holds" for check in chosen}
    assert verdicts == expected, {c.name: e.summary for c, e in asked.items()}
    return [asked[check] for check in culprits]


def said(evidence: Evidence) -> str:
    return "\n".join(str(finding) for finding in evidence.findings)
