"""Negative controls of who may use the gateway, and how much of it."""

from __future__ import annotations

import pytest

from harness.checks import limits, logs, settings
from harness.checks.base import Check
from harness.evidence import Verdict
from tests.gateway_asking import refuted_by, said
from tests.gateway_stack import RealStack, broken, edited


@pytest.mark.parametrize(
    ("right", "wrong", "let_in"),
    [
        ("if claims.exp <= now:", "if claims.exp <= now - 1e9:", {"an expired token"}),
        (' or claims.role != "authenticated"', "", {"the role anon", "the service role"}),
    ],
)
def test_a_gateway_that_accepts_old_tokens_is_seen(
    gateway_stack: RealStack, right: str, wrong: str, let_in: set[str]
) -> None:
    with edited(gateway_stack, "auth.py", right, wrong):
        (evidence,) = refuted_by(gateway_stack, limits.strangers_refused)
    culprits = {finding.where.rpartition(": ")[2] for finding in evidence.findings}
    assert culprits == let_in


def test_a_gateway_with_another_key_is_seen(gateway_stack: RealStack) -> None:
    with broken(gateway_stack, {"GATEWAY_JWT_SECRET": "another-secret-of-sufficient-length-0123456789"}):
        evidence = limits.strangers_refused(gateway_stack.stack)
    assert evidence.verdict is Verdict.REFUTED
    assert "200 for a valid token" in said(evidence)


OFF = {
    "GATEWAY_LIMIT_REQUEST_TOKENS": "2000000",
    "GATEWAY_LIMIT_USER_TOKENS_PER_DAY": "2000000000",
    "GATEWAY_LIMIT_USER_CONCURRENCY": "2000000000",
}


@pytest.mark.parametrize(
    ("setting", "check"),
    list(zip(OFF, (limits.request_limit, limits.daily_limit, limits.concurrency_limit), strict=True)),
)
def test_limits_that_are_off_are_seen(gateway_stack: RealStack, setting: str, check: Check) -> None:
    beside = (logs.logs_structured, logs.logs_private) if "REQUEST" in setting else ()
    with broken(gateway_stack, {setting: OFF[setting]}):
        evidence, _ = refuted_by(gateway_stack, check, settings.settings_live, beside=beside)
    assert setting in said(evidence)
