"""A local serverless platform: a double of RunPod's front, with real workers behind it.

``python -m inference.serverless --config FILE``. The key that callers must bring comes from the
environment variable SERVERLESS_API_KEY.

    GET  /health      workers and jobs by state, as RunPod's; open, and never wakes a worker
    GET  /endpoint    the settings in force, in RunPod's words
    any  /v1/...      a job: waits for a place on a worker, runs there, is aborted at the execution timeout

A request may shorten its own execution timeout with the header X-Execution-Timeout-Ms (RunPod's job policy
``executionTimeout``); it cannot lengthen it. A job is never tried twice: it may have cost money already.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import os
import re
import secrets
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web
from pydantic import ValidationError

from inference.pool import Pool, Refused
from inference.settings import Settings
from inference.worker import Worker

__all__ = ["Platform", "make_application"]

KEY_VARIABLE = "SERVERLESS_API_KEY"
_POOL: web.AppKey[Pool] = web.AppKey("pool", Pool)
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_REQUEST_HEADERS = ("Content-Type", "Accept", "X-Request-ID")
_RESPONSE_HEADERS = ("Content-Type", "Cache-Control")
_LARGEST_BODY = 4 << 20


def log(event: str, level: str = "info", **fields: Any) -> None:
    """One JSON object on stdout; never content, never a key."""
    line = {"ts": dt.datetime.now(dt.UTC).isoformat(), "level": level, "event": event, **fields}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _error(status: int, code: str, message: str) -> web.Response:
    return web.json_response(
        {"error": {"message": message, "type": "platform_error", "code": code}}, status=status
    )


class Platform:
    """The HTTP front of one endpoint."""

    def __init__(self, settings: Settings, key: str) -> None:
        self.settings = settings
        self._expected = f"Bearer {key}".encode()
        self.completed = self.failed = 0

    @web.middleware
    async def require_key(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """401 without the key, on every path (known or not) but GET /health."""
        if request.path != "/health":
            given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
            if not secrets.compare_digest(given, self._expected):
                return _error(401, "invalid_api_key", "a valid API key is needed")
        return await handler(request)

    async def health(self, request: web.Request) -> web.Response:
        """Workers and jobs by state; wakes nobody."""
        pool = request.app[_POOL]
        jobs = {
            "inProgress": pool.in_progress,
            "inQueue": len(pool.queue),
            "completed": self.completed,
            "failed": self.failed,
            "retried": 0,
        }
        return web.json_response({"workers": pool.counts(), "jobs": jobs})

    async def endpoint(self, _: web.Request) -> web.Response:
        """The settings in force, named as in RunPod's endpoint object."""
        told = self.settings
        return web.json_response(
            {
                "workersMin": 0,
                "workersMax": told.max_workers,
                "idleTimeout": told.idle_seconds,
                "executionTimeoutMs": round(told.execution_timeout_seconds * 1000),
                "concurrency": told.concurrency,
            }
        )

    async def job(self, request: web.Request) -> web.StreamResponse:
        """Run one request on a worker."""
        started = time.monotonic()
        given = request.headers.get("X-Request-ID", "")
        record = {
            "request_id": given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex,
            "path": request.path,
        }
        status: int | str = "cancelled"  # what remains when the client goes away
        try:
            response = await self._run(request, record)
            status = response.status
        except Refused as refused:
            status = refused.status
            response = _error(refused.status, refused.code, str(refused))
        except (aiohttp.ClientError, ConnectionError) as error:
            status, record["error"] = 502, type(error).__name__
            response = _error(502, "worker_lost", "the worker ended before it had answered")
        finally:
            done = isinstance(status, int) and status < 500
            self.completed, self.failed = self.completed + done, self.failed + (not done)
            log("job", status=status, ms=round((time.monotonic() - started) * 1000), **record)
        return response

    async def _run(self, request: web.Request, record: dict[str, Any]) -> web.StreamResponse:
        body = await request.read()
        limit = self._limit(request)
        waiting = time.monotonic()
        pool = request.app[_POOL]
        async with pool.lease() as worker:
            record.update(worker=worker.pid, queued_ms=round((time.monotonic() - waiting) * 1000))
            response = web.StreamResponse()
            try:
                async with asyncio.timeout(limit):
                    await self._proxy(request, body, worker, pool.session, response)
            except TimeoutError:
                record["timed_out"] = True
                pool.suspect(worker)
                return await _timed_out(request, response, limit)
            except (aiohttp.ClientError, ConnectionError) as error:
                if not response.prepared:
                    raise
                record["error"] = type(error).__name__
                return await _cut(request, response, "worker_lost", "the worker ended mid-answer")
            return response

    def _limit(self, request: web.Request) -> float:
        own = request.headers.get("X-Execution-Timeout-Ms", "")
        most = self.settings.execution_timeout_seconds
        return min(most, int(own) / 1000) if own.isascii() and own.isdigit() else most

    @staticmethod
    async def _proxy(
        request: web.Request,
        body: bytes,
        worker: Worker,
        session: aiohttp.ClientSession,
        response: web.StreamResponse,
    ) -> None:
        headers = {name: request.headers[name] for name in _REQUEST_HEADERS if name in request.headers}
        headers["Authorization"] = f"Bearer {worker.key}"
        async with session.request(
            request.method, worker.url + request.path_qs, data=body, headers=headers, allow_redirects=False
        ) as upstream:
            response.set_status(upstream.status)
            for name in _RESPONSE_HEADERS:
                if name in upstream.headers:
                    response.headers[name] = upstream.headers[name]
            await response.prepare(request)
            async for chunk in upstream.content.iter_any():
                await response.write(chunk)
            await response.write_eof()


