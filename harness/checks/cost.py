"""What the thinking model may cost: refused before it is spent, exactly booked, never overrun."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import psycopg
from psycopg.types.json import Jsonb

from harness.checks.base import Effect, check
from harness.checks.http import Answer, chat
from harness.errors import NoProvider
from harness.evidence import Evidence, Finding, judge
from harness.providers.base import Spending
from harness.stack import Stack
from harness.waiting import wait_until

__all__ = ["provider_spending_cap", "request_limit", "thinking_budget"]

_PROMPT = "Count upwards from one."
_AT_ONCE = 8
_ANSWER_TOKENS = 32
_ROOM = 220
"""Tokens left of the budget while it is tested: enough for one or two requests, not for all."""


@check("thinking.request_limit", component="thinking", needs=("gateway", "supabase"))
def request_limit(stack: Stack) -> Evidence:
    """The gateway refuses a request to the thinking model for more tokens than one request may use."""
    limit = stack.environment.gateway.limits.request_tokens
    context = stack.environment.thinking.model.context_tokens
    token = stack.identities.token("thinking-limit")
    where = f"{stack.environment.gateway.url}/v1/chat/completions, model thinking"
    findings = []
    if limit > context:
        findings.append(
            Finding(
                f"gateway.limits.request_tokens at most the engine's context of {context}",
                str(limit),
                "the environment file",
                "lower it: the engine would cut or refuse what the gateway lets in",
            )
        )
    refused = {}
    for name, (content, asked) in {
        f"max_tokens {limit + 1}": ("?", limit + 1),
        f"a prompt of {2 * limit} words": ("word " * 2 * limit, 1),
    }.items():
        answer = chat(stack, token, content, model="thinking", max_tokens=asked, purpose="thinking-limit")
        refused[name] = f"{answer.status} {answer.error_code}"
        if answer.status not in (400, 413):
            remedy = "compare GATEWAY_LIMIT_REQUEST_TOKENS with the environment file"
            findings.append(Finding(f"400 for {name}", refused[name], where, remedy))
    return judge(f"refused: {'; '.join(f'{k}: {v}' for k, v in refused.items())}", findings, limit=limit)


@check(
    "thinking.budget",
    component="thinking",
    needs=("gateway", "supabase"),
    effect=Effect.DISTURBS,
    within=360.0,  # the worker may have to start, which takes vLLM a minute and more
)
def thinking_budget(stack: Stack) -> Evidence:
    """Requests at the same moment cannot spend more of the day's thinking budget than is left of it.

    All but a little of the budget is held, as requests in flight would hold it; then several users ask at
    once. Some must be served, the rest refused; what was booked must be what the answers say was used, and
    the sum must never have exceeded the budget.
    """
    limit = stack.environment.gateway.limits.thinking_tokens_per_day
    names = [f"budget-{uuid.uuid4().hex[:8]}" for _ in range(_AT_ONCE)]
    with psycopg.connect(stack.database_dsn, autocommit=True, connect_timeout=5) as ledger:
        _settled(ledger)  # what an earlier request holds would come back as room
        before = _totals(ledger)
        with _held(ledger, limit - before.sum - _ROOM):
            answers = _all_at_once(stack, names)
            _settled(ledger)
            during = _totals(ledger)
    served = [answer for answer in answers if answer.status == 200]
    used = sum(int(answer.usage.get("total_tokens", 0)) for answer in served)
    findings = list(_verdicts(stack, answers, during, limit))
    booked = during.used - before.used
    if booked != used:
        remedy = "the ledger was changed by hand, or the gateway books something else than was used"
        findings.append(Finding(f"{used} tokens booked", f"{booked} tokens booked", "usage.totals", remedy))
    summary = (
        f"{len(served)} of {_AT_ONCE} served, {used} tokens booked of {_ROOM} left; {limit} never exceeded"
    )
    return judge(summary, findings, served=len(served), used=used, limit=limit)


@dataclass(frozen=True)
class _Totals:
    used: int
    held: int

    @property
    def sum(self) -> int:
        return self.used + self.held


def _totals(ledger: psycopg.Connection[Any]) -> _Totals:
    row = ledger.execute(
        "select used, held from usage.totals"
        " where scope = 'thinking' and day = (now() at time zone 'utc')::date"
    ).fetchone()
    return _Totals(*row) if row else _Totals(0, 0)


@contextlib.contextmanager
def _held(ledger: psycopg.Connection[Any], tokens: int) -> Iterator[None]:
    """``tokens`` of the thinking budget held by a reservation of ours; settled with nothing used."""
    held, wide = str(uuid.uuid4()), 2_000_000_000
    request = {
        "id": held,
        "user": str(uuid.uuid4()),
        "model": "thinking",
        "tokens": max(tokens, 1),
        "request_id": "harness-budget",
    }
    batch = {
        "ttl": 360,
        "user_tokens": wide,
        "user_concurrency": 1,
        "thinking_tokens": wide,
        "requests": [request],
    }
    ledger.execute("select usage.reserve(%s)", [Jsonb(batch)])
    try:
        yield
    finally:
        nothing = [{"id": held, "prompt": 0, "completion": 0, "outcome": "harness"}]
        ledger.execute("select usage.settle(%s)", [Jsonb(nothing)])


def _all_at_once(stack: Stack, names: list[str]) -> list[Answer]:
    tokens = [stack.identities.token(name) for name in names]
    thinking = stack.environment.thinking
    patience = thinking.serverless.cold_start_budget_seconds + thinking.answer_within_seconds

    def ask(token: Any) -> Answer:
        return chat(
            stack,
            token,
            _PROMPT,
            model="thinking",
            max_tokens=_ANSWER_TOKENS,
            purpose="budget",
            seconds=max(patience, 30.0),
        )

    with ThreadPoolExecutor(len(names)) as pool:
        return list(pool.map(ask, tokens))


def _settled(ledger: psycopg.Connection[Any]) -> None:
    """Wait until no request but ours is held: usage is booked just after the answer."""
    query = (
        "select count(*) from usage.reservations"
        " where model = 'thinking' and request_id <> 'harness-budget'"
    )

    def none_open() -> bool:
        row = ledger.execute(query).fetchone()
        return row is not None and row[0] == 0

    wait_until("usage booked", none_open, seconds=10)


def _verdicts(stack: Stack, answers: list[Answer], during: _Totals, limit: int) -> Iterator[Finding]:
    where = f"{stack.environment.gateway.url}: thinking budget"
    codes = sorted({f"{answer.status} {answer.error_code}".strip() for answer in answers})
    refused = [a for a in answers if a.status == 429 and a.error_code == "thinking_budget_exceeded"]
    if len(refused) == len(answers) or not refused or len(codes) > 2:
        remedy = (
            "compare GATEWAY_LIMIT_THINKING_TOKENS_PER_DAY with the environment file; read usage.reserve"
        )
        yield Finding("some served, the rest 429 thinking_budget_exceeded", ", ".join(codes), where, remedy)
    if during.sum > limit:
        remedy = "the ledger admits more than the budget: restore usage.reserve (a migration changed it?)"
        yield Finding(
            f"at most {limit} tokens used and held", str(during.sum), "usage.totals, thinking", remedy
        )


@runtime_checkable
class _Spends(Protocol):
    def spending(self) -> Spending: ...


@check("thinking.provider_spending_cap", component="thinking")
def provider_spending_cap(stack: Stack) -> Evidence:
    """The account at the GPU provider has a spending limit, and it is at most the declared one."""
    provider = stack.provider("thinking")
    if not isinstance(provider, _Spends):
        raise NoProvider("nothing asks the GPU provider for the account's spending limit")
    seen, cap = provider.spending(), float(getattr(stack.environment.thinking, "usd_per_hour_cap", 0))
    remedy = "a person sets it in the provider's console (Billing); an account of its own keeps it apart"
    findings = []
    if not seen.limit or seen.limit > cap:
        observed = f"{seen.limit:g} USD an hour" if seen.limit else "no limit"
        findings.append(Finding(f"a limit of at most {cap:g} USD an hour", observed, seen.where, remedy))
    if seen.now > cap:
        observed, remedy = f"{seen.now:g} USD an hour", "see in the console what runs, and stop it"
        findings.append(Finding(f"it spends at most {cap:g} USD an hour", observed, seen.where, remedy))
    summary = f"limit {seen.limit or 0:g} of at most {cap:g} USD an hour; {seen.now:g} are spent now"
    return judge(summary, findings, limit=seen.limit, now=seen.now, cap=cap)
