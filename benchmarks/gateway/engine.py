"""A fast engine for benchmarks: answers every POST at once, with a whole answer or a stream of chunks.

Usage: python -m benchmarks.gateway.engine PORT CHUNKS
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import httptools
import uvloop

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def answer() -> bytes:
    """A whole response."""
    message = {"role": "assistant", "content": "Two and two make four."}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "engine",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": USAGE,
    }
    return _response(b"application/json", json.dumps(body).encode())


def _response(kind: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (kind, len(body))
    return head + body


def chunk(delta: dict[str, Any], finish: str | None = None, usage: dict[str, int] | None = None) -> bytes:
    """One chunk of a stream, framed for a chunked response."""
    choices = [] if usage else [{"index": 0, "delta": delta, "finish_reason": finish}]
    event = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "engine"}
    body = json.dumps({**event, "choices": choices, **({"usage": usage} if usage else {})})
    return frame(b"data: " + body.encode() + b"\n\n")


def frame(data: bytes) -> bytes:
    """``data`` as one piece of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


class Engine(asyncio.Protocol):
    """One connection."""

    chunks = 0
    whole = answer()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    word = chunk({"content": " word"})
    last = chunk({}, "stop") + chunk({}, usage=USAGE) + frame(b"data: [DONE]\n\n") + b"0\r\n\r\n"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        body, self.body = self.body, b""
        if b'"stream":true' in body.replace(b" ", b""):
            asyncio.get_running_loop().create_task(self.stream())
        else:
            self.transport.write(self.whole)

    async def stream(self) -> None:
        """Every chunk in a write of its own, as an engine does; a pause that lets the others run."""
        self.transport.write(self.head)
        for _ in range(self.chunks):
            self.transport.write(self.word)
            await asyncio.sleep(0.002)
        self.transport.write(self.last)


async def main(port: int, chunks: int) -> None:
    """Serve until stopped."""
    Engine.chunks = chunks
    server = await asyncio.get_running_loop().create_server(Engine, "127.0.0.1", port, backlog=1024)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
