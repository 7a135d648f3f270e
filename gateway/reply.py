"""One connection to an engine, and the answer that is read from it as it comes. httptools parses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import httptools

__all__ = ["Broken", "Reply", "Sink"]

MOST_HEAD_BYTES = 65_536
MOST_WAITING_BYTES = 262_144

Sink = Callable[[bytes], bool]
"""Takes a piece of a body and says whether it wants the next one as well."""


class Broken(Exception):
    """The connection was lost, or what came over it is not HTTP."""


class Reply(asyncio.Protocol):
    """One connection, and the answer that is read from it; ``status`` is its HTTP status."""

    __slots__ = (
        "_begun", "_failed", "_head_bytes", "_keep", "_loop", "_parser", "_pieces", "_reusable",
        "_sink", "_transport", "_waiter", "_waiting_bytes", "ended", "since", "status",
    )  # fmt: skip

    def __init__(self, keep: Callable[[Reply], None], loop: asyncio.AbstractEventLoop) -> None:
        """``keep`` takes the connection back when it may serve the next request."""
        self._keep, self._loop = keep, loop
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
        """Call ``sink`` with each piece of the body in the moment in which it comes, until it says no.

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
            self._keep(self)
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
        """Until something has come: the head, a piece of the body, its end; or a sink wants no more."""
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
        self._transport = cast("asyncio.Transport", transport)  # of a stream: one of both directions

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
