"""The gateway's connections to PostgreSQL: a few, kept open, and one time-out for every call."""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import Any

import asyncpg

from gateway.settings import Settings

__all__ = ["Store"]

MOST_IDLE = 300.0
"""Seconds after which an idle connection is not trusted: something on the way may have forgotten it."""


class Store:
    """One per process; needs a running loop. The database need not be up when it is made.

    asyncpg's own pool costs a task a call. No call here leaves a session in a state that would have to be
    reset, and a connection on which a call did not end well is dropped: a stack of them is all it takes.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        authority = settings.database_ca
        self._tls = ssl.create_default_context(cadata=authority) if authority else None
        self._idle: list[tuple[Any, float]] = []  # the last used first: it is the warmest
        self._busy: set[Any] = set()
        self._free = asyncio.Semaphore(settings.database_connections)

    async def value(self, sql: str, *parameters: Any) -> Any:
        """The first column of the only row of ``sql``.

        Raises:
            TimeoutError, OSError, asyncpg.PostgresError: when the database does not answer, or refuses.
        """
        return (await self.row(sql, *parameters))[0]

    async def row(self, sql: str, *parameters: Any) -> Any:
        """The only row of ``sql``; raises as :meth:`value`."""
        async with asyncio.timeout(self._settings.timeout_database_seconds), self._free:
            connection = self._kept() or await self._connect()
            self._busy.add(connection)
            sound = False
            try:
                found = await connection.fetchrow(sql, *parameters)
                sound = True
            except asyncpg.PostgresError:  # it was answered
                sound = True
                raise
            finally:
                self._busy.discard(connection)
                if sound:
                    self._idle.append((connection, time.monotonic()))
                else:
                    connection.terminate()
            return found

    def close(self) -> None:
        """Drop every connection at once."""
        for connection in [*self._busy, *(idle for idle, _ in self._idle)]:
            connection.terminate()
        self._idle.clear()

    def _kept(self) -> Any:
        """A connection that stands, or None."""
        oldest = time.monotonic() - MOST_IDLE
        while self._idle:
            connection, since = self._idle.pop()
            if not connection.is_closed():
                if since > oldest:
                    return connection
                connection.terminate()
        return None

    async def _connect(self) -> Any:
        settings = self._settings
        return await asyncpg.connect(
            settings.database_url.get_secret_value(),
            ssl=self._tls,  # None: as the address says
            timeout=settings.timeout_database_seconds,
            server_settings={
                "application_name": "gateway",
                "statement_timeout": str(int(settings.timeout_database_seconds * 1000)),
            },
        )
