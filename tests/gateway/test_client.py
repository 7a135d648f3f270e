"""The client that asks the engines, against servers that say exactly what a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl

import pytest
import trustme
import uvloop
from yarl import URL

from gateway import client as module
from gateway import reply as replies
from gateway.client import Broken, Client, Unreachable

HEAD = b"HTTP/1.1 200 OK\r\n"
WHOLE = HEAD + b"Content-Length: 2\r\n\r\nok"


class Server:
    """Answers each request with the next of ``answers``: pieces of bytes, None to hang up."""

    def __init__(self, *answers, tls=None):
        self.answers, self.tls = list(answers), tls
        self.asked: list[bytes] = []
        self.connections = 0
        self.hung_up = asyncio.Event()
        self.serving: set[asyncio.Task] = set()

    async def __aenter__(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()
        for task in self.serving:
            task.cancel()
        await asyncio.gather(*self.serving, return_exceptions=True)

    async def _serve(self, reader, writer):
        self.connections += 1
        self.serving.add(asyncio.current_task())
        try:
            await self._answer(reader, writer)
        finally:
            writer.transport.abort()

    async def _answer(self, reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.asked.append(head + await reader.readexactly(length))
                for piece in self.answers.pop(0):
                    if piece is None:
                        writer.close()
                        await writer.wait_closed()
                        return
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.01)
        self.hung_up.set()


def client(port, scheme="http", host="127.0.0.1", seconds=2.0, **headers):
    return Client(URL(f"{scheme}://{host}:{port}/v1/chat/completions"), headers, seconds)


async def whole(reply):
    parts = []
    while piece := await reply.read():
        parts.append(piece)
    return b"".join(parts)


def test_what_is_sent():
    async def scene():
        async with Server([WHOLE]) as server:
            reply = await client(server.port, Authorization="Bearer k").post(b"{}", "id-1")
            assert (reply.status, await whole(reply), reply.ended) == (200, b"ok", True)
            assert server.asked == [
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer k\r\n"
                b"X-Request-ID: id-1\r\nContent-Length: 2\r\n\r\n{}" % server.port
            ]
            reply.close()

    uvloop.run(scene())


@pytest.mark.parametrize(
    ("pieces", "body"),
    [
        ([WHOLE], b"ok"),
        ([HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\no\r\n", b"1\r\nk\r\n0\r\n\r\n"], b"ok"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + WHOLE], b"ok"),
        ([HEAD[:9], HEAD[9:] + b"Content-Len", b"gth: 2\r\n\r\no", b"k"], b"ok"),
        ([HEAD + b"Content-Length: 0\r\n\r\n"], b""),
    ],
    ids=["whole", "chunked", "interim answers", "in pieces", "empty"],
)
def test_answers_and_the_connection_is_kept(pieces, body):
    async def scene():
        async with Server(pieces, pieces, pieces) as server:
            engine = client(server.port)
            for _ in range(3):
                reply = await engine.post(b"{}", "r")
                assert (reply.status, await whole(reply)) == (200, body)
                reply.leave()
            assert server.connections == 1
            engine.close()
            await asyncio.wait_for(server.hung_up.wait(), 5)

    uvloop.run(scene())


NOT_KEPT = {
    "told to close": [HEAD + b"Connection: close\r\nContent-Length: 2\r\n\r\nok"],
    "ended by hanging up": [HEAD + b"\r\nok", None],
    "HTTP/1.0": [b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"],
    "more than was asked for": [WHOLE + WHOLE],
}


@pytest.mark.parametrize("name", NOT_KEPT)
def test_connections_that_are_not_kept(name):
    async def scene():
        async with Server(NOT_KEPT[name], [WHOLE]) as server:
            engine = client(server.port)
            reply = await engine.post(b"{}", "r")
            assert await whole(reply) == b"ok"
            reply.leave()
            again = await engine.post(b"{}", "r")
            assert await whole(again) == b"ok"
            assert server.connections == 2
            again.close()

    uvloop.run(scene())


def test_a_reply_that_is_left_unread_is_closed_at_once():
    async def scene():
        pieces = [HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n"] * 1000]
        async with Server(pieces) as server:
            reply = await client(server.port).post(b"{}", "r")
            assert await reply.read() == b"x"
            reply.leave()
            await asyncio.wait_for(server.hung_up.wait(), 1)

    uvloop.run(scene())


BROKEN = {
    "no HTTP": [b"\xff\xfe<html>"],
    "hung up": [None],
    "hung up in the head": [HEAD, None],
    "another protocol": [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n\x00"
    ],
    "a head without an end": [HEAD + b"X-A: b\r\n" * 20_000],
    "two lengths": [HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok"],
    "a length and chunks": [HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok"],
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_answers(name):
    async def scene():
        async with Server(BROKEN[name]) as server, asyncio.timeout(5):
            with pytest.raises(Broken):
                await whole(await client(server.port).post(b"{}", "r"))

    uvloop.run(scene())


@pytest.mark.parametrize("late", [False, True], ids=["while it is read", "before it is read"])
def test_a_body_that_breaks_off_in_a_chunk(late):
    async def scene():
        async with Server([HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", b"zz\r\n"]) as server:
            reply = await client(server.port).post(b"{}", "r")
            await asyncio.sleep(0.1 if late else 0)
            assert await reply.read() == b"x"
            with pytest.raises(Broken):
                await reply.read()
            assert reply.closed

    uvloop.run(scene())


def test_a_kept_connection_that_the_engine_has_closed_is_not_used():
    async def scene():
        async with Server([WHOLE, None], [WHOLE]) as server:
            engine = client(server.port)
            for _ in range(2):
                reply = await engine.post(b"{}", "r")
                assert await whole(reply) == b"ok"
                reply.leave()
                await asyncio.sleep(0.05)
            assert server.connections == 2
            engine.close()

    uvloop.run(scene())


def test_idle_connections_are_closed(monkeypatch):
    async def scene():
        monkeypatch.setattr(module, "IDLE_SECONDS", 0.05)
        async with Server([WHOLE]) as server:
            reply = await client(server.port).post(b"{}", "r")
            await whole(reply)
            reply.leave()
            await asyncio.wait_for(server.hung_up.wait(), 2)

    uvloop.run(scene())


def test_a_slow_reader_holds_up_the_engine():
    """What is not read yet stays small, whatever the engine sends."""

    async def scene():
        piece = b"x" * 65_536
        pieces = [HEAD + b"Content-Length: %d\r\n\r\n" % (len(piece) * 400), *[piece] * 400]
        async with Server(pieces) as server:
            reply = await client(server.port).post(b"{}", "r")
            await asyncio.sleep(0.5)
            assert sum(map(len, reply._pieces)) < replies.MOST_WAITING_BYTES + 2**20
            assert len(await whole(reply)) == len(piece) * 400
            reply.close()

    uvloop.run(scene())


def test_whoever_is_cancelled_leaves_no_connection():
    async def scene():
        async with Server([]) as server:
            asking = asyncio.create_task(client(server.port).post(b"{}", "r"))
            await asyncio.sleep(0.1)
            asking.cancel()
            await asyncio.wait_for(server.hung_up.wait(), 1)

    uvloop.run(scene())


def test_nobody_there():
    async def scene():
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            with pytest.raises(Unreachable):
                await client(probe.getsockname()[1]).post(b"{}", "r")
        with pytest.raises(Unreachable):
            await client(1, host="no-such-host.invalid").post(b"{}", "r")

    uvloop.run(scene())


def test_a_server_that_does_not_accept():
    """The queue of one that accepts nothing fills up; the next connection waits for its time-out."""

    async def scene():
        with socket.socket() as full, contextlib.ExitStack() as stack:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            for _ in range(4):
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            with pytest.raises(Unreachable):
                await client(full.getsockname()[1], seconds=0.2).post(b"{}", "r")

    uvloop.run(scene())


@pytest.fixture
def authority():
    return trustme.CA()


@pytest.mark.parametrize(("name", "trusted"), [("localhost", True), ("other", True), ("localhost", False)])
def test_tls_is_verified(authority, monkeypatch, name, trusted):
    """The engine's certificate must be of someone trusted, and for the name that was asked for."""

    def context():
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if trusted:
            authority.configure_trust(made)
        return made

    monkeypatch.setattr(ssl, "create_default_context", context)

    async def scene():
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(tls)
        async with Server([WHOLE], tls=tls) as server:
            engine = client(server.port, "https", "localhost")
            if name == "localhost" and trusted:
                reply = await engine.post(b"{}", "r")
                assert await whole(reply) == b"ok"
                reply.close()
            else:
                with pytest.raises(Unreachable):
                    await engine.post(b"{}", "r")

    uvloop.run(scene())


@pytest.mark.parametrize("value", ["a\r\nX-Injected: 1", "a\nb", "a\x00", "ä"])
def test_headers_that_cannot_be_sent_are_refused(value):
    with pytest.raises(ValueError, match="no header"):
        client(1, Authorization=value)
