"""How long after a client's disconnect the upstream is closed: mid-stream, before it, without a stream."""

from __future__ import annotations

import asyncio
import json
import statistics
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.gateway.engine import Engine
from benchmarks.gateway.peers import gateway

TIMES = 10


class Slow(Engine):
    """Answers a stream slowly, and nothing else at all; notes when its client goes away."""

    asked = 0
    closed: ClassVar[list[float]] = []

    def on_message_complete(self) -> None:
        body, self.body = self.body, b""
        Slow.asked += 1
        if b"slow" in body:
            self.task = asyncio.get_running_loop().create_task(self.drip())
        elif b"ready" in body or b'"x"' in body:
            self.transport.write(self.whole)

    async def drip(self) -> None:
        self.transport.write(self.head)
        while not self.transport.is_closing():
            self.transport.write(self.word)
            await asyncio.sleep(0.02)

    def connection_lost(self, error: Exception | None) -> None:
        Slow.closed.append(time.perf_counter())


async def _leave(port: int, token: str, content: str, stream: bool) -> float:
    """Ask, wait until the engine works on it, go away; milliseconds until the engine noticed."""
    body = json.dumps(
        {"model": "instant", "messages": [{"role": "user", "content": content}], "stream": stream}
    )
    asked, closed = Slow.asked, len(Slow.closed)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    async with asyncio.timeout(10):
        if content == "slow":
            await reader.readuntil(b"data: ")
        while Slow.asked == asked:
            await asyncio.sleep(0.005)
        left = time.perf_counter()
        writer.close()
        while len(Slow.closed) == closed:
            await asyncio.sleep(0.001)
    return (Slow.closed[closed] - left) * 1e3


def measure(database: str, work: Path) -> dict[str, float]:
    """The worst of several tries for each case, in milliseconds."""
    started, loops = threading.Event(), []

    def serve() -> None:
        async def run() -> None:
            server = await asyncio.get_running_loop().create_server(Slow, "127.0.0.1", 0)
            loops.append(
                (asyncio.get_running_loop(), asyncio.current_task(), server.sockets[0].getsockname()[1])
            )
            started.set()
            await asyncio.Event().wait()

        with_suppress(asyncio.run, run())

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    started.wait(10)
    loop, task, port = loops[0]
    cases = {
        "mid-stream": ("slow", True),
        "before the first byte": ("hang", True),
        "no stream": ("hang", False),
    }
    found = {}
    with gateway(port, database, work) as peer:
        for name, (content, stream) in cases.items():
            tries = [asyncio.run(_leave(peer.port, peer.tokens[0], content, stream)) for _ in range(TIMES)]
            found[name] = max(tries)
            print(
                f"disconnect, {name}: median {statistics.median(tries):.1f} ms, worst {max(tries):.1f} ms"
            )
    loop.call_soon_threadsafe(task.cancel)
    thread.join(5)
    return found


def with_suppress(call: Any, *arguments: Any) -> None:
    """Call, and take its cancellation for its end."""
    try:
        call(*arguments)
    except asyncio.CancelledError:
        return
