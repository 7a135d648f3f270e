"""The front: raw ASGI before FastAPI. Host and Origin, request ids, dispatch, one log line a request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.chat import Chat
from gateway.errors import Refusal, Refused
from gateway.exchange import Exchange
from gateway.guard import Message, Receive, Scope, Send
from gateway.logs import describe

if TYPE_CHECKING:
    from fastapi import FastAPI

    from gateway.app import Services

__all__ = ["Front"]

CHAT = "/v1/chat/completions"
_ROUTES = {
    CHAT: "chat",
    "/v1/models": "models",
    "/health/live": "live",
    "/health/ready": "ready",
    "/metrics": "metrics",
    "/docs": "docs",
    "/openapi.json": "docs",
}
_INTERNAL = Refusal(500, "internal_error", "the gateway failed; the request id finds it in the log")


class Front:
    """The ASGI application that the server runs."""

    def __init__(self, app: FastAPI, services: Services) -> None:
        settings = services.settings
        self._app, self._services, self._chat = app, services, Chat(services)
        self._hosts = frozenset(host.lower().encode() for host in settings.allowed_hosts)
        self._origins = frozenset(origin.rstrip("/").encode() for origin in settings.allowed_origins)
        self._common = [
            (b"x-gateway-environment", settings.environment.encode()),
            (b"x-gateway-release", settings.release.encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request, or the server's lifespan."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send, self._common)
        route = _ROUTES.get(scope["path"], "other")
        services = self._services
        services.metrics.in_flight.inc()
        try:
            await self._dispatch(scope, exchange, route, send)
        except Refused as refused:
            await exchange.fail(refused.refusal)
        except Exception as error:
            services.log("error", "internal_error", request_id=exchange.request_id, error=describe(error))
            await exchange.fail(_INTERNAL)
        finally:
            exchange.abandon()
            services.metrics.in_flight.dec()
            self._record(exchange, route)

    async def _dispatch(self, scope: Scope, exchange: Exchange, route: str, send: Send) -> None:
        self._admit(exchange)
        if scope["method"] == "OPTIONS" and exchange.origin is not None:
            await exchange.preflight()
        elif route != "chat":
            await self._shell(scope, exchange, send)
        elif scope["method"] == "POST":
            await self._chat(exchange)
        else:
            raise Refused(Refusal(405, "method_not_allowed", "use POST"))

    def _admit(self, exchange: Exchange) -> None:
        if exchange.doubled is not None:
            raise Refused(
                Refusal(400, "doubled_header", f"the header {exchange.doubled} is given twice", close=True)
            )
        host = exchange.fields.get(b"host", b"").lower()
        name = host.rpartition(b":")[0] if host.rpartition(b":")[2].isdigit() and b":" in host else host
        if name not in self._hosts:
            raise Refused(
                Refusal(421, "host_not_allowed", "this is not the host that was meant", close=True)
            )
        if exchange.origin is not None:
            if exchange.origin not in self._origins:
                raise Refused(
                    Refusal(403, "origin_not_allowed", "pages of this origin may not use the gateway")
                )
            exchange.allow_origin()

    async def _shell(self, scope: Scope, exchange: Exchange, send: Send) -> None:
        """Hand over to FastAPI; its responses get the common headers."""

        async def wrapped(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message["headers"] = [*message.get("headers", ()), *exchange.headers()]
            await send(message)

        scope["gateway.exchange"] = exchange
        await self._app(scope, exchange.receive, wrapped)

    def _record(self, exchange: Exchange, route: str) -> None:
        services = self._services
        facts = exchange.facts()
        if exchange.cut is not None:
            services.metrics.cut(exchange.model or "none", exchange.cut)
            facts["cut"] = exchange.cut
        services.metrics.request(route, exchange.model or "none", exchange.status, facts["ms"] / 1000)
        level = (
            "info" if route in ("chat", "models", "other", "docs") or exchange.status >= 400 else "debug"
        )
        services.log("warning" if exchange.status >= 500 else level, "request", route=route, **facts)
