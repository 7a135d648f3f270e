"""The front of the embedded Data API: what Kong is on a hosted project, in front of PostgREST.

`/rest/v1/...` goes to PostgREST, which itself serves at `/`. Every request needs an `apikey` (header or
query parameter) that is one of the project's two keys; browsers may come from anywhere (CORS). Auth and
Storage are not part of the embedded stack: their paths answer 404 as an unrouted path does.

Run as ``python -m harness.providers.selfhosted.data_api``, or as the file alone; the environment says where
(see :func:`main`). It is given the SHA-256 of the keys, not the keys.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

__all__ = ["application", "key_digest", "main"]

_PREFIX = "/rest/v1"
_HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "host",
    "content-length",
}
_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_EXPOSED = "Content-Encoding, Content-Location, Content-Range, Content-Type, Location, Preference-Applied"
_LARGEST_BODY = 20 * 2**20
_UPSTREAM = web.AppKey("upstream", str)
_KEYS = web.AppKey("keys", tuple)
_SESSION = web.AppKey("session", aiohttp.ClientSession)


def key_digest(key: str) -> str:
    """How a key is told to the front."""
    return hashlib.sha256(key.encode()).hexdigest()


def application(upstream: str, key_digests: tuple[str, ...]) -> web.Application:
    """The front as an application; ``upstream`` is PostgREST's base URL."""
    app = web.Application(client_max_size=_LARGEST_BODY)
    app[_UPSTREAM] = upstream
    app[_KEYS] = key_digests
    app.cleanup_ctx.append(_client)
    app.router.add_get("/health", _health)
    app.router.add_route("*", "/{path:.*}", _forward)
    return app


async def _client(app: web.Application) -> AsyncIterator[None]:
    timeout = aiohttp.ClientTimeout(total=30, sock_connect=2)
    async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session:
        app[_SESSION] = session
        yield


async def _health(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def _forward(request: web.Request) -> web.StreamResponse:
    started = time.monotonic()
    response = await _answer(request)
    origin = request.headers.get("Origin", "*")
    response.headers["Access-Control-Allow-Origin"] = origin
    response.headers["Access-Control-Expose-Headers"] = _EXPOSED
    response.headers["Vary"] = "Origin"
    record = {  # never the query (it may hold the key or data) and no header but the request id
        "ts": round(time.time(), 3),
        "event": "request",
        "request_id": request.headers.get("X-Request-ID", "")[:64] or str(uuid.uuid4()),
        "method": request.method,
        "path": request.path,
        "status": response.status,
        "ms": round((time.monotonic() - started) * 1000, 1),
    }
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()
    return response


async def _answer(request: web.Request) -> web.Response:
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        asked = request.headers.get("Access-Control-Request-Headers", "*")
        allow = {"Access-Control-Allow-Methods": _METHODS, "Access-Control-Allow-Headers": asked}
        return web.Response(status=200, headers={**allow, "Access-Control-Max-Age": "3600"})
    if request.path != _PREFIX and not request.path.startswith(_PREFIX + "/"):
        return _refusal(404, "no Route matched with those values")
    key = request.headers.get("apikey") or request.query.get("apikey") or ""
    if not key:
        return _refusal(401, "No API key found in request")
    if not any(hmac.compare_digest(key_digest(key), known) for known in request.app[_KEYS]):
        return _refusal(401, "Invalid authentication credentials")
    try:
        return await _proxy(request)
    except (aiohttp.ClientError, TimeoutError):
        return _refusal(503, "name resolution failed: the Data API does not answer")


async def _proxy(request: web.Request) -> web.Response:
    headers = CIMultiDict(
        (name, value) for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP
    )
    headers.popall("apikey", None)
    path = request.rel_url.raw_path[len(_PREFIX) :] or "/"
    query = "&".join(
        part
        for part in request.rel_url.raw_query_string.split("&")
        if part and not part.startswith("apikey=")
    )
    target = URL(request.app[_UPSTREAM] + path + (f"?{query}" if query else ""), encoded=True)
    body = await request.read()
    async with request.app[_SESSION].request(
        request.method, target, headers=headers, data=body or None, allow_redirects=False
    ) as upstream:
        kept = CIMultiDict(
            (name, value)
            for name, value in upstream.headers.items()
            if name.lower() not in _HOP_BY_HOP and not name.lower().startswith("access-control-")
        )
        if "Location" in kept:  # PostgREST does not know that it lives below a prefix
            kept["Location"] = _PREFIX + kept["Location"]
        return web.Response(status=upstream.status, headers=kept, body=await upstream.read())


def _refusal(status: int, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status)


async def _serve(app: web.Application, host: str, port: int) -> None:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await runner.cleanup()


def main() -> None:
    """Serve on DATA_API_HOST (else loopback) and DATA_API_PORT, forward to DATA_API_UPSTREAM.

    DATA_API_KEYS holds the SHA-256 of the keys that are let in, parted by commas.
    """
    keys = tuple(os.environ["DATA_API_KEYS"].split(","))
    host, port = os.environ.get("DATA_API_HOST", "127.0.0.1"), int(os.environ["DATA_API_PORT"])
    asyncio.run(_serve(application(os.environ["DATA_API_UPSTREAM"], keys), host, port))


if __name__ == "__main__":
    main()
