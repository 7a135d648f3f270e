"""One HTTP exchange: what of the request counts, and the only place that writes a response."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from typing import Any

from gateway import errors
from gateway.bodies import Usage
from gateway.errors import Refusal, Refused
from gateway.guard import Message, Receive, Scope, Send, Watch
from gateway.protocol import send_at_once, send_together

__all__ = ["Exchange"]

_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_ONCE = frozenset(
    {
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"host",
        b"origin",
        b"transfer-encoding",
        b"x-request-id",
    }
)
_COMMENT = b": waiting for the model\n\n"
_JSON = (b"content-type", b"application/json")
_EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
CORS = [
    (b"access-control-allow-methods", b"GET, POST"),
    (b"access-control-allow-headers", b"authorization, content-type, x-request-id"),
    (b"access-control-max-age", b"600"),
]
STUCK_SECONDS = 2.0


class Exchange:
    """A request and its response. ``doubled`` names a header that must be single and is not."""

    __slots__ = (
        "_comments", "_cycle", "_every", "_headers", "_host", "_scope", "_send", "_streaming", "_timer",
        "commenting", "cut", "doubled", "fields", "model", "origin", "receive", "request_id", "started",
        "status", "usage", "user", "watch",
    )  # fmt: skip

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, common: list[tuple[bytes, bytes]]
    ) -> None:
        self.started = time.perf_counter()
        self._scope, self.receive, self._send = scope, receive, send
        self._cycle = scope["gateway.cycle"]
        self.fields: dict[bytes, bytes] = {}
        self.doubled: str | None = None
        for name, value in scope["headers"]:
            if name in _ONCE:
                if name in self.fields:
                    self.doubled = name.decode()
                self.fields[name] = value
        asked = self.fields.get(b"x-request-id")
        sane = asked is not None and _SANE_ID.fullmatch(asked)
        self.request_id = asked.decode() if asked is not None and sane else os.urandom(16).hex()
        self._headers = [*common, (b"x-request-id", self.request_id.encode())]
        self.watch: Watch = scope["gateway.watch"]
        self.origin = self.fields.get(b"origin")
        self.user: str | None = None
        self.model: str | None = None
        self.cut: str | None = None
        self.usage: Usage | None = None
        self.status = 0
        self.commenting = self._streaming = False
        self._timer: asyncio.TimerHandle | None = None
        self._comments: asyncio.Task[None] | None = None
        self._every = 0.0

    @property
    def authorization(self) -> bytes | None:
        """The Authorization header."""
        return self.fields.get(b"authorization")

    def allow_origin(self) -> None:
        """The Origin is a known one: browsers may read the response."""
        self._headers += [(b"access-control-allow-origin", self.origin or b""), (b"vary", b"Origin")]

    def headers(self) -> list[tuple[bytes, bytes]]:
        """What every response carries."""
        return self._headers

    async def body(self, limit: int) -> bytes:
        """The whole body, JSON of at most ``limit`` bytes.

        Raises:
            Refused: 411, 413 or 415.
            CancelledError: when the client goes away meanwhile.
        """
        fields = self.fields
        kind = fields.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != b"application/json" or b"content-encoding" in fields:
            raise Refused(Refusal(415, "unsupported_media_type", "send application/json", close=True))
        too_large = Refusal(413, "body_too_large", f"the body exceeds {limit} bytes", close=True)
        if int(fields.get(b"content-length", b"0")) > limit:
            raise Refused(too_large)
        message = await self.receive()
        parts = bytearray(message.get("body", b""))
        while message.get("more_body") and len(parts) <= limit:
            message = await self.receive()
            parts += message.get("body", b"")
        if message["type"] == "http.disconnect":
            raise Refused(Refusal(499, "disconnected", "the client has gone", close=True))
        if len(parts) > limit:
            raise Refused(too_large)
        return bytes(parts)

    async def reply(
        self, body: bytes, status: int = 200, extra: list[tuple[bytes, bytes]] | None = None
    ) -> None:
        """Send a whole JSON response."""
        self.status = status
        length = (b"content-length", str(len(body)).encode())
        headers = [_JSON, length, *self._headers, *(extra or ())]
        await self._begin(headers, {"type": "http.response.body", "body": body})

    async def preflight(self) -> None:
        """Answer a browser that asks before it sends."""
        self.status = 204
        headers = [*self._headers, *CORS]
        await self._begin(headers, {"type": "http.response.body", "body": b""})

    async def stream(self, events: bytes, *, last: bool) -> None:
        """Send ``events``; the first time, the response begins."""
        message = {"type": "http.response.body", "body": events, "more_body": not last}
        if self._streaming:
            await self._send(message)
            return
        self._streaming, self.status = True, 200
        await self._begin([_EVENTS, *self._headers, (b"x-accel-buffering", b"no")], message)

    def push(self, events: bytes) -> bool:
        """Send ``events`` of a stream at once if that is possible: it has begun, and the client keeps up.

        Returns:
            False when nothing was sent, and :meth:`stream` must be waited for instead.
        """
        return self._streaming and not self.commenting and send_at_once(self._cycle, events)

    async def fail(self, refusal: Refusal) -> None:
        """Answer with an error, or end the stream with one; a client that does not read is dropped."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STUCK_SECONDS):
                await self._fail(refusal)
                return
        abort = self._scope.get("gateway.abort")
        if abort is not None:
            abort()

    async def _fail(self, refusal: Refusal) -> None:
        await self.end_comments()
        if self._streaming:
            self.status = refusal.status
            await self.stream(errors.event(refusal, self.request_id), last=True)
            return
        extra = []
        if refusal.retry_after is not None:
            extra.append((b"retry-after", str(refusal.retry_after).encode()))
        if refusal.status == 401:
            extra.append((b"www-authenticate", b"Bearer"))
        if refusal.close:
            extra.append((b"connection", b"close"))
        await self.reply(errors.body(refusal, self.request_id), refusal.status, extra)

    async def _begin(self, headers: list[tuple[bytes, bytes]], first: Message) -> None:
        start = {"type": "http.response.start", "status": self.status, "headers": headers}
        await send_together(self._cycle, self._send, start, first)

    # --- comments while the model starts ------------------------------------------------------------

    def comment_every(self, seconds: float) -> None:
        """Send a comment every so often until :meth:`end_comments`, so that nobody thinks the line dead."""
        self.commenting, self._every = True, seconds
        self._timer = asyncio.get_running_loop().call_later(seconds, self._comment_soon)

    def _comment_soon(self) -> None:
        self._comments = asyncio.get_running_loop().create_task(self._comment())

    async def _comment(self) -> None:
        await self.stream(_COMMENT, last=False)
        if self.commenting:
            self._timer = asyncio.get_running_loop().call_later(self._every, self._comment_soon)

    async def end_comments(self) -> None:
        """No more comments; one that is being sent is finished first."""
        self.commenting = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._comments is not None:
            comments, self._comments = self._comments, None
            await comments

    def abandon(self) -> None:
        """The exchange is over, however it ended: leave no timer behind."""
        self.commenting = False
        if self._timer is not None:
            self._timer.cancel()

    def facts(self) -> dict[str, Any]:
        """What the log may know of it."""
        usage = self.usage or Usage()
        return {
            "request_id": self.request_id,
            "user": self.user,
            "model": self.model,
            "status": self.status,
            "ms": round((time.perf_counter() - self.started) * 1000, 1),
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
        }
