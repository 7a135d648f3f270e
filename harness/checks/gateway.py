"""Is the gateway alive, ready, itself, and honest about its dependencies?"""

from __future__ import annotations

import contextlib
import time
from typing import Any

from harness.checks.base import Effect, check
from harness.checks.gateway_target import observed_gateway
from harness.checks.http import Answer, call, chat
from harness.errors import DeadlineExceeded
from harness.evidence import Evidence, Finding, judge
from harness.stack import Stack
from harness.waiting import wait_until

__all__ = ["identity", "live", "notices", "ready"]

DEPENDENCIES = ("database", "instant", "thinking")
_HEALED_SECONDS = 20.0
_LIVE_SECONDS = 5.0


@check("gateway.live", component="gateway")
def live(stack: Stack) -> Evidence:
    """The process answers, whatever the state of its dependencies."""
    answer = call(stack, "GET", "/health/live", purpose="live", seconds=_LIVE_SECONDS)
    findings = [] if answer.status == 200 else [_finding(stack, "/health/live", "200", str(answer.status))]
    return judge("alive", findings)


@check("gateway.ready", component="gateway")
def ready(stack: Stack) -> Evidence:
    """It is ready, and names every dependency with its state and latency."""
    patience = stack.environment.instant.answer_within_seconds + 5.0  # a busy engine is not a hung one
    answer = call(stack, "GET", "/health/ready", purpose="ready", seconds=patience)
    dependencies = _dependencies(answer)
    findings = [found for name in DEPENDENCIES for found in _of(stack, name, dependencies.get(name))]
    strange = sorted(set(dependencies) - set(DEPENDENCIES))
    if strange:
        findings.append(_finding(stack, "/health/ready", ", ".join(DEPENDENCIES), f"also {strange}"))
    if not findings and (answer.status, answer.json.get("status")) != (200, "ready"):
        observed = f"{answer.status} {answer.json.get('status')!r} though every dependency is up"
        findings.append(_finding(stack, "/health/ready", "200 'ready'", observed))
    shown = ", ".join(f"{n} {d.get('latency_ms')} ms" for n, d in sorted(dependencies.items()))
    return judge(f"ready: {shown}", findings, dependencies=dependencies)


@check("gateway.identity", component="gateway")
def identity(stack: Stack) -> Evidence:
    """Every answer, refusals included, says which environment and release gave it: the declared ones."""
    expected = {
        "x-gateway-environment": stack.environment.environment,
        "x-gateway-release": observed_gateway(stack).release,
    }
    findings = []
    for path in ("/health/live", "/v1/models"):
        answer = call(stack, "GET", path, purpose="identity")
        for name, value in expected.items():
            if answer.headers.get(name) != value:
                observed = f"{name}: {answer.headers.get(name, 'absent')}"
                findings.append(_finding(stack, path, f"{name}: {value}", observed))
        if answer.headers.get("x-request-id") != answer.request_id:
            observed = answer.headers.get("x-request-id", "absent")
            findings.append(_finding(stack, path, f"x-request-id: {answer.request_id}", observed))
    summary = f"{expected['x-gateway-release']} in {expected['x-gateway-environment']}"
    return judge(summary, findings, **expected)


@check(
    "gateway.notices",
    component="gateway",
    needs=("supabase", "instant", "thinking"),
    effect=Effect.DISTURBS,
)
def notices(stack: Stack, program: str, dependency: str, seconds: float) -> Evidence:
    """When a dependency stops, readiness says so, names it alone, and recovers with it."""
    token = stack.identities.token("gateway-drill")
    model = dependency if dependency != "database" else "instant"
    with stack.processes.stopped(program):
        started = time.monotonic()
        seen = _wait_for(stack, dependency, "down", seconds)
        noticed = time.monotonic() - started
        alive = call(stack, "GET", "/health/live", purpose="drill-live").status
        refusal = chat(stack, token, "Are you there?", model=model, purpose="drill-chat", seconds=seconds)
    back = time.monotonic()
    after = _wait_for(stack, dependency, "up", _HEALED_SECONDS, everything=True)
    findings = _while_stopped(stack, program, dependency, seconds, seen)
    if alive != 200:
        findings.append(_finding(stack, "/health/live", f"200 while {program} is stopped", str(alive)))
    if refusal.status < 500 or not refusal.error_code:
        observed = f"{refusal.status} {refusal.error_code or 'without an error code'}"
        findings.append(_finding(stack, "chat", f"a clear 5xx error while {program} is stopped", observed))
    if after.status != 200:
        observed = f"{after.status}: {after.body[:200]}"
        findings.append(_finding(stack, "/health/ready", f"ready when {program} is back", observed))
    healed = time.monotonic() - back
    summary = (
        f"{dependency} named {noticed:.1f} s after {program} stopped; ready {healed:.1f} s after its return"
    )
    return judge(summary, findings, noticed_seconds=round(noticed, 2), healed_seconds=round(healed, 2))


def _while_stopped(
    stack: Stack, program: str, dependency: str, seconds: float, seen: Answer
) -> list[Finding]:
    states = {name: entry.get("state") for name, entry in _dependencies(seen).items()}
    down = sorted(name for name, state in states.items() if state != "up")
    if seen.status == 503 and seen.json.get("status") == "not_ready" and down == [dependency]:
        return []
    expected = f"503 not_ready within {seconds:g} s of {program} stopping, {dependency} alone down"
    observed = f"{seen.status} {seen.json.get('status')}, down: {', '.join(down) or 'none'}"
    return [
        Finding(
            expected,
            observed,
            f"{stack.environment.gateway.url}/health/ready: {dependency}",
            f"let the gateway's readiness probe {dependency} itself",
        )
    ]


def _wait_for(
    stack: Stack, dependency: str, state: str, seconds: float, *, everything: bool = False
) -> Answer:
    """Poll readiness until ``dependency`` has ``state``; the last answer in any case."""
    last: list[Answer] = []

    def probe() -> bool:
        last[:] = [call(stack, "GET", "/health/ready", purpose="drill-ready")]
        there = _dependencies(last[0]).get(dependency, {}).get("state") == state
        return there and (not everything or last[0].status == 200)

    with contextlib.suppress(DeadlineExceeded):  # what was last seen is judged
        wait_until(f"{dependency} {state}", probe, seconds=seconds)
    return last[0]


def _dependencies(answer: Answer) -> dict[str, dict[str, Any]]:
    listed = answer.json.get("dependencies")
    if not isinstance(listed, dict):
        return {}
    return {name: entry for name, entry in listed.items() if isinstance(entry, dict)}


def _of(stack: Stack, name: str, entry: dict[str, Any] | None) -> list[Finding]:
    where = f"/health/ready: {name}"
    if entry is None:
        return [_finding(stack, where, f"{name} named with state and latency", "not named")]
    if entry.get("state") != "up":
        observed = f"{entry.get('state')}: {entry.get('error') or 'no reason given'}"
        return [_finding(stack, where, f"{name} up", observed, f"look at {name}: its own log says more")]
    latency = entry.get("latency_ms")
    if isinstance(latency, bool) or not isinstance(latency, int | float) or latency < 0:
        return [_finding(stack, where, "latency_ms, a number", repr(latency))]
    return []


def _finding(stack: Stack, path: str, expected: str, observed: str, remedy: str = "") -> Finding:
    where = f"{stack.environment.gateway.url}{path}" if path.startswith("/") else f"gateway: {path}"
    return Finding(expected, observed, where, remedy or "read the gateway's log; deploy it again")
