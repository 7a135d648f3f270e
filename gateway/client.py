"""A small HTTP/1.1 client for one engine: POST, kept-alive connections, an answer read as it comes.

httptools parses; sockets, names and TLS are the event loop's. It does what the hot path needs and no more:
no redirects, no cookies, no proxies, no compression, nothing of the answer's headers but the status.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping

from yarl import URL

from gateway.reply import Broken, Reply

__all__ = ["Broken", "Client", "Reply", "Unreachable"]

IDLE_SECONDS = 15.0


class Unreachable(Exception):
    """No connection could be had: the engine has not seen the request."""


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
                    lambda: Reply(self.keep, loop), self._host, self._port, ssl=self._tls
                )
        except OSError as error:  # of which a time-out and an untrusted certificate are kinds
            raise Unreachable from error
        return reply
