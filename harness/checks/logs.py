"""Are the gateway's logs structured, do they carry every request's id, and do they keep secrets?"""

from __future__ import annotations

import contextlib
import json
import secrets as random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from harness.checks.base import Effect, check
from harness.checks.http import Answer, call, chat
from harness.checks.leaks import Hit, Needles, declared_secrets
from harness.errors import DeadlineExceeded
from harness.evidence import Evidence, Finding, judge
from harness.stack import Stack
from harness.waiting import wait_until

__all__ = ["logs_private", "logs_structured", "metrics_private"]

_ALWAYS = ("ts", "level", "event", "environment", "release")
_REQUEST = ("route", "status", "ms")
_CHAT = ("user", "model", "prompt_tokens", "completion_tokens")
_WRITTEN_SECONDS = 5.0
_REPORTED = 5


@check("gateway.logs.structured", component="gateway", needs=("instant", "supabase"), effect=Effect.PLANTS)
def logs_structured(stack: Stack) -> Evidence:
    """Every log line is one JSON object; each request's line carries its id, status, time and tokens."""
    earlier = _since_start(stack.logs.lines("gateway"))
    answers, new = _logged(stack, _requests)
    lines = [*earlier, *new]
    records, findings = _parsed(stack, lines)
    for name, answer in answers.items():
        findings += _about(stack, name, answer, records)
    summary = f"{len(lines)} lines, each JSON; {len(answers)} requests found by their id"
    return judge(summary, findings, lines=len(lines), requests=len(answers))


@check("gateway.logs.private", component="gateway", needs=("instant", "supabase"), effect=Effect.PLANTS)
def logs_private(stack: Stack) -> Evidence:
    """No log line and no metric holds a token, a key, a prompt or an answer, in any encoding.

    What is planted can only be in lines since then; the environment's own secrets in none that is kept.
    """
    planted = {name: f"sentinel-{random.token_urlsafe(24)}" for name in _PLACES}
    token = stack.identities.token("gateway-log-secrets")
    metrics: list[Answer] = []

    def send(stack: Stack) -> dict[str, Answer]:
        right = stack.secret(stack.environment.gateway.metrics_token)
        metrics.append(call(stack, "GET", "/metrics", token=right, purpose="leak-metrics"))
        return _sentinel_requests(stack, token.reveal(), planted)

    earlier = stack.logs.lines("gateway")
    answers, lines = _logged(stack, send)
    said = {f"answer to {name}": a.content for name, a in answers.items() if len(a.content) >= 16}
    secrets = declared_secrets(stack)
    values = {**secrets, **planted, "access token": token.reveal(), **said}
    findings = list(_leaks(stack, Needles(values), lines, metrics[0].body))
    findings += list(_kept(stack, Needles(secrets), earlier))[:_REPORTED]
    summary = f"{len(values)} values looked for in {len(lines)} lines and the metrics: none"
    summary += f"; {len(secrets)} of them in {len(earlier)} earlier lines"
    return judge(summary, findings, looked_for=sorted(values), lines=len(lines), earlier=len(earlier))


@check("gateway.metrics.private", component="gateway")
def metrics_private(stack: Stack) -> Evidence:
    """/metrics answers to its own token and to nothing else."""
    url = f"{stack.environment.gateway.url}/metrics"
    attempts = {
        "no token": None,
        "a wrong token": random.token_urlsafe(24),
        "a user's access token": stack.identities.token("gateway-metrics").reveal(),
    }
    findings = []
    for name, token in attempts.items():
        answer = call(stack, "GET", "/metrics", token=token, purpose="metrics")
        if answer.status not in (401, 403, 404):
            expected, observed = f"{name} is refused (401)", f"{name} got {answer.status}"
            findings.append(Finding(expected, observed, url, "ask for GATEWAY_METRICS_TOKEN on /metrics"))
    right = stack.secret(stack.environment.gateway.metrics_token)
    answer = call(stack, "GET", "/metrics", token=right, purpose="metrics")
    if answer.status != 200 or "# TYPE" not in answer.body:
        observed = f"{answer.status}, {len(answer.body)} bytes"
        findings.append(Finding("metrics for the right token", observed, url, "compare the metrics token"))
    families = sum(line.startswith("# TYPE") for line in answer.body.splitlines())
    return judge(f"{families} metric families, for the metrics token alone", findings, families=families)


# --- requests ------------------------------------------------------------------------------------

_Sender = Callable[[Stack], dict[str, Answer]]


def _requests(stack: Stack) -> dict[str, Answer]:
    """One request of each kind whose log line matters."""
    token = stack.identities.token("gateway-logs")
    over = stack.environment.gateway.limits.request_tokens + 1
    return {
        "an answered chat": chat(stack, token, "Say hello.", purpose="log-good"),
        "a streamed chat": chat(stack, token, "Say hello.", stream=True, purpose="log-stream"),
        "a chat over the limit": chat(stack, token, "Hi", max_tokens=over, purpose="log-over"),
        "a bad token": chat(stack, "not-a-token", "Hi", purpose="log-bad-token"),
        "an unknown route": call(stack, "GET", "/nowhere", purpose="log-nowhere"),
    }


_PLACES = (
    "prompt",
    "streamed prompt",
    "prompt of a refused chat",
    "bad token",
    "query string",
    "foreign header",
    "cookie",
    "malformed body",
)


