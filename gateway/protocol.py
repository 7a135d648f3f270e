"""uvicorn's HTTP protocol with what it does not have itself.

That is a limit on time and size of the headers, and a call when a client goes away: what ASGI offers, to
wait in `receive()`, costs every request a task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway import errors
from gateway.errors import Refusal
from gateway.guard import Message, Send

__all__ = ["GuardedProtocol", "guarded", "send_at_once", "send_together"]

_TOO_LARGE = Refusal(431, "headers_too_large", "the request's headers are too large")
_TOO_SLOW = Refusal(408, "headers_timeout", "the request's headers did not arrive in time")
_MALFORMED = Refusal(400, "malformed_request", "this is not a well-formed request")
_PHRASES = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}


class GuardedProtocol(HttpToolsProtocol):
    """One connection. A request's head must be complete within ``seconds`` and ``most_bytes``."""

    seconds: ClassVar[float] = 10.0
    most_bytes: ClassVar[int] = 32_768
    most_headers: ClassVar[int] = 100

    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True
    _begun = False
    _gone: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected and must say what it wants."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._head_arrived()
        super().connection_lost(exc)
        gone, self._gone = self._gone, None
        if gone is not None:
            gone()

    def data_received(self, data: bytes) -> None:
        """Bytes from the client: those of a head are counted before they are parsed."""
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_timer is None and self._in_head and (self._begun or self._head_bytes):
            self._expect_head()  # part of a head has come; most come whole, and need no timer
        if self._in_head and self._head_bytes > self.most_bytes:
            self._refuse(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._begun = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is complete; nothing of a refused connection reaches the application."""
        if self.transport.is_closing():
            return
        self._head_arrived()
        self._in_head = self._begun = False
        size = sum(len(name) + len(value) for name, value in self.headers) + len(self.url)
        if len(self.headers) > self.most_headers or size > self.most_bytes:
            self._refuse(_TOO_LARGE)
            return
        super().on_headers_complete()
        self.scope["gateway.abort"] = self.transport.abort  # type: ignore[typeddict-unknown-key]
        self.scope["gateway.watch"] = self.watch  # type: ignore[typeddict-unknown-key]
        self.scope["gateway.cycle"] = self.cycle  # type: ignore[typeddict-unknown-key]

    def on_body(self, body: bytes) -> None:
        """Part of the body."""
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete; the next one begins with a head."""
        self._in_head, self._head_bytes = True, 0
        if not self.transport.is_closing():
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """The parser has given up."""
        if not self.transport.is_closing():
            self._refuse(_MALFORMED)

    def watch(self, gone: Callable[[], None] | None) -> None:
        """Call ``gone`` once when the client of the present request has gone; None: no longer."""
        self._gone = gone
        if gone is None:
            return
        self.flow.resume_reading()  # a large body may have stopped it, and then nobody would notice
        if self.transport.is_closing():
            self._gone = None
            self.loop.call_soon(gone)

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(self.seconds, self._refuse, _TOO_SLOW)

    def _head_arrived(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, refusal: Refusal) -> None:
        """Answer without the application, which has not seen the request, and hang up."""
        self._head_arrived()
        if self.transport.is_closing():
            return
        body = errors.body(refusal, "")
        head = b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\n"
        head += b"content-length: %d\r\nconnection: close\r\n\r\n"
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(head % (refusal.status, _PHRASES[refusal.status], len(body)) + body)
        self.transport.close()


class _Gathered:
    """In a transport's place: what is written to it goes out as one packet, and wakes the client once."""

    __slots__ = ("closed", "parts", "write")

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.write = self.parts.append
        self.closed = False

    def close(self) -> None:
        """The response asks for it; it must be written first."""
        self.closed = True


async def send_together(cycle: Any, send: Send, *messages: Message) -> None:
    """Send ``messages`` of the response of ``cycle`` (uvicorn's) in one write."""
    transport, gathered = cycle.transport, _Gathered()
    cycle.transport = gathered
    try:
        for message in messages:
            await send(message)
    finally:
        cycle.transport = transport
        if gathered.parts:
            transport.write(b"".join(gathered.parts))
        if gathered.closed:
            transport.close()


def send_at_once(cycle: Any, events: bytes) -> bool:
    """Send ``events`` of a chunked response that has begun; of uvicorn's ``cycle``, as its `send` would.

    `send` costs a coroutine, a message and a wait for each piece of a response.

    Returns:
        False, with nothing sent, when the client is slow: `send` would have to wait for it.
    """
    if cycle.flow.write_paused:
        return False
    if events and not cycle.disconnected:
        cycle.transport.write(b"%x\r\n%b\r\n" % (len(events), events))
    return True


def guarded(seconds: float, most_bytes: int, most_headers: int) -> type[GuardedProtocol]:
    """The protocol with these limits."""
    limits: dict[str, Any] = {"seconds": seconds, "most_bytes": most_bytes, "most_headers": most_headers}
    return type("Guarded", (GuardedProtocol,), limits)
