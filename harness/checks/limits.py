"""Does the gateway know its users, and hold them to their limits?"""

from __future__ import annotations

import base64
import contextlib
import json
import secrets as random
import time
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from harness.checks.base import Effect, check
from harness.checks.http import Answer, call, chat
from harness.evidence import Evidence, Finding, judge
from harness.identity import mint
from harness.secrets import Secret
from harness.stack import Stack

__all__ = ["concurrency_limit", "daily_limit", "request_limit", "strangers_refused"]

_NEEDS = ("instant", "supabase")
_ROUTE = "/v1/chat/completions"


@check("gateway.strangers", component="gateway")
def strangers_refused(stack: Stack) -> Evidence:
    """No token, or any that this environment did not issue for now, is answered with 401."""
    good = stack.identities.token("gateway-auth").reveal()
    url = f"{stack.environment.gateway.url}{_ROUTE}"
    findings = []
    known = call(stack, "GET", "/v1/models", token=good, purpose="auth-good")
    if known.status != 200:
        remedy = "compare the gateway's issuer, audience and key with those of Supabase"
        findings.append(Finding("200 for a valid token", f"{known.status} {known.error_code}", url, remedy))
    attempts = _forgeries(stack, good)
    for name, token in attempts.items():
        answer = chat(stack, token, "Hi", max_tokens=1, purpose="auth")
        if answer.status != 401:
            observed = f"{answer.status} {answer.error_code}".rstrip()
            remedy = "verify signature, algorithm, issuer, audience, role and times of every token"
            findings.append(Finding(f"401 for {name}", observed, f"{url}: {name}", remedy))
    return judge(f"{len(attempts)} kinds of strangers refused", findings, attempts=sorted(attempts))


@check("gateway.limits.request", component="gateway", needs=_NEEDS, effect=Effect.PLANTS)
def request_limit(stack: Stack) -> Evidence:
    """A request that may use more tokens than one request may is refused before it reaches a model."""
    limit = stack.environment.gateway.limits.request_tokens
    token = stack.identities.token("gateway-request-limit")
    asked = {
        f"max_tokens of {limit + 1}": ("Hi", limit + 1),
        f"a prompt of {limit * 2} words": ("word " * limit * 2, 1),
    }
    findings = []
    for name, (content, max_tokens) in asked.items():
        answer = chat(stack, token, content, max_tokens=max_tokens, purpose="limit")
        if answer.status not in (400, 413):
            findings.append(_limit_finding(stack, f"400 or 413 for {name}", answer, "REQUEST_TOKENS"))
    within = chat(stack, token, "Hi", max_tokens=1, purpose="limit-within")
    if within.status != 200:
        findings.append(_limit_finding(stack, "200 for a small request", within, "REQUEST_TOKENS"))
    return judge(f"more than {limit} tokens in one request are refused", findings, limit=limit)


@check("gateway.limits.daily", component="gateway", needs=_NEEDS, effect=Effect.PLANTS)
def daily_limit(stack: Stack) -> Evidence:
    """A user who has used up the day's tokens gets 429 and is told when to come back; others go on."""
    limit = stack.environment.gateway.limits.user_tokens_per_day
    return _used_up(stack, "USER_TOKENS_PER_DAY", f"{limit} tokens a day", [limit])


@check("gateway.limits.concurrency", component="gateway", needs=_NEEDS, effect=Effect.PLANTS)
def concurrency_limit(stack: Stack) -> Evidence:
    """A user with as many requests in flight as are allowed gets 429 for the next; others go on."""
    limit = stack.environment.gateway.limits.user_concurrency
    return _used_up(stack, "USER_CONCURRENCY", f"{limit} requests in flight", [1] * limit)