def _sentinel_requests(stack: Stack, token: str, planted: dict[str, str]) -> dict[str, Answer]:
    prompt = "Repeat this word: {}"
    extra = {"X-Api-Key": planted["foreign header"], "Cookie": f"session={planted['cookie']}"}
    over = stack.environment.gateway.limits.request_tokens + 1
    refused = prompt.format(planted["prompt of a refused chat"])
    query = f"/v1/models?access_token={planted['query string']}"
    malformed = {"model": "instant", "messages": planted["malformed body"]}
    return {
        "chat": chat(stack, token, prompt.format(planted["prompt"]), headers=extra, purpose="leak-chat"),
        "stream": chat(
            stack, token, prompt.format(planted["streamed prompt"]), stream=True, purpose="leak-stream"
        ),
        "refused": chat(stack, token, refused, max_tokens=over, purpose="leak-refused"),
        "bad token": chat(stack, planted["bad token"], "Hi", purpose="leak-token"),
        "query": call(stack, "GET", query, token=token, purpose="leak-query"),
        "malformed": call(
            stack, "POST", "/v1/chat/completions", token=token, body=malformed, purpose="leak-malformed"
        ),
    }


def _logged(stack: Stack, send: _Sender) -> tuple[dict[str, Answer], list[str]]:
    """Send requests; every line logged since, once theirs are among them or time is up."""
    mark = stack.logs.mark("gateway")
    answers = send(stack)
    missing = {answer.request_id for answer in answers.values()}

    def probe() -> bool:
        text = "\n".join(stack.logs.lines("gateway", since=mark))
        missing.difference_update([request_id for request_id in missing if request_id in text])
        return not missing

    with contextlib.suppress(DeadlineExceeded):  # a line that never comes is a finding, not an outage
        wait_until("log lines", probe, seconds=_WRITTEN_SECONDS)
    return answers, [line for line in stack.logs.lines("gateway", since=mark) if line.strip()]


# --- judging -------------------------------------------------------------------------------------


def _parsed(stack: Stack, lines: Sequence[str]) -> tuple[list[dict[str, Any]], list[Finding]]:
    records, findings = [], []
    where = f"{stack.environment.gateway.url}: its log"
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            remedy = "send every logger of the process through the JSON handler"
            findings.append(Finding("one JSON object a line", _start(line), where, remedy))
            continue
        records.append(record)
        absent = [name for name in _ALWAYS if name not in record]
        if absent:
            observed = f"without {', '.join(absent)}: {_start(line)}"
            findings.append(Finding(f"{', '.join(_ALWAYS)} on every line", observed, where, "add them"))
    return records, findings[:10]


def _about(stack: Stack, name: str, answer: Answer, records: Sequence[dict[str, Any]]) -> Iterator[Finding]:
    """What is wrong with what was logged about one request."""
    where = f"{stack.environment.gateway.url}: its log: {name}"
    own = [record for record in records if record.get("request_id") == answer.request_id]
    if not own:
        expected = f"a line with request_id {answer.request_id}"
        yield Finding(expected, "none", where, "log every request, refusals included, with its id")
        return
    if answer.headers.get("x-request-id") != answer.request_id:
        observed = answer.headers.get("x-request-id", "absent")
        yield Finding(f"X-Request-ID: {answer.request_id} in the answer", observed, where, "return the id")
    wanted = (*_REQUEST, *(_CHAT if answer.status == 200 else ()))
    merged = {key: value for record in own for key, value in record.items() if value is not None}
    absent = [key for key in wanted if key not in merged]
    if absent:
        yield Finding(f"{', '.join(wanted)}", f"without {', '.join(absent)}", where, "log them")
    if merged.get("status") not in (answer.status, None):
        observed = f"status {merged['status']} in the log, {answer.status} on the wire"
        yield Finding("the status that was sent", observed, where, "log the response's own status")


def _leaks(stack: Stack, needles: Needles, lines: Sequence[str], metrics: str) -> Iterator[Finding]:
    for number, line in enumerate(lines):
        for hit in needles.in_text(line):
            yield _leak(f"{stack.environment.gateway.url}: its log", number, hit)
    for hit in needles.in_text(metrics):
        yield _leak(f"{stack.environment.gateway.url}/metrics", None, hit)


def _kept(stack: Stack, needles: Needles, lines: Sequence[str]) -> Iterator[Finding]:
    for number, line in enumerate(lines, start=1):
        for hit in needles.in_text(line):
            place = f"{stack.environment.gateway.url}: its log, line {number} of what is kept"
            remedy = "change the secret, then remove the line: whoever reads the log has it"
            yield Finding(f"nothing of {hit.name}", f"{hit} is there", place, remedy)


def _since_start(lines: Sequence[str]) -> Sequence[str]:
    """What the running gateway has logged: an earlier one, which has ended, is past mending.

    Of several, whose lines come one machine after the other, that of the last machine.
    """
    starts = [number for number, line in enumerate(lines) if '"event":"started"' in line]
    return lines[starts[-1] :] if starts else lines


def _leak(where: str, line: int | None, hit: Hit) -> Finding:
    place = where if line is None else f"{where}, line {line + 1} since the check began"
    remedy = "log the request id, not what was sent; then change the secret"
    return Finding(f"nothing of {hit.name}", f"{hit} is there", place, remedy)


def _start(line: str) -> str:
    return line[:120]
