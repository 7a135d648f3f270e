"""A worker for tests of the platform: starts in no time, and does what the request's message says.

``sleep S`` waits, ``stream N S`` sends N chunks S seconds apart, ``crash`` ends the process, ``who``
answers with its pid. Demands the key in WORKER_KEY. Refuses to start while the file FAIL_FILE exists.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from aiohttp import web

KEY = os.environ.pop("WORKER_KEY", "")


async def chat(request: web.Request) -> web.StreamResponse:
    if request.headers.get("Authorization") != f"Bearer {KEY}":
        return web.json_response({"error": "key"}, status=401)
    body = await request.json()
    verb, *arguments = body["messages"][0]["content"].split()
    if verb == "crash":
        os._exit(7)
    if verb == "sleep":
        await asyncio.sleep(float(arguments[0]))
    if verb == "stream":
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number in range(int(arguments[0])):
            await response.write(f"data: {number}\n\n".encode())
            await asyncio.sleep(float(arguments[1]))
        await response.write(b"data: [DONE]\n\n")
        return response
    return web.json_response({"pid": os.getpid(), "leaked": "SERVERLESS_API_KEY" in os.environ})


async def health(_: web.Request) -> web.Response:
    return web.json_response({})


if __name__ == "__main__":
    if Path(os.environ.get("FAIL_FILE", "/nonexistent")).exists():
        sys.exit(3)
    application = web.Application()
    application.router.add_get("/health", health)
    application.router.add_post("/v1/chat/completions", chat)
    web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), print=None, handler_cancellation=True)
