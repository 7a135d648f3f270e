"""Demands the key on every path of vLLM: by itself it guards /v1 alone.

Without this, POST /invocations answers, and /metrics, /tokenize, /docs, /version, /load are open. vLLM is
told to load it by ``middleware`` in its configuration file (inference/engines/vllm.yaml).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

__all__ = ["RequireKey"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_REFUSAL = b'{"error":{"message":"a valid API key is needed","type":"authentication_error","code":401}}'


class RequireKey:
    """ASGI middleware: 401 without ``VLLM_API_KEY`` as bearer token, on every path but /health.

    Raises:
        RuntimeError: at start, when VLLM_API_KEY is not set: an engine without a key must not come up.
    """

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        key = os.environ.get("VLLM_API_KEY", "")
        if not key:
            raise RuntimeError("VLLM_API_KEY is not set")
        self._app, self._expected = app, f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may pass."""
        if scope["type"] != "http" or self._passes(scope):
            if scope["type"] != "websocket":  # nothing here speaks it, and it would go round the key
                await self._app(scope, receive, send)
            return
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(_REFUSAL)).encode())]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": _REFUSAL})

    def _passes(self, scope: Scope) -> bool:
        if scope["path"] == "/health":
            return True
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(given) == 1 and secrets.compare_digest(given[0], self._expected)
