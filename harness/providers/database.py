"""What checks of the database may ask of whichever provider runs it, beyond deploying."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import httpx
import psycopg

from harness.errors import NoProvider
from harness.migrations import Migration
from harness.providers.supabase_cli import SupabaseCli
from harness.stack import Stack

__all__ = [
    "WHOLE",
    "DatabaseProvider",
    "Monitor",
    "ReversibleDatabase",
    "Scope",
    "answering",
    "database_provider",
    "reversible_database",
]


_SCHEMAS = """
select nspname from pg_namespace
where nspname !~ '^pg_' and nspname <> 'information_schema' and nspname <> all (%s) order by 1
"""


@dataclass(frozen=True)
class Scope:
    """What of a database is the project's own.

    ``managed`` schemas belong to whoever runs the database: their objects are not compared with what the
    migrations make. Those of them that are ``kept`` hold data of the project, and belong into its backup;
    ``closed`` tables (SCHEMA.TABLE) in them cannot be read.
    """

    managed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()

    @property
    def foreign(self) -> tuple[str, ...]:
        """The schemas that belong into no backup."""
        return tuple(name for name in self.managed if name not in self.kept)

    def dump_options(self, connection: psycopg.Connection, *, kept: bool = True) -> list[str]:
        """What restricts pg_dump to the project's own: its schemas, and those that are ``kept``, if asked.

        Empty where nobody else manages anything: then the whole database is the project's.
        """
        if not self.managed:
            return []
        without = self.foreign if kept else self.managed
        rows = connection.execute(_SCHEMAS, [list(without)]).fetchall()
        quoted = ['"' + name.replace('"', '""') + '"' for (name,) in rows]
        return [f"--schema={name}" for name in quoted] + [f"--exclude-table={name}" for name in self.closed]


WHOLE = Scope()
"""A database of one's own: nobody else manages anything in it."""


@dataclass(frozen=True)
class Monitor:
    """A part whose health somebody can ask for. ``trouble`` says what is wrong; empty: it is healthy."""

    name: str
    where: str
    trouble: Callable[[], str]


def answering(stack: Stack, urls: Mapping[str, str]) -> list[Monitor]:
    """Parts that are healthy while their URL answers 200; ``urls`` by name."""

    def trouble(url: str) -> str:
        base, _, path = url.partition("://")[2].partition("/")
        try:
            answer = stack.http(f"{url.partition('://')[0]}://{base}").get(f"/{path}")
        except httpx.TransportError as error:
            return f"no answer: {type(error).__name__}"
        return "" if answer.status_code == httpx.codes.OK else f"HTTP {answer.status_code}"

    return [Monitor(name, url, functools.partial(trouble, url)) for name, url in urls.items()]


@runtime_checkable
class DatabaseProvider(Protocol):
    """A Supabase that can be looked into.

    ``source`` is the declaration (a `supabase/` directory); ``cli`` runs the Supabase CLI; ``scope`` says
    which part of the database is the project's own.
    """

    cli: SupabaseCli
    scope: Scope

    @property
    def source(self) -> Path:
        """The declaration: the directory `supabase/`."""
        ...

    def dsn(self) -> str:
        """Connects as the role `postgres`; contains the password: never print it."""
        ...

    def programs_directory(self) -> Path:
        """Where pg_dump and pg_restore of the server's major version are."""
        ...

    def scratch(self) -> AbstractContextManager[str]:
        """A database with the Supabase baseline and nothing else, while the block lasts: its DSN."""
        ...

    def backup(self, snapshot: str) -> Path:
        """Back the database up as of the exported ``snapshot``; the newest backup's file."""
        ...

    def restore_place(self) -> AbstractContextManager[str]:
        """A database that a backup is restored into on trial, while the block lasts: its DSN."""
        ...

    def monitors(self) -> Sequence[Monitor]:
        """The parts that can be asked whether they are healthy."""
        ...


@runtime_checkable
class ReversibleDatabase(DatabaseProvider, Protocol):
    """A Supabase that can be taken back, in place."""

    def restore(self, backup: Path) -> str:
        """Put ``backup`` in the place of the live database; the name of the one before, which stays."""
        ...

    def reverse_newest(self) -> Migration:
        """Take the newest migration back, with its record; a deploy applies it again."""
        ...


def reversible_database(stack: Stack) -> ReversibleDatabase:
    """The provider of the stack's database, as one that can go back.

    Raises:
        NoProvider: when it cannot.
    """
    provider = stack.provider("supabase")
    if not isinstance(provider, ReversibleDatabase):
        raise NoProvider("nothing takes this database back in place yet")
    return provider


def database_provider(stack: Stack) -> DatabaseProvider:
    """The provider of the stack's database.

    Raises:
        NoProvider: when there is none, or it cannot be looked into.
    """
    provider = stack.provider("supabase")
    if not isinstance(provider, DatabaseProvider):
        raise NoProvider("the provider of supabase cannot be looked into yet")
    return provider
