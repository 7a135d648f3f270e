"""Questions to an inference endpoint: the right model, right answers, limits, and nobody without a key."""

from __future__ import annotations

import time
from typing import Any

import httpx

from harness.checks.base import Turn
from harness.checks.endpoint import GOLDEN_PROMPT, Endpoint, chat_body, for_each
from harness.checks.platform import counts
from harness.evidence import Evidence, Finding, judge, refuted
from harness.stack import Stack

__all__ = ["answers", "golden_answer", "key_required", "served_model", "streams", "token_limit"]

_SAMPLES = (1, 9)
"""Words of the prompts that show how many tokens a word has, and how many the chat template adds."""
_ROOM = 4
"""Tokens left for an answer that nothing but the context can end."""
_STREAM_PROMPT = "Count from one to twenty in words."


@for_each("served_model")
def served_model(stack: Stack, component: str) -> Evidence:
    """The endpoint serves the declared model, by its exact id and with the declared context length."""
    endpoint = Endpoint.of(stack, component)
    answer = endpoint.get("/v1/models")
    where = f"{endpoint.url}/v1/models"
    if answer.status_code != 200:
        return refuted(
            "models are not listed", Finding("200", str(answer.status_code), where, "read its log")
        )
    listed: list[dict[str, Any]] = answer.json()["data"]
    ids = [str(model["id"]) for model in listed]
    served = ", ".join(ids) or "no model"
    if ids != [endpoint.model]:
        remedy = f"deploy {component} again, or correct {component}.model.name"
        return refuted(f"it serves {served}", Finding(f"exactly {endpoint.model}", served, where, remedy))
    context = endpoint.engine.context_of(listed[0])
    findings = []
    if context != endpoint.context_tokens:
        expected = f"{endpoint.context_tokens} tokens of context for {endpoint.model}"
        remedy = f"deploy {component} again, or correct {component}.model.context_tokens"
        findings.append(Finding(expected, str(context), where, remedy))
    return judge(f"{served}, {context} tokens of context", findings, model=served, context_tokens=context)


@for_each("answers", turn=Turn.TIMED)
def answers(stack: Stack, component: str) -> Evidence:
    """A one-token chat is answered in time: a healthy status alone is no proof of it."""
    endpoint = Endpoint.of(stack, component)
    awake, health = _health(stack, endpoint)
    within = endpoint.answer_within + (0 if awake else endpoint.patience - 60)
    started = time.monotonic()
    where = f"POST {endpoint.url}/v1/chat/completions"
    try:
        answer = endpoint.chat("?", 1, within=within)
    except httpx.TimeoutException as error:
        if isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout):
            raise
        hung = Finding(
            f"one token within {within:g} s",
            f"no answer within {within:g} s, while /health says {health}",
            where,
            f"the worker hangs: restart {component}",
        )
        return refuted(f"it hangs: /health says {health}, a chat gets no answer", hung)
    seconds = time.monotonic() - started
    findings = []
    if answer.status_code != 200 or health != "200":
        seen = f"chat {answer.status_code}, /health {health}"
        findings.append(Finding("chat 200, /health 200", seen, where, f"read the log of {component}"))
    return judge(f"/health 200, one token in {seconds:.2f} s", findings, seconds=round(seconds, 3))


def _health(stack: Stack, endpoint: Endpoint) -> tuple[bool, str]:
    """Whether an engine is awake, and what /health says."""
    if endpoint.component == "thinking" and (counting := counts(stack)):
        return counting.health()["workers"]["total"] > 0, "200"
    try:
        answer = endpoint.client.get("/health", timeout=2.0)
    except httpx.ReadTimeout:
        return True, "nothing"
    if endpoint.component != "thinking" or answer.status_code != 200:
        return True, str(answer.status_code)
    workers = answer.json().get("workers", {})
    return bool(workers.get("idle", 0) + workers.get("running", 0)), "200"


@for_each("golden_answer")
def golden_answer(stack: Stack, component: str) -> Evidence:
    """The model computes: at temperature 0 it knows what 2+2 is."""
    endpoint = Endpoint.of(stack, component)
    answer = endpoint.chat(GOLDEN_PROMPT, 32, temperature=0)
    said = str(answer.json()["choices"][0]["message"]["content"]) if answer.status_code == 200 else ""
    observed = said or f"status {answer.status_code}"
    findings = []
    if "4" not in said:
        findings.append(
            Finding(
                f"an answer to {GOLDEN_PROMPT!r} with a 4",
                repr(observed),
                f"{endpoint.url} ({endpoint.model})",
                "the weights or the chat template are not those that were tested: verify both",
            )
        )
    return judge(f"{GOLDEN_PROMPT} {said.strip()}", findings)