def _used_up(stack: Stack, setting: str, what: str, reservations: list[int]) -> Evidence:
    """Hold ``reservations`` (tokens of each) for a user of our own, and see the next request refused."""
    name, neighbour = (f"gateway-{setting.lower()}-{word}" for word in ("user", "neighbour"))
    with _held(stack, stack.identities.user_id(name), reservations):
        refused = chat(stack, stack.identities.token(name), "Hi", max_tokens=1, purpose="limit")
        other = chat(stack, stack.identities.token(neighbour), "Hi", max_tokens=1, purpose="limit-other")
    after = chat(stack, stack.identities.token(name), "Hi", max_tokens=1, purpose="limit-after")
    findings = []
    if refused.status != 429:
        findings.append(_limit_finding(stack, f"429 beyond {what}", refused, setting))
    elif not refused.headers.get("retry-after", "").isdigit():
        findings.append(_limit_finding(stack, "429 with Retry-After in seconds", refused, setting))
    if other.status != 200:
        findings.append(_limit_finding(stack, "200 for another user meanwhile", other, setting))
    if after.status != 200:
        findings.append(_limit_finding(stack, "200 once it is free again", after, setting))
    summary = f"beyond {what}: {refused.status} {refused.error_code}"
    return judge(summary, findings, retry_after=refused.headers.get("retry-after"))


@contextlib.contextmanager
def _held(stack: Stack, user: str, reservations: list[int]) -> Iterator[None]:
    """Reservations in the ledger, as requests in flight would hold them; settled with nothing used."""
    ids = [str(uuid.uuid4()) for _ in reservations]
    requests = [
        {"id": held, "user": user, "model": "instant", "tokens": tokens, "request_id": "harness-held"}
        for held, tokens in zip(ids, reservations, strict=True)
    ]
    wide = 2_000_000_000
    batch = {"ttl": 60, "user_tokens": wide, "user_concurrency": wide, "thinking_tokens": wide}
    nothing = [{"id": held, "prompt": 0, "completion": 0, "outcome": "harness"} for held in ids]
    with psycopg.connect(stack.database_dsn, autocommit=True, connect_timeout=5) as ledger:
        ledger.execute("select usage.reserve(%s)", [Jsonb({**batch, "requests": requests})])
        try:
            yield
        finally:
            ledger.execute("select usage.settle(%s)", [Jsonb(nothing)])


def _limit_finding(stack: Stack, expected: str, answer: Answer, setting: str) -> Finding:
    observed = f"{answer.status} {answer.error_code}".rstrip()
    if answer.status == 429:
        observed += f", Retry-After: {answer.headers.get('retry-after', 'absent')}"
    where = f"{stack.environment.gateway.url}{_ROUTE}: GATEWAY_LIMIT_{setting}"
    return Finding(expected, observed, where, "compare the limit that the gateway runs with; read its log")


# --- forged tokens -------------------------------------------------------------------------------


def _forgeries(stack: Stack, good: str) -> dict[str, str | None]:
    """Kind: token, of everything that must not open the gateway."""
    header, payload, signature = good.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    key = stack.secret(stack.environment.supabase.jwt_secret)
    now = int(time.time())

    def signed(**changes: Any) -> str:
        return mint(key, {**claims, **changes}).reveal()

    foreign = mint(Secret(random.token_urlsafe(48)), claims).reveal()
    other_payload = signed(sub=str(uuid.uuid4())).split(".")[1]
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    return {
        "no token": None,
        "a word": "not-a-token",
        "algorithm none": f"{none}.{payload}.",
        "a wrong key": foreign,
        "a stripped signature": f"{header}.{payload}.",
        "a flipped signature": f"{header}.{payload}.{signature[:-8]}{signature[-8:].swapcase()}",
        "another user's payload": f"{header}.{other_payload}.{signature}",
        "an expired token": signed(iat=now - 7200, exp=now - 3600),
        "a token of tomorrow": signed(nbf=now + 86_400, exp=now + 90_000),
        "a token that never expires": mint(key, {k: v for k, v in claims.items() if k != "exp"}).reveal(),
        "the role anon": signed(role="anon"),
        "the service role": signed(role="service_role"),
        "another audience": signed(aud="another-service"),
        "another issuer": signed(iss="https://elsewhere.example/auth/v1"),
        "the public key": stack.identities.anon_key().reveal(),
    }
