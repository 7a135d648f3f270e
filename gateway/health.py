"""Readiness: every dependency asked, each with its state and latency."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import aiohttp
import asyncpg

from gateway.upstream import UpstreamFailure

if TYPE_CHECKING:
    from gateway.app import Services

__all__ = ["Health"]

ANSWER_EVERY_SECONDS = 15.0
_ERRORS = (
    aiohttp.ClientError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    OSError,
    TimeoutError,
    ValueError,
)


class Health:
    """Asks the dependencies. Probing wakes no sleeping worker."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.draining = False

    async def report(self) -> dict[str, Any]:
        """The readiness document."""
        names = ("database", "instant", "thinking")
        settings = self._services.settings
        probe = settings.timeout_probe_seconds
        found = await asyncio.gather(
            self._ask(self._database, probe),
            self._ask(self._instant, probe + settings.timeout_hung_seconds),
            self._ask(self._thinking, probe),
        )
        ready = all(state["state"] == "up" for state in found) and not self.draining
        return {
            "status": "draining" if self.draining else "ready" if ready else "not_ready",
            "environment": settings.environment,
            "release": settings.release,
            "dependencies": dict(zip(names, found, strict=True)),
        }

    async def _ask(self, probe: Callable[[], Awaitable[dict[str, Any]]], seconds: float) -> dict[str, Any]:
        started = time.perf_counter()
        facts: dict[str, Any] = {"state": "up", "error": None}
        try:
            async with asyncio.timeout(seconds):
                facts |= await probe()
        except UpstreamFailure as failure:
            facts |= {"state": "down", "error": failure.refusal.code}
        except _ERRORS as error:
            detail = str(error) if type(error) is ValueError else type(error).__name__
            facts |= {"state": "down", "error": detail}
        facts["latency_ms"] = round((time.perf_counter() - started) * 1000, 1)
        return facts

    async def _database(self) -> dict[str, Any]:
        paused = await self._services.ledger.ping()
        return {"paused": paused} if paused else {}

    async def _instant(self) -> dict[str, Any]:
        engine, settings = self._services.engines["instant"], self._services.settings
        facts = await asyncio.wait_for(
            engine.probe(settings.timeout_probe_seconds), settings.timeout_probe_seconds
        )
        await engine.probe_answer(settings.timeout_hung_seconds, ANSWER_EVERY_SECONDS)
        return facts

    async def _thinking(self) -> dict[str, Any]:
        return await self._services.engines["thinking"].probe(self._services.settings.timeout_probe_seconds)