async def _timed_out(
    request: web.Request, response: web.StreamResponse, limit: float
) -> web.StreamResponse:
    message = f"the job was aborted after {limit:g} s"
    if response.prepared:
        return await _cut(request, response, "execution_timeout", message)
    return _error(504, "execution_timeout", message)


async def _cut(
    request: web.Request, response: web.StreamResponse, code: str, message: str
) -> web.StreamResponse:
    """End a stream that has begun: say why, then close without the final chunk, so it is not whole."""
    error = {"error": {"message": message, "type": "platform_error", "code": code}}
    await response.write(f"data: {json.dumps(error)}\n\n".encode())
    if request.transport is not None:
        request.transport.close()
    return response


def make_application(settings: Settings, key: str) -> web.Application:
    """The platform as an aiohttp application; workers are stopped when it is cleaned up."""
    platform = Platform(settings, key)
    application = web.Application(middlewares=[platform.require_key], client_max_size=_LARGEST_BODY)
    application.router.add_get("/health", platform.health)
    application.router.add_get("/endpoint", platform.endpoint)
    application.router.add_route("*", "/v1/{tail:.*}", platform.job)

    async def lifetime(application: web.Application) -> Any:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=2)  # jobs have their own deadline
        connector = aiohttp.TCPConnector(
            limit=0, force_close=True
        )  # engines close idle connections at will
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False
        ) as session:
            pool = application[_POOL] = Pool(settings, session, log)
            yield
            await pool.close()

    application.cleanup_ctx.append(lifetime)
    return application


def main() -> int:
    """Serve until told to end."""
    parser = argparse.ArgumentParser(description="Run a serverless endpoint with local workers.")
    parser.add_argument("--config", type=Path, required=True)
    arguments = parser.parse_args()
    key = os.environ.pop(KEY_VARIABLE, "")  # workers inherit our environment, but not this
    if not key:
        sys.exit(f"{KEY_VARIABLE} is not set")
    try:
        settings = Settings.load(arguments.config)
    except (OSError, ValidationError, yaml.YAMLError) as error:
        sys.exit(f"{arguments.config}: {error}")
    log("listening", host=settings.host, port=settings.port)
    web.run_app(
        make_application(settings, key),
        host=settings.host,
        port=settings.port,
        print=None,
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=2.0,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
