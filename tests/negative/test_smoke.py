"""Negative controls of the smoke test: break one component, see that very one named."""

from __future__ import annotations

import psycopg
import pytest

from harness.checks import smoke
from harness.checks.smoke import conversation
from harness.evidence import Verdict
from tests.gateway_stack import RealStack, broken


def test_one_conversation_leaves_nothing_but_its_bookings(
    gateway_stack: RealStack,
) -> None:
    evidence = conversation(gateway_stack.stack)
    assert evidence.verdict is Verdict.HOLDS, evidence.as_dict()
    user = gateway_stack.stack.identities.user_id("smoke")
    with psycopg.connect(gateway_stack.stack.database_dsn) as owner:
        left = owner.execute("select count(*) from public.messages where owner_id = %s", [user]).fetchone()
        users = owner.execute("select count(*) from auth.users where id = %s", [user]).fetchone()
        audit = owner.execute("select * from usage.audit()").fetchall()
    assert (left, users, audit) == ((0,), (0,), [])


@pytest.mark.parametrize(
    ("program", "culprit", "verdict"),
    [
        ("web", "web", Verdict.UNREACHABLE),
        ("gateway", "gateway", Verdict.REFUTED),
        ("instant", "instant", Verdict.REFUTED),
        ("thinking", "thinking", Verdict.REFUTED),
        ("postgrest", "supabase", Verdict.REFUTED),
    ],
)
def test_the_culprit_is_named(
    gateway_stack: RealStack, program: str, culprit: str, verdict: Verdict
) -> None:
    with gateway_stack.processes.stopped(program):
        evidence = conversation(gateway_stack.stack)
    assert evidence.verdict is verdict
    assert evidence.summary.startswith(culprit), evidence.summary
    assert all(finding.where.startswith(f"{culprit}: ") for finding in evidence.findings)


def test_tokens_that_were_not_booked_are_seen(
    gateway_stack: RealStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smoke, "_BOOKED_SECONDS", 0.5)
    code = "import gateway.chat; gateway.chat._Run._book = lambda self, usage, outcome: None"
    with broken(gateway_stack, code=code):
        evidence = conversation(gateway_stack.stack)
    assert evidence.verdict is Verdict.REFUTED
    assert evidence.findings[0].where.startswith("gateway: usage.entries")


def test_messages_that_are_not_found_again_are_seen(gateway_stack: RealStack) -> None:
    policy = 'alter policy "owners read their messages" on public.messages using ({})'
    with psycopg.connect(gateway_stack.stack.database_dsn, autocommit=True) as owner:
        owner.execute(policy.format("false"))
        try:
            evidence = conversation(gateway_stack.stack)
        finally:
            owner.execute(policy.format("owner_id = (select auth.uid())"))
    assert evidence.verdict is Verdict.REFUTED
    assert evidence.findings[0].where == "supabase: messages, read back"
    assert conversation(gateway_stack.stack).verdict is Verdict.HOLDS
