"""The gateway's connections to PostgreSQL: one pool, one time-out for every call."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg

from gateway.settings import Settings

__all__ = ["Store"]


class Store:
    """One per process; the database need not be up when it is made."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pool: asyncpg.Pool[Any] | None = None

    async def value(self, sql: str, *parameters: Any) -> Any:
        """The first column of the only row of ``sql``.

        Raises:
            TimeoutError, OSError, asyncpg.PostgresError: when the database does not answer, or refuses.
        """
        return (await self.row(sql, *parameters))[0]

    async def row(self, sql: str, *parameters: Any) -> Any:
        """The only row of ``sql``; raises as :meth:`value`."""
        async with asyncio.timeout(self._settings.timeout_database_seconds):
            pool = await self._connected()
            connection = await pool.acquire()
            try:
                return await connection.fetchrow(sql, *parameters)
            finally:
                await pool.release(connection)

    def close(self) -> None:
        """Drop every connection at once."""
        if self._pool is not None:
            self._pool.terminate()

    async def _connected(self) -> asyncpg.Pool[Any]:
        if self._pool is None:
            settings = self._settings
            self._pool = await asyncpg.create_pool(
                settings.database_url.get_secret_value(),
                min_size=0,
                max_size=settings.database_connections,
                timeout=settings.timeout_database_seconds,
                reset=_no_reset,
                server_settings={
                    "application_name": "gateway",
                    "statement_timeout": str(int(settings.timeout_database_seconds * 1000)),
                },
            )
        return self._pool


async def _no_reset(_connection: Any) -> None:
    """Sessions hold no state that would have to be reset: save the round trip."""
