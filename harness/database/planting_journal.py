"""The list of planted rows that are to be removed: a run that is killed at any moment leaves it behind."""

from __future__ import annotations

import json
import os
from pathlib import Path

import psycopg

from harness.database.declaration import Declaration

__all__ = ["swept", "swept_users", "write"]


def write(journal: Path, rows: list[tuple[str, str]]) -> None:
    """Replace the list by ``rows``: for each a table, and a condition that is true of the row alone."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    part = journal.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        json.dump(rows, file)
        file.flush()
        os.fsync(file.fileno())
    part.rename(journal)


def swept(dsn: str, journal: Path) -> int:
    """Remove what an earlier run planted and could not remove itself; how many rows that were.

    Raises:
        psycopg.Error: when something cannot be removed; the list of it stays.
    """
    removed = 0
    if journal.exists():
        rows = json.loads(journal.read_text(encoding="utf-8"))
        with psycopg.connect(dsn) as connection:
            for table, match in reversed(rows):
                removed += max(
                    connection.execute(f"delete from {table} where {match}".encode()).rowcount, 0
                )
        journal.unlink()
    return removed


def swept_users(dsn: str, declaration: Declaration) -> int:
    """Remove planted users that no list names any more, and what belongs to them."""
    if not declaration.users:
        return 0
    table = ".".join('"' + part.strip('"') + '"' for part in declaration.users.split(".", 1))
    with psycopg.connect(dsn) as connection:
        statement = f"delete from {table} where email like 'probe-%@probe.invalid'"
        return max(connection.execute(statement.encode()).rowcount, 0)
