"""A middleman that passes everything on, but swallows the usage and the end of streams; or all answers."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType

import aiohttp
from aiohttp import web

from tests.pg_fixture import free_port


class LyingProxy:
    """Serves in a thread of its own while the block lasts; ``url`` is where.

    ``garbled``: whatever is posted is answered with a web page, and 200.
    """

    def __init__(self, upstream: str, *, garbled: bool = False) -> None:
        self._upstream, self._garbled = upstream, garbled
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    async def _serve(self) -> None:
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True), timeout=aiohttp.ClientTimeout(total=60)
        ) as self._session:
            application = web.Application()
            application.router.add_route("*", "/{tail:.*}", self._handle)
            runner = web.AppRunner(application, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", self._port).start()
            self._up.set()
            await self._over.wait()
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        headers = {"Content-Type": "application/json"}
        if "Authorization" in request.headers:
            headers["Authorization"] = request.headers["Authorization"]
        body = await request.read()
        if self._garbled and request.method == "POST":
            return web.Response(text="<html>It works!</html>", content_type="text/html")
        url = self._upstream + request.path_qs
        async with self._session.request(request.method, url, data=body, headers=headers) as answer:
            kind = answer.headers.get("Content-Type", "")
            response = web.StreamResponse(status=answer.status, headers={"Content-Type": kind})
            await response.prepare(request)
            async for line in answer.content:
                if "event-stream" in kind and (b"[DONE]" in line or b'"usage"' in line):
                    continue
                await response.write(line)
            await response.write_eof()
            return response

    def __enter__(self) -> LyingProxy:
        self._thread.start()
        assert self._up.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)
        self._loop.close()
