"""What checks of the database may ask of whichever provider runs it, beyond deploying."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, runtime_checkable

from harness.errors import NoProvider
from harness.migrations import Migration
from harness.providers.supabase_cli import SupabaseCli
from harness.stack import Stack

__all__ = ["DatabaseProvider", "ReversibleDatabase", "database_provider", "reversible_database"]


@runtime_checkable
class DatabaseProvider(Protocol):
    """A Supabase that can be looked into.

    ``source`` is the declaration (a `supabase/` directory); ``cli`` runs the Supabase CLI.
    """

    cli: SupabaseCli

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

    def monitors(self) -> Mapping[str, str]:
        """URLs that answer 200 while a part is healthy, by the part's name."""
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
