"""The way back of a database of one's own: a backup in its place, or the newest migration's reverse."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from harness.errors import DeployError
from harness.migrations import Migration, migrations_in, rollback_of
from harness.providers.backup import Archive
from harness.providers.selfhosted.bootstrap import TEMPLATE, Server, drop_database

__all__ = ["KEPT", "restore_in_place", "reverse_newest"]

KEPT = "before_restore"
"""What the database that a restore has replaced is called, before the time; the newest one stays."""

_FRESH = "restored"
_NAMED = "select datname from pg_database where datname like %s"


def restore_in_place(server: Server, dsn: str, archive: Archive) -> str:
    """Put what ``archive`` holds in the place of the database at ``dsn``; the name of the one before.

    It is restored beside the live one first; only then do both change places, which takes milliseconds and
    ends every session. A restore that fails has changed nothing.

    Raises:
        BackupError: when the archive cannot be restored.
        DeployError: when the databases cannot change places.
    """
    database = str(conninfo_to_dict(dsn)["dbname"])
    fresh = f"{_FRESH}_{secrets.token_hex(6)}"
    with _administration(server) as admin:
        for (left,) in admin.execute(_NAMED, [f"{_FRESH}\\_%"]).fetchall():
            drop_database(admin, left)  # of a restore that was killed
        _make(admin, fresh)
        try:
            archive.restore(make_conninfo(dsn, dbname=fresh))
            before = _change_places(admin, database, fresh)
        except BaseException:
            drop_database(admin, fresh)
            raise
        _drop_older(admin, before)
    return before


def reverse_newest(dsn: str, source: Path) -> Migration:
    """Take the newest migration of ``source`` back, with its record, in one transaction.

    Raises:
        DeployError: when it is not what was applied last, has no reverse, or its reverse fails.
    """
    newest = migrations_in(source / "migrations")[-1]
    reverse = rollback_of(newest)
    if not reverse.exists():
        hint = "write the SQL that takes the migration back"
        raise DeployError("supabase", f"there is no {reverse.name} in supabase/rollbacks", hint)
    try:
        with psycopg.connect(dsn) as connection:
            row = connection.execute(
                "delete from supabase_migrations.schema_migrations"
                " where version = (select max(version) from supabase_migrations.schema_migrations)"
                " returning version"
            ).fetchone()
            if row is None or row[0] != newest.version:
                last = row[0] if row else "none"
                what = f"the newest migration is {newest.label}, but {last} was applied last"
                hint = "take it back from the release whose migration it is"
                raise DeployError("supabase", what, hint)
            connection.execute(reverse.read_bytes())
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise DeployError("supabase", f"supabase/rollbacks/{reverse.name}: {error}") from error
    return newest


@contextlib.contextmanager
def _administration(server: Server) -> Iterator[psycopg.Connection]:
    with psycopg.connect(server.dsn(database="template1"), autocommit=True) as admin:
        yield admin


def _make(admin: psycopg.Connection, name: str) -> None:
    statement = "create database {} owner postgres template {}"
    admin.execute(sql.SQL(statement).format(sql.Identifier(name), sql.Identifier(TEMPLATE)))


def _change_places(admin: psycopg.Connection, database: str, fresh: str) -> str:
    """No session may be on either while they are renamed, so none may begin."""
    before = f"{KEPT}_{time.strftime('%Y%m%d%H%M%S', time.gmtime())}"
    closed = sql.SQL("alter database {} allow_connections {}")
    rename = sql.SQL("alter database {} rename to {}")
    live, new, old = (sql.Identifier(name) for name in (database, fresh, before))
    try:
        admin.execute(closed.format(live, sql.SQL("false")))
        try:
            _end_sessions(admin, database)
            _end_sessions(admin, fresh)
            with admin.transaction():
                admin.execute(rename.format(live, old))
                admin.execute(rename.format(new, live))
        except BaseException:
            admin.execute(closed.format(live, sql.SQL("true")))
            raise
    except psycopg.Error as error:
        raise DeployError("supabase", f"{fresh} cannot take the place of {database}: {error}") from error
    return before


def _end_sessions(admin: psycopg.Connection, database: str) -> None:
    """End every session on ``database``, and wait until they are gone."""
    admin.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = %s", [database]
    )


def _drop_older(admin: psycopg.Connection, newest: str) -> None:
    for (name,) in admin.execute(_NAMED, [f"{KEPT}\\_%"]).fetchall():
        if name < newest:
            drop_database(admin, name)
