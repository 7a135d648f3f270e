"""The server: uvicorn on uvloop and httptools, drained before it stops."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from types import FrameType
from typing import Any

import uvicorn

from gateway import logs
from gateway.app import Services, make_app
from gateway.logs import Log
from gateway.protocol import guarded
from gateway.settings import Settings, load

__all__ = ["Server", "configuration", "serve_again"]


class Server(uvicorn.Server):
    """Says `draining` for a while when told to stop, so that balancers turn away; then stops listening."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self._services = services

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal begins the drain; the second ends it."""
        health = self._services.health
        seconds = self._services.settings.timeout_drain_seconds
        if health is None or health.draining or not seconds:
            super().handle_exit(sig, frame)
            return
        health.draining = True
        asyncio.get_running_loop().call_later(seconds, super().handle_exit, sig, frame)


def configuration(settings: Settings, app: Any) -> uvicorn.Config:
    """uvicorn's configuration: its own access log and its own headers are off."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=guarded(settings.timeout_headers_seconds, settings.limit_header_bytes, settings.limit_headers),
        ws="none",
        lifespan="on",
        interface="asgi3",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=settings.timeout_keep_alive_seconds,
        timeout_graceful_shutdown=settings.timeout_shutdown_seconds,
        backlog=1024,
    )


def serve_again(sockets: list[socket.socket] | None = None) -> None:
    """Serve on ``sockets`` in the process that uvicorn's reloader starts after every edit."""
    settings = load(os.environ)
    log = Log(settings.environment, settings.release, settings.log_level)
    logs.install(log, settings.secrets())
    app, services = make_app(settings, log)
    with contextlib.suppress(KeyboardInterrupt):
        Server(configuration(settings, app), services).run(sockets=sockets)
