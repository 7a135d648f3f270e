"""An engine that does what a test tells it: fast, slow, broken, endless. It remembers what it was asked."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class Asked:
    """One request as the engine saw it; ``closed`` is when its client went away (monotonic)."""

    body: dict[str, Any]
    headers: dict[str, str]
    closed: float | None = None
    finished: bool = False


@dataclass
class FakeEngine:
    """Serves on ``url``; the last message's content chooses the behaviour."""

    asked: list[Asked] = field(default_factory=list)
    workers: dict[str, int] = field(
        default_factory=lambda: {"total": 1, "running": 0, "idle": 1, "initializing": 0}
    )
    health_status: int = 200
    fail_next: int = 0
    hung: bool = False
    jwks: Any = None
    jwks_status: int = 200
    jwks_fetches: int = 0
    url: str = ""

    def start(self) -> None:
        ready = threading.Event()
        threading.Thread(target=self._run, args=(ready,), daemon=True).start()
        assert ready.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)

    def _run(self, ready: threading.Event) -> None:
        asyncio.run(self._serve(ready))

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=10**7)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/health", self._health)
        app.router.add_get("/jwks", self._keys)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
        ready.set()
        await self._stopped.wait()
        await runner.cleanup()

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"workers": self.workers}, status=self.health_status)

    async def _keys(self, request: web.Request) -> web.Response:
        self.jwks_fetches += 1
        return web.json_response(self.jwks, status=self.jwks_status)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        asked = Asked(await request.json(), dict(request.headers))
        self.asked.append(asked)
        try:
            return await self._behave(request, asked)
        except (asyncio.CancelledError, ConnectionError):
            asked.closed = time.monotonic()
            raise
        finally:
            asked.finished = True

    async def _behave(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        mode, _, argument = asked.body["messages"][-1]["content"].partition(" ")
        if self.hung:
            await asyncio.sleep(60)
        if self.fail_next:
            self.fail_next -= 1
            return web.json_response({}, status=503)
        if mode.startswith("status-"):
            return web.json_response({"error": "secret-upstream-detail"}, status=int(mode[7:]))
        if mode == "stall":
            await asyncio.sleep(60)
        if mode == "wait":
            await asyncio.sleep(float(argument))
        if mode == "drop":
            request.transport.abort()
            return web.Response()
        if mode == "garbage":
            return web.Response(body=b"\xff\xfe<html>")
        if asked.body.get("stream"):
            return await self._stream(request, mode, argument)
        return web.json_response(answer(asked.body["model"]), headers={"X-Engine-Secret": "internal"})

    async def _stream(self, request: web.Request, mode: str, argument: str) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "X-Engine-Secret": "internal"}
        )
        await response.prepare(request)
        if mode == "garbage-stream":
            await response.write(b'data: {"choices": 7}\n\n')
            return response
        await response.write(event({"delta": {"role": "assistant", "content": None}, "index": 0}))
        slow, endless, heavy = (100_000, 0.02), (1_000_000, 0.0), (300, 0.0)
        count, pause = {"slow": slow, "endless": endless, "heavy": heavy}.get(mode, (3, 0.0))
        for index in range(count):
            word = f"w{index} " + "x" * (60_000 if mode == "heavy" else 0)
            written = event({"delta": {"content": word}, "index": 0})
            if mode == "torn":
                await response.write(written[:40])
                await asyncio.sleep(0.02)
                written = written[40:]
            await response.write(written)
            if mode == "stall-after" and index == 1:
                await asyncio.sleep(60)
            if mode == "cut-after" and index == 1:
                request.transport.abort()
                return response
            await asyncio.sleep(pause)
        await response.write(event({"delta": {}, "index": 0, "finish_reason": "stop"}))
        await response.write(event(None, {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}))
        await response.write(b"data: [DONE]\n\n")
        return response


def event(choice: dict[str, Any] | None, usage: dict[str, int] | None = None) -> bytes:
    body = {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "engine-model-path",
        "choices": [choice] if choice else [],
        "timings": {"internal": 1},
    }
    if usage:
        body["usage"] = usage
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def answer(model: str) -> dict[str, Any]:
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "system_fingerprint": "internal",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "four"}}
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }
