"""An inference endpoint as checks talk to it: declared address, key and model, and its engine's ways."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from harness.checks.base import Check, Effect, Turn, check
from harness.engines import ENGINES, Engine
from harness.evidence import Evidence
from harness.secrets import Secret
from harness.stack import Stack

__all__ = ["GOLDEN_PROMPT", "WITHIN", "Endpoint", "Streamed", "chat_body", "for_each", "said_in"]

COMPONENTS = ("instant", "thinking")
WITHIN = 400.0
"""An engine that loads for minutes may have to be started first; each request has its own time-out."""
GOLDEN_PROMPT = "What is 2+2?"


@dataclass(frozen=True)
class Streamed:
    """A streamed answer. ``first_token_seconds`` is None when no token came."""

    status: int
    first_token_seconds: float | None
    text: str
    usage: dict[str, Any] | None
    done: bool


@dataclass(frozen=True)
class Endpoint:
    """The endpoint of ``component``. ``patience`` is the read time-out of long requests, in seconds."""

    component: str
    url: str
    key: Secret
    model: str
    context_tokens: int
    engine: Engine
    client: httpx.Client
    answer_within: float
    patience: float

    @staticmethod
    def of(stack: Stack, component: str) -> Endpoint:
        """The declared endpoint of ``component`` in ``stack``."""
        declared = getattr(stack.environment, component)
        serverless = getattr(declared, "serverless", None)
        cold = serverless.cold_start_budget_seconds if serverless else 0.0
        return Endpoint(
            component=component,
            url=declared.url,
            key=stack.secret(declared.api_key),
            model=declared.model.name,
            context_tokens=declared.model.context_tokens,
            engine=ENGINES[getattr(declared, "engine", "vllm")],
            client=stack.http(declared.url),
            answer_within=declared.answer_within_seconds,
            patience=cold + 60.0,
        )

    def headers(self) -> dict[str, str]:
        """What a caller with the key sends."""
        return {"Authorization": f"Bearer {self.key.reveal()}"}

    def get(self, path: str) -> httpx.Response:
        """GET ``path`` with the key."""
        return self.client.get(path, headers=self.headers(), timeout=self.patience)

    def chat(
        self,
        content: str,
        max_tokens: int | None,
        *,
        within: float | None = None,
        headers: dict[str, str] | None = None,
        **extra: Any,
    ) -> httpx.Response:
        """One chat; waits ``within`` seconds at most."""
        return self.client.post(
            "/v1/chat/completions",
            json=chat_body(self.model, content, max_tokens, **extra),
            headers={**self.headers(), **(headers or {})},
            timeout=httpx.Timeout(within or self.patience, connect=2.0),
        )

    def stream(self, content: str, max_tokens: int) -> Streamed:
        """One streamed chat with usage, read to its end."""
        body = chat_body(
            self.model,
            content,
            max_tokens,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
        started = time.monotonic()
        first, text, usage, done = None, "", None, False
        with self.client.stream(
            "POST", "/v1/chat/completions", json=body, headers=self.headers(), timeout=self.patience
        ) as response:
            for event in _events(response):
                if event is None:
                    done = True
                    continue
                done = False  # something after [DONE]: then that was not the end
                usage = event.get("usage") or usage
                piece = "".join(c.get("delta", {}).get("content") or "" for c in event.get("choices", []))
                if piece and first is None:
                    first = time.monotonic() - started
                text += piece
            return Streamed(response.status_code, first, text, usage, done)


def _events(response: httpx.Response) -> Iterator[dict[str, Any] | None]:
    """The events of a stream; None stands for [DONE]."""
    for line in response.iter_lines():
        if line.startswith("data:"):
            data = line.removeprefix("data:").strip()
            yield None if data == "[DONE]" else json.loads(data)


def said_in(answer: httpx.Response) -> str | None:
    """What the model said in a whole answer; None when it is no such answer, whatever its status."""
    try:
        said = answer.json()["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError):
        return None
    return said if isinstance(said, str) else ""


def chat_body(model: str, content: str, max_tokens: int | None, **extra: Any) -> dict[str, Any]:
    """The body of a chat request with one message."""
    body = {"model": model, "messages": [{"role": "user", "content": content}], **extra}
    return body if max_tokens is None else {**body, "max_tokens": max_tokens}


def for_each(
    name: str,
    *,
    effect: Effect = Effect.READS,
    turn: Turn = Turn.ANY,
    components: tuple[str, ...] = COMPONENTS,
) -> Callable[[Callable[[Stack, str], Evidence]], dict[str, Check]]:
    """Register one question as a check of each component: `instant.<name>` and `thinking.<name>`."""

    def register(function: Callable[[Stack, str], Evidence]) -> dict[str, Check]:
        return {component: _bind(function, name, component, effect, turn) for component in components}

    return register


def _bind(
    function: Callable[[Stack, str], Evidence], name: str, component: str, effect: Effect, turn: Turn
) -> Check:
    def question(stack: Stack) -> Evidence:
        return function(stack, component)

    question.__doc__ = function.__doc__
    registered = check(f"{component}.{name}", component=component, effect=effect, turn=turn, within=WITHIN)
    return registered(question)
