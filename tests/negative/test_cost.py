"""Negative controls of limits and spending: real gateway, real ledger, real thinking platform; broken."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from harness.checks import cost, serverless
from harness.checks.base import Check
from harness.evidence import Verdict
from harness.identity import LocalIdentities
from harness.providers.local.gateway import LocalGateway
from harness.providers.local.supabase import LocalSupabase
from harness.waiting import wait_until
from tests.inference_stack import RealEngines, build, environment_text
from tests.pg_fixture import free_port

CHECKS = (cost.request_limit, cost.thinking_budget, serverless.reached_through_gateway)


@pytest.fixture(scope="session")
def spending(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealEngines]:
    text = environment_text()
    ports = {name: free_port() for name in ("api", "database", "rest", "admin", "gateway")}
    text["supabase"] |= {
        "api_url": f"http://127.0.0.1:{ports['api']}",
        "api_port": ports["api"],
        "database_port": ports["database"],
        "rest_port": ports["rest"],
        "rest_admin_port": ports["admin"],
    }
    text["gateway"] |= {"url": f"http://127.0.0.1:{ports['gateway']}", "port": ports["gateway"]}
    real = build(tmp_path_factory.mktemp("spending"), text)
    stack, processes = real.stack, real.processes
    stack.identities_source = LocalIdentities(stack)
    supabase, gateway = LocalSupabase(stack, processes), LocalGateway(stack, processes)
    stack.providers |= {"supabase": supabase, "gateway": gateway}
    try:
        for provider in (supabase, real.instant, real.thinking, gateway):
            provider.deploy(lambda _: None)
        yield real
    finally:
        stack.close()
        processes.shutdown()
        with contextlib.suppress(FileNotFoundError):
            supabase.server.destroy()


def only(real: RealEngines, *culprits: Check) -> str:
    """Ask everything; ``culprits`` refute, the rest hold. What the first culprit says."""
    asked = {check.name: check(real.stack) for check in CHECKS}
    wrong = {name for name, evidence in asked.items() if evidence.verdict is not Verdict.HOLDS}
    assert wrong == {check.name for check in culprits}, {n: e.summary for n, e in asked.items()}
    assert all(asked[name].verdict is Verdict.REFUTED for name in wrong)
    return "\n".join(map(str, asked[culprits[0].name].findings)) if culprits else ""


@contextlib.contextmanager
def gateway_with(real: RealEngines, **variables: str) -> Iterator[None]:
    """The gateway with other variables; then the right one."""
    provider = real.stack.providers["gateway"]
    assert isinstance(provider, LocalGateway)
    right = provider.program()
    real.processes.apply(replace(right, env={**right.env, **variables}))
    real.stack.close()
    try:
        yield
    finally:
        real.processes.apply(right)
        real.stack.close()


@contextlib.contextmanager
def changed_function(real: RealEngines, name: str, old: str, new: str) -> Iterator[None]:
    """A function of the ledger with ``old`` replaced by ``new`` in its source; then the right one."""
    with psycopg.connect(real.stack.database_dsn, autocommit=True) as owner:
        row = owner.execute(
            "select pg_get_functiondef(p.oid) from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
            " where n.nspname = 'usage' and p.proname = %s",
            [name],
        ).fetchone()
        assert row is not None
        assert old in row[0]
        owner.execute(row[0].replace(old, new).encode())
        try:
            yield
        finally:
            owner.execute(row[0].encode())


def test_the_right_limits_pass_every_check(spending: RealEngines) -> None:
    only(spending)


def test_a_gateway_without_a_request_limit_is_refuted(spending: RealEngines) -> None:
    with gateway_with(spending, GATEWAY_LIMIT_REQUEST_TOKENS="100000"):
        text = only(spending, cost.request_limit)
    assert "400 for max_tokens" in text
    assert "GATEWAY_LIMIT_REQUEST_TOKENS" in text


def test_a_gateway_with_a_larger_budget_is_refuted(spending: RealEngines) -> None:
    with gateway_with(spending, GATEWAY_LIMIT_THINKING_TOKENS_PER_DAY="2000000"):
        text = only(spending, cost.thinking_budget)
    assert "429 thinking_budget_exceeded" in text
    assert "GATEWAY_LIMIT_THINKING_TOKENS_PER_DAY" in text


def test_a_ledger_that_admits_everything_is_refuted(spending: RealEngines) -> None:
    with changed_function(spending, "reserve", "(batch ->> 'thinking_tokens')::bigint", "1000000000"):
        text = only(spending, cost.thinking_budget)
    assert "usage.totals, thinking" in text


def test_a_ledger_that_books_too_little_is_refuted(spending: RealEngines) -> None:
    with changed_function(
        spending, "book", "used = t.used + prompt + completion", "used = t.used + prompt"
    ):
        text = only(spending, cost.thinking_budget)
    assert "tokens booked" in text
    # nobody may go on with a ledger that was cheated: bring the sums back to the entries, the last of which
    # may be booked while they are added up
    with psycopg.connect(spending.stack.database_dsn, autocommit=True) as owner:
        wait_until("the sums to be those of the entries", lambda: added_up(owner), seconds=30)


def added_up(owner: psycopg.Connection[Any]) -> bool:
    owner.execute(
        "update usage.totals t set used ="
        " (select coalesce(sum(e.prompt_tokens + e.completion_tokens), 0)"
        " from usage.entries e where e.day = t.day"
        " and (e.user_id::text = t.scope or (t.scope = 'thinking' and e.model = 'thinking')))"
    )
    return owner.execute("select * from usage.audit()").fetchall() == []


def test_a_gateway_that_asks_elsewhere_is_refuted(spending: RealEngines) -> None:
    instant = spending.stack.environment.instant
    elsewhere = {
        "GATEWAY_THINKING_URL": instant.url,
        "GATEWAY_THINKING_MODEL": instant.model.name,
        "GATEWAY_THINKING_KEY": spending.stack.secret(instant.api_key).reveal(),
    }
    with gateway_with(spending, **elsewhere):
        text = only(spending, serverless.reached_through_gateway)
    assert "GATEWAY_THINKING_URL" in text
    assert spending.stack.environment.thinking.url in text
