"""What an engine sends reaches a sink in the moment in which it comes, and waits when that says no."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import uvloop

from gateway.reply import MOST_WAITING_BYTES, Broken
from tests.gateway.test_client import HEAD, Server, client

CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
POURED = {
    "pieces": ([CHUNKED, b"1\r\no\r\n", b"1\r\nk\r\n", b"0\r\n\r\n"], [b"o", b"k"], False),
    "what comes together": ([CHUNKED + b"1\r\no\r\n1\r\nk\r\n0\r\n\r\n"], [b"ok"], False),
    "a chunk in two reads": ([CHUNKED, b"2\r\no", b"k\r\n0\r\n\r\n"], [b"o", b"k"], False),
    "ended by hanging up": ([HEAD + b"\r\no", b"k", None], [b"o", b"k"], False),
    "broken off in a chunk": ([CHUNKED, b"2\r\nok\r\n", b"zz\r\n"], [b"ok"], True),
    "broken off behind a chunk": ([CHUNKED, b"2\r\nok\r\nzz\r\n"], [b"ok"], True),
    "hung up in a chunk": ([CHUNKED, b"9\r\nok", None], [b"ok"], False),
}


@pytest.mark.parametrize("name", POURED)
def test_a_body_is_poured_as_it_comes(name):
    pieces, seen, broken = POURED[name]

    async def scene():
        async with Server(pieces) as server, asyncio.timeout(5):
            reply = await client(server.port).post(b"{}", "r")
            poured = []
            with pytest.raises(Broken) if broken else contextlib.nullcontext():
                assert not await reply.pour(lambda piece: poured.append(piece) is None)
            assert poured == seen
            reply.close()

    uvloop.run(scene())


def test_a_sink_that_wants_no_more_holds_up_the_engine():
    """What comes after its no stays small, whatever the engine sends, and is there when it is asked for."""

    async def scene():
        piece = b"x" * 65_536
        pieces = [HEAD + b"Content-Length: %d\r\n\r\n" % (len(piece) * 400), *[piece] * 400]
        async with Server(pieces) as server:
            reply = await client(server.port).post(b"{}", "r")
            poured = []
            while await reply.pour(lambda piece: bool(poured.append(piece))):
                if len(poured) == 1:
                    await asyncio.sleep(0.5)
                    assert sum(map(len, reply._pieces)) < MOST_WAITING_BYTES + 2**20
            assert sum(map(len, poured)) == len(piece) * 400
            reply.close()

    uvloop.run(scene())


@pytest.mark.parametrize("late", [False, True], ids=["at once", "while it waits"])
def test_what_a_sink_raises_reaches_whoever_pours(late):
    def sink(piece):
        if piece.endswith(b"k"):
            raise KeyError(piece)
        return True

    async def scene():
        async with Server([CHUNKED, b"1\r\no\r\n", b"1\r\nk\r\n"]) as server:
            reply = await client(server.port).post(b"{}", "r")
            await asyncio.sleep(0 if late else 0.1)
            with pytest.raises(KeyError):
                await reply.pour(sink)
            reply.leave()
            await asyncio.wait_for(server.hung_up.wait(), 1)

    uvloop.run(scene())


def test_a_sink_gets_nothing_once_whoever_poured_is_cancelled():
    async def scene():
        async with Server([CHUNKED, *[b"1\r\nx\r\n"] * 100]) as server:
            reply = await client(server.port).post(b"{}", "r")
            poured = []
            pouring = asyncio.create_task(reply.pour(lambda piece: poured.append(piece) is None))
            while not poured:
                await asyncio.sleep(0)
            pouring.cancel()
            before = len(poured)
            await asyncio.sleep(0.1)
            assert len(poured) == before
            assert pouring.cancelled()
            reply.close()

    uvloop.run(scene())
