"""The application: the services of the process, and FastAPI for everything but the hot path."""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from gateway import errors, openapi
from gateway.auth import Tokens
from gateway.errors import Refusal, Refused
from gateway.front import Front
from gateway.health import Health
from gateway.ledger import Ledger
from gateway.logs import Log
from gateway.metrics import Metrics
from gateway.settings import Settings
from gateway.upstream import Engine, engines, make_session

__all__ = ["Services", "make_app"]

T = TypeVar("T")


@dataclass
class Services:
    """What the parts of the gateway share. Session, tokens, engines and ledger exist while it runs."""

    settings: Settings
    log: Log
    metrics: Metrics
    ledger: Ledger
    health: Health | None = None
    session: aiohttp.ClientSession | None = None
    _tokens: Tokens | None = None
    _engines: dict[str, Engine] | None = None

    @property
    def tokens(self) -> Tokens:
        """Verifies access tokens."""
        return _running(self._tokens)

    @property
    def engines(self) -> dict[str, Engine]:
        """The engines by the name that clients use."""
        return _running(self._engines)

    async def start(self) -> None:
        """Begin; nothing that it depends on needs to be up yet."""
        self.session = make_session(self.settings)
        self._tokens = Tokens(self.settings, self.session, self.log)
        self._engines = engines(self.settings, self.session)
        await self.ledger.start()

    async def stop(self) -> None:
        """Book what is unbooked and close."""
        await self.ledger.stop(self.settings.timeout_shutdown_seconds / 2)
        for engine in self.engines.values():
            engine.close()
        await _running(self.session).close()


def _running(value: T | None) -> T:
    if value is None:
        raise RuntimeError("used before the server's lifespan began")
    return value


def make_app(settings: Settings, log: Log) -> tuple[Front, Services]:
    """The ASGI application and its services."""
    metrics = Metrics()
    services = Services(settings, log, metrics, Ledger(settings, log, metrics))
    health = services.health = Health(services)

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await services.start()
        log("info", "started", host=settings.host, port=settings.port)
        try:
            yield
        finally:
            await services.stop()
            log("info", "stopped")

    app = FastAPI(
        title="Gateway",
        version=settings.release,
        lifespan=lifespan,
        docs_url="/docs" if settings.docs else None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.openapi = lambda: openapi.document(app)  # type: ignore[method-assign]
    _add_health(app, services, health)
    _add_models(app, services)
    return Front(app, services), services


def _add_health(app: FastAPI, services: Services, health: Health) -> None:
    @app.get("/health/live", tags=["health"])
    async def live() -> dict[str, str]:
        """The process runs."""
        return {"status": "live"}

    @app.get("/health/ready", tags=["health"], responses={503: {"description": "Not ready"}})
    async def ready(response: Response) -> dict[str, Any]:
        """Every dependency with its state and latency; 503 unless all are up."""
        report = await health.report()
        response.status_code = 200 if report["status"] == "ready" else 503
        return report

    @app.get("/metrics", tags=["health"], openapi_extra=openapi.BEARER)
    async def metrics(request: Request) -> Response:
        """Prometheus exposition, for whoever holds the metrics token."""
        expected = b"Bearer " + services.settings.metrics_token.get_secret_value().encode()
        given = request.scope["gateway.exchange"].authorization or b""
        if not hmac.compare_digest(given, expected):
            raise Refused(Refusal(401, "invalid_token", "send Authorization: Bearer <metrics token>"))
        return Response(services.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_models(app: FastAPI, services: Services) -> None:
    @app.get("/v1/models", tags=["chat"], openapi_extra=openapi.BEARER)
    async def models(request: Request) -> dict[str, Any]:
        """The models that clients may name."""
        exchange = request.scope["gateway.exchange"]
        exchange.user = await services.tokens.user(exchange.authorization)
        data = [{"id": name, "object": "model", "owned_by": "gateway"} for name in services.engines]
        return {"object": "list", "data": data}

    @app.exception_handler(Refused)
    @app.exception_handler(HTTPException)
    async def refuse(request: Request, error: Exception) -> Response:
        """Every refusal in the gateway's own shape, those of unknown paths and methods as well."""
        status = error.status_code if isinstance(error, HTTPException) else 500
        code = "not_found" if status == 404 else "method_not_allowed"
        refusal = error.refusal if isinstance(error, Refused) else Refusal(status, code, "no such resource")
        body = errors.body(refusal, request.scope["gateway.exchange"].request_id)
        return Response(body, refusal.status, media_type="application/json")
