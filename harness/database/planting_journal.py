"""The list of planted rows that are to be removed: a run that is killed at any moment leaves it behind."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from harness.database.declaration import Declaration
from harness.database.session import raise_if_lost

__all__ = ["Row", "Stays", "Swept", "listed", "remove", "swept", "swept_users", "there", "write"]


class Row(NamedTuple):
    """A planted row: its table, and a condition that is true of it alone."""

    table: str
    match: str

    def __str__(self) -> str:
        return f"{self.table.removesuffix(' as t').replace(chr(34), '')} where {self.match[:200]}"


Echo = Callable[[psycopg.Connection[Any]], "list[Row]"]


@dataclass(frozen=True)
class Stays:
    """A row that could not be removed, and why."""

    row: Row
    why: str

    def __str__(self) -> str:
        return f"{self.row}: {self.why}"


@dataclass(frozen=True)
class Swept:
    """What a removal came to."""

    removed: int = 0
    stays: tuple[Stays, ...] = ()


def write(journal: Path, rows: Iterable[tuple[str, str]]) -> None:
    """Replace the list by ``rows``: for each a table, and a condition that is true of the row alone."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    part = journal.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        json.dump([list(row) for row in rows], file)
        file.flush()
        os.fsync(file.fileno())
    part.rename(journal)


def listed(journal: Path) -> list[Row]:
    """The list; empty when there is none."""
    if not journal.exists():
        return []
    return [Row(table, match) for table, match in json.loads(journal.read_text(encoding="utf-8"))]


def there(connection: psycopg.Connection[Any], row: Row) -> bool:
    """Whether the row is there, as ``connection`` sees it."""
    query = f"select 1 from {row.table} where {row.match} limit 1"
    return connection.execute(query.encode()).fetchone() is not None


def remove(
    connection: psycopg.Connection[Any], rows: Iterable[Row], echo: Echo | None = None
) -> list[Stays]:
    """Remove ``rows``, the latest first, each on its own; what is still there afterwards.

    A row that another one holds is tried again when that is gone. ``echo`` says, in the same transaction,
    which rows triggers have made of a removal: they go as well.

    Raises:
        psycopg.OperationalError: when the connection is lost.
    """
    pending = [Stays(row, "a trigger or a rule keeps it") for row in reversed(list(rows))]
    while pending:
        left = [still for one in pending if (still := _removed(connection, one.row, echo)) is not None]
        if len(left) == len(pending):
            return left
        pending = left
    return []


def _removed(connection: psycopg.Connection[Any], row: Row, echo: Echo | None) -> Stays | None:
    try:
        with connection.transaction():
            connection.execute(f"delete from {row.table} where {row.match}".encode())
            for made in echo(connection) if echo else ():
                connection.execute(f"delete from {made.table} where {made.match}".encode())
        return Stays(row, "a trigger or a rule keeps it") if there(connection, row) else None
    except psycopg.errors.UndefinedTable:
        return None  # the table itself is gone
    except psycopg.Error as error:
        raise_if_lost(error)
        why = (error.diag.message_primary or str(error)).strip()
        return Stays(row, why) if _still(connection, row) else None


def _still(connection: psycopg.Connection[Any], row: Row) -> bool:
    """Whether the row is there after all: a trigger may refuse to remove what is gone already."""
    try:
        return there(connection, row)
    except psycopg.Error as error:
        raise_if_lost(error)
        return True


def swept(dsn: str, journal: Path, echo: Echo | None = None) -> Swept:
    """Remove what stands on the list, and see that it is gone. What stays, stays on the list.

    Raises:
        psycopg.OperationalError: when the database does not answer; the whole list stays.
    """
    rows = listed(journal)
    if not rows:
        journal.unlink(missing_ok=True)
        return Swept()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(b"set lock_timeout = '10s'")
        connection.execute(b"set statement_timeout = '30s'")
        stays = remove(connection, rows, echo)
    if stays:
        kept = {one.row for one in stays}
        write(journal, [row for row in rows if row in kept])
    else:
        journal.unlink()
    return Swept(len(rows) - len(stays), tuple(stays))


def swept_users(dsn: str, declaration: Declaration) -> int:
    """Remove planted users that no list names any more, and what belongs to them.

    Raises:
        psycopg.Error: when one cannot be removed.
    """
    if not declaration.users:
        return 0
    schema, _, name = declaration.users.rpartition(".")
    with psycopg.connect(dsn) as connection:
        known = connection.execute(
            "select n.nspname, c.relname from pg_attribute a join pg_class c on c.oid = a.attrelid"
            " join pg_namespace n on n.oid = c.relnamespace"
            " where n.nspname = %s and c.relname = %s and a.attname = 'email' and not a.attisdropped",
            [schema.strip('"') or "public", name.strip('"')],
        ).fetchone()
        if known is None:  # users without addresses cannot be told from others: only the list names them
            return 0
        table = ".".join('"' + str(part).replace('"', '""') + '"' for part in known)
        statement = f"delete from {table} where email like 'probe-%@probe.invalid'"
        return max(connection.execute(statement.encode()).rowcount, 0)
