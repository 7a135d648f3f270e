"""A small HTTP/1.1 client for one engine: POST, kept-alive connections, an answer read as it comes.

httptools parses; sockets, names and TLS are the event loop's. It does what the hot path needs and no more:
no redirects, no cookies, no proxies, no compression, nothing of the answer's headers but the status.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any

import httptools
from yarl import URL

__all__ = ["Broken", "Client", "Reply", "Sink", "Unreachable"]

Sink = Callable[[bytes], bool]
"""Takes a piece of a body and says whether it wants the next one as well."""

MOST_HEAD_BYTES = 65_536
MOST_WAITING_BYTES = 262_144
IDLE_SECONDS = 15.0


class Unreachable(Exception):
    """No connection could be had: the engine has not seen the request."""


class Broken(Exception):
    """The connection was lost, or what came over it is not HTTP."""


class Reply(asyncio.Protocol):
    """One connection, and the answer that is read from it; ``status`` is its HTTP status."""

    __slots__ = (
        "_begun", "_client", "_failed", "_head_bytes", "_loop", "_parser", "_pieces", "_reusable",
        "_sink", "_transport", "_waiter", "_waiting_bytes", "ended", "since", "status",
    )  # fmt: skip

    def __init__(self, client: Client, loop: asyncio.AbstractEventLoop) -> None:
        self._client, self._loop = client, loop
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[bool] | None = None
        self.since = 0.0
        self._reset()

    def _reset(self) -> None:
        self._parser: Any = None
        self._pieces: list[bytes] = []
        self._sink: Sink | None = None
        self._waiting_bytes = self._head_bytes = self.status = 0
        self._begun = self._reusable = self._failed = self.ended = False

    # --- for whoever reads ------------------------------------------------------------------------------

    async def read(self) -> bytes:
        """The next piece of the body as soon as there is one; nothing at its end.

        Raises:
            Broken: when the connection is lost before the body has ended.
        """
        if not self._pieces and not self.ended:
            await self._wait()
        return self._taken()

    async def pour(self, sink: Sink) -> bool:
        """Call ``sink`` with each piece of the body in the moment in which it comes, until it wants no more.

        Whoever waits for this costs the loop nothing meanwhile: no task is woken for a piece. What comes
        after ``sink`` has said no is kept for the next :meth:`pour` or :meth:`read`.

        Returns:
            Whether ``sink`` said no; False when the body has ended.

        Raises:
            Broken: when the connection is lost before the body has ended.
            Exception: whatever ``sink`` raises.
        """
        if self._pieces and not sink(self._taken()):
            return True
        if self.ended:
            return False
        self._sink = sink
        try:
            return await self._wait()
        finally:
            self._sink = None

    def leave(self) -> None:
        """Nobody reads any more: the connection is kept if its answer has ended, else closed at once."""
        if self.ended and self._reusable and not self._failed and not self.closed:
            self._reset()
            self._client.keep(self)
        else:
            self.close()

    def close(self) -> None:
        """Hang up; what the engine still sends is not waited for."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    # --- for the client ---------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether the connection is of no more use."""
        return self._transport is None or self._transport.is_closing()

    async def ask(self, request: bytes) -> None:
        """Send ``request`` and wait for the head of its answer.

        Raises:
            Broken: when none comes.
        """
        self._parser = httptools.HttpResponseParser(self)
        if self._transport is None:
            raise Broken
        self._transport.write(request)
        await self._wait()

    def _taken(self) -> bytes:
        """What has come and nobody has taken yet."""
        pieces, self._pieces = self._pieces, []
        if self._waiting_bytes > MOST_WAITING_BYTES and self._transport is not None:
            self._transport.resume_reading()
        self._waiting_bytes = 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _wait(self) -> bool:
        """Until something has come: the head, a piece of the body, its end; or what a sink wants is over."""
        if self._failed:
            raise Broken
        self._waiter = self._loop.create_future()
        try:
            return await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        """Something has come; a sink gets it when all of what came together is parsed."""
        if self._sink is None and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(False)

    def _serve(self, sink: Sink) -> None:
        """Give ``sink`` what has come, and wake whoever waits when that was the last that it wants."""
        waiter = self._waiter
        if waiter is None or waiter.done():  # it has been cancelled
            return
        if self._pieces:
            try:
                more = sink(self._taken())
            except Exception as error:  # it is the waiting task's, not the loop's
                waiter.set_exception(error)
                return
            if not more:
                waiter.set_result(True)
                return
        if self.ended:
            waiter.set_result(False)

    def _fail(self) -> None:
        self._failed = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(Broken())
        self.close()

    # --- what the loop and the parser call --------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = transport  # type: ignore[assignment] # a stream's transport is one of both directions

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone. A body without a declared length ends so; its reader finds out if all of it came."""
        self._transport = None
        if not self._begun:
            self._fail()
        elif not self.ended and not self._failed:
            self.ended = True
            self._wake()
            if self._sink is not None:
                self._serve(self._sink)

    def data_received(self, data: bytes) -> None:
        """Bytes from the engine."""
        if self._parser is None or self.ended:  # it was asked nothing
            self._fail()
            return
        if not self._begun:
            self._head_bytes += len(data)
        broken = False
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            broken = True
        if self._sink is not None:
            self._serve(self._sink)
        if broken or (not self._begun and self._head_bytes > MOST_HEAD_BYTES):
            self._fail()

    def on_headers_complete(self) -> None:
        """A head is complete; interim ones (1xx) do not count."""
        status = self._parser.get_status_code()
        if self.ended:
            self._reusable = False
        elif status >= 200:
            self.status, self._begun = status, True
            self._wake()

    def on_body(self, body: bytes) -> None:
        """Part of the body; an engine that is faster than its reader has to wait."""
        if self.ended:
            return
        self._pieces.append(body)
        before, self._waiting_bytes = self._waiting_bytes, self._waiting_bytes + len(body)
        if before <= MOST_WAITING_BYTES < self._waiting_bytes and self._transport is not None:
            self._transport.pause_reading()
        self._wake()

    def on_message_complete(self) -> None:
        """The answer is complete."""
        if self._begun and not self.ended:
            self.ended, self._reusable = True, self._parser.should_keep_alive()
            self._wake()


class Client:
    """Connections to the engine at ``url``; needs a running loop. ``headers`` go with every request.

    Raises:
        ValueError: when a header cannot be sent as it is.
    """

    def __init__(self, url: URL, headers: Mapping[str, str], connect_seconds: float) -> None:
        self._host, self._port = url.raw_host or "", url.port or 80
        self._tls = ssl.create_default_context() if url.scheme == "https" else None
        self._connect_seconds = connect_seconds
        lines = [f"POST {url.raw_path_qs} HTTP/1.1", f"Host: {url.host_port_subcomponent}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if not all(line.isascii() and line.isprintable() for line in lines):
            raise ValueError("a header holds characters that no header may hold")
        self._head = "".join(f"{line}\r\n" for line in lines).encode()
        self._idle: list[Reply] = []  # the last used first: it is the warmest
        self._reaper: asyncio.TimerHandle | None = None

    async def post(self, body: bytes, request_id: str) -> Reply:
        """The engine's reply, its head read. Whoever called leaves or closes it.

        Raises:
            Unreachable, Broken: when there is none.
        """
        request = b"%sX-Request-ID: %s\r\nContent-Length: %d\r\n\r\n%s" % (
            self._head, request_id.encode(), len(body), body,
        )  # fmt: skip
        reply = self._kept() or await self._connect()
        try:
            await reply.ask(request)
        except BaseException:
            reply.close()
            raise
        return reply

    def keep(self, reply: Reply) -> None:
        """``reply`` has been read: its connection may serve the next request."""
        reply.since = time.monotonic()
        self._idle.append(reply)
        if self._reaper is None:
            self._reaper = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._reap)

    def close(self) -> None:
        """Drop the idle connections."""
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None
        for reply in self._idle:
            reply.close()
        self._idle.clear()

    def _kept(self) -> Reply | None:
        while self._idle:
            reply = self._idle.pop()
            if not reply.closed:
                return reply
        return None

    def _reap(self) -> None:
        """Close what nobody needed for a while: the engine would, at a moment of its own choosing."""
        oldest = time.monotonic() - IDLE_SECONDS
        for reply in self._idle:
            if reply.since <= oldest:
                reply.close()
        self._idle = [reply for reply in self._idle if not reply.closed]
        again = bool(self._idle)
        self._reaper = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._reap) if again else None

    async def _connect(self) -> Reply:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_seconds):
                _, reply = await loop.create_connection(
                    lambda: Reply(self, loop), self._host, self._port, ssl=self._tls
                )
        except OSError as error:  # of which a time-out and an untrusted certificate are kinds
            raise Unreachable from error
        return reply