@for_each("streams", turn=Turn.TIMED)
def streams(stack: Stack, component: str) -> Evidence:
    """A stream brings its first token in time, its usage, and [DONE] at the end."""
    endpoint = Endpoint.of(stack, component)
    endpoint.chat("?", 1)  # a cold start is another check's matter
    seen = endpoint.stream(_STREAM_PROMPT, 8)
    where = f"POST {endpoint.url}/v1/chat/completions, stream"
    findings = []
    if seen.first_token_seconds is None or seen.first_token_seconds > endpoint.answer_within:
        observed = "no token" if seen.first_token_seconds is None else f"{seen.first_token_seconds:.1f} s"
        findings.append(
            Finding(
                f"first token within {endpoint.answer_within:g} s",
                observed,
                where,
                f"look at what else the machine of {component} does (top), or give the engine more",
            )
        )
    usage = seen.usage or {}
    if not usage.get("prompt_tokens") or not usage.get("completion_tokens"):
        findings.append(Finding("a chunk with the usage", str(seen.usage), where, "usage cannot be booked"))
    if not seen.done:
        findings.append(Finding("[DONE] at the end", "no [DONE]", where, "something cuts the stream"))
    first = seen.first_token_seconds or 0.0
    return judge(
        f"first token after {first * 1000:.0f} ms, {usage.get('completion_tokens')} tokens, usage, [DONE]",
        findings,
        first_token_ms=round(first * 1000),
        usage=usage,
    )


@for_each("token_limit", turn=Turn.HEAVY)
def token_limit(stack: Stack, component: str) -> Evidence:
    """Nothing a caller sends makes the engine exceed the declared context: no huge, no negative cap."""
    endpoint = Endpoint.of(stack, component)
    cap = endpoint.context_tokens
    findings = []
    overflow = endpoint.chat("hi " * cap, 1)
    where = f"POST {endpoint.url}/v1/chat/completions"
    if overflow.status_code != 400:
        findings.append(
            Finding(
                f"400 for a prompt of more than {cap} tokens",
                str(overflow.status_code),
                where,
                f"the context is larger than declared: deploy {component} again",
            )
        )
    used, broken = _uncapped(endpoint, "hi " * _words_that_fill(endpoint))
    findings += broken
    seen = ", ".join(f"max_tokens={asked}: {total}" for asked, total in used.items())
    return judge(f"capped at {cap} tokens; {seen}", findings, used=used)


def _words_that_fill(endpoint: Endpoint) -> int:
    """How many words leave hardly any of the context for an answer: what is not generated costs no time."""
    sizes = []
    for words in _SAMPLES:
        answer = endpoint.chat("hi " * words, 1)
        usage = answer.json().get("usage", {}) if answer.status_code == 200 else {}
        sizes.append(int(usage.get("prompt_tokens", 0)))
    each = (sizes[1] - sizes[0]) / (_SAMPLES[1] - _SAMPLES[0])
    if each < 1:  # it does not count: then a token a word, and room for a chat template
        return endpoint.context_tokens - 64
    return max(1, int((endpoint.context_tokens - _ROOM - sizes[0]) / each) + _SAMPLES[0])


def _uncapped(endpoint: Endpoint, prompt: str) -> tuple[dict[str, str], list[Finding]]:
    """Ask for more than fits, in every way: tokens used by ``max_tokens``, and the first that exceeds."""
    cap, used = endpoint.context_tokens, {}
    for asked in (100_000, -1, None):
        answer = endpoint.chat(prompt, asked, ignore_eos=True, temperature=0)
        total = answer.json().get("usage", {}).get("total_tokens", 0) if answer.status_code == 200 else None
        used[str(asked)] = f"refused ({answer.status_code})" if total is None else str(total)
        if not _bounded(endpoint, asked, answer.status_code, total):
            expected = f"at most {cap} tokens with max_tokens={asked}"
            where = f"POST {endpoint.url}/v1/chat/completions"
            remedy = f"the engine's cap is gone: deploy {endpoint.component} again"
            return used, [Finding(expected, f"{answer.status_code}, {total} tokens", where, remedy)]
    return used, []


def _bounded(endpoint: Endpoint, asked: int | None, status: int, total: int | None) -> bool:
    """Whether the answer respects the cap. An engine may refuse what does not fit; not an open end."""
    if status == 400:
        return asked is not None and (endpoint.engine.refuses_excess or asked < 0)
    return status == 200 and total is not None and 0 < total <= endpoint.context_tokens


@for_each("key_required")
def key_required(stack: Stack, component: str) -> Evidence:
    """Every path but /health answers 401 without the key, and with one that is almost it."""
    endpoint = Endpoint.of(stack, component)
    key = endpoint.key.reveal()
    almost = key[:-1] + ("A" if key[-1] != "A" else "B")
    attempts = {
        "without a key": {},
        "with a wrong key": {"Authorization": f"Bearer {almost}"},
        "with an empty key": {"Authorization": "Bearer"},
    }
    paths = [("POST", "/v1/chat/completions"), ("GET", "/v1/models"), ("POST", "/v1/completions")]
    paths += [(method, path) for path in endpoint.engine.guarded_paths for method in ("GET", "POST")]
    body = {**chat_body(endpoint.model, "?", 1), "prompt": "?"}
    findings = []
    for method, path in paths:
        for how, headers in attempts.items():
            status = _status(endpoint, method, path, headers, body if method == "POST" else None)
            if status != 401:
                where = f"{method} {endpoint.url}{path}"
                findings.append(
                    Finding(f"401 {how}", str(status), where, "demand the key on that path too")
                )
    return judge(f"401 on {len(paths)} paths without the key", findings, paths=len(paths))


def _status(endpoint: Endpoint, method: str, path: str, headers: dict[str, str], body: Any) -> int:
    """The status of one request.

    An engine that refuses before it has read the body may reset the connection, and with it its own answer:
    asked again, up to three times.
    """
    for last in (False, False, True):
        try:
            return endpoint.client.request(method, path, headers=headers, json=body).status_code
        except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
            if last:
                raise
    raise AssertionError("not reached")
