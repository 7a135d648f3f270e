"""Requests to the gateway, as its users send them: every one has a request id of its own and a deadline."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import httpx

from harness.secrets import Secret
from harness.stack import Stack

__all__ = ["Answer", "call", "chat", "new_request_id"]


def new_request_id(purpose: str) -> str:
    """A request id that is ours alone and says what it was for."""
    return f"harness-{purpose}-{secrets.token_hex(6)}"


@dataclass(frozen=True)
class Answer:
    """What came back. ``request_id`` is the one that was sent."""

    status: int
    headers: Mapping[str, str]
    body: str
    request_id: str

    @cached_property
    def json(self) -> dict[str, Any]:
        """The body as a JSON object; empty when it is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    @property
    def error_code(self) -> str:
        """The code in the error body, or nothing."""
        error = self.json.get("error")
        return str(error.get("code", "")) if isinstance(error, dict) else ""

    @cached_property
    def events(self) -> list[dict[str, Any]]:
        """The events of a streamed answer, without the final [DONE]."""
        return list(_events(self.body))

    @property
    def content(self) -> str:
        """What the model said, streamed or not."""
        if self.json:
            return "".join(str((c.get("message") or {}).get("content") or "") for c in _choices(self.json))
        deltas = (choice.get("delta") or {} for event in self.events for choice in _choices(event))
        return "".join(str(delta.get("content") or "") for delta in deltas)

    @property
    def usage(self) -> dict[str, Any]:
        """Token counts, from the body or from the last event that has them."""
        found = [part["usage"] for part in (self.json, *self.events) if part.get("usage")]
        return dict(found[-1]) if found else {}


def call(
    stack: Stack,
    method: str,
    path: str,
    *,
    token: Secret | str | None = None,
    purpose: str = "check",
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    seconds: float = 10.0,
    url: str | None = None,
) -> Answer:
    """Send one request to the gateway (or to ``url``) and read the whole answer.

    ``token`` is sent as a bearer token, ``body`` as JSON; ``seconds`` bounds the wait for each part.
    """
    request_id = new_request_id(purpose)
    sent = {"X-Request-ID": request_id, **(headers or {})}
    if token is not None:
        sent["Authorization"] = f"Bearer {token.reveal() if isinstance(token, Secret) else token}"
    client = stack.http(url or stack.environment.gateway.url)
    timeout = httpx.Timeout(seconds, connect=2.0)
    response = client.request(method, path, headers=sent, json=body, timeout=timeout)
    return Answer(response.status_code, response.headers, response.text, request_id)


def chat(
    stack: Stack,
    token: Secret | str | None,
    content: str,
    *,
    model: str = "instant",
    max_tokens: int = 8,
    stream: bool = False,
    purpose: str = "chat",
    headers: Mapping[str, str] | None = None,
    seconds: float = 30.0,
) -> Answer:
    """Ask ``model`` through the gateway."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": stream,
        **({"stream_options": {"include_usage": True}} if stream else {}),
    }
    return call(
        stack,
        "POST",
        "/v1/chat/completions",
        token=token,
        purpose=purpose,
        body=body,
        headers=headers,
        seconds=seconds,
    )


def _choices(part: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(part.get("choices") or [])


def _events(body: str) -> Iterator[dict[str, Any]]:
    for line in body.splitlines():
        data = line.removeprefix("data:").strip()
        if line.startswith("data:") and data != "[DONE]":
            try:
                event = json.loads(data)
            except ValueError:
                continue
            if isinstance(event, dict):
                yield event
