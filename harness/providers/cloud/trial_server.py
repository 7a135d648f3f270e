"""A throw-away PostgreSQL on this machine, where migrations and backups of a hosted project are tried.

A hosted project has no room for a second database, and nobody wants one there. The server is started when
it is first needed, and stopped and removed with the stack; if this process is killed, the kernel stops it.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
from psycopg import sql

from harness.errors import DeployError, HarnessError
from harness.providers.local.postgres import EmbeddedPostgres
from harness.providers.selfhosted.bootstrap import bootstrap, scratch_database, set_passwords
from harness.secrets import Secret

__all__ = ["TrialServer"]

_BARE = "template0"


class TrialServer:
    """One server for all who try something during a run. ``directory`` is where it lives meanwhile."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._keeper: threading.Thread | None = None
        self._server: EmbeddedPostgres | None = None
        self._password = Secret(secrets.token_urlsafe(32))

    @contextlib.contextmanager
    def baseline(self) -> Iterator[str]:
        """A database with the Supabase baseline, for as long as the block lasts; its DSN, as `postgres`."""
        server = self._running()
        with scratch_database(server.dsn("postgres", self._password)) as dsn:
            yield dsn

    @contextlib.contextmanager
    def bare(self, roles: Sequence[str], extensions: Sequence[tuple[str, str]]) -> Iterator[str]:
        """A database with nothing but ``roles`` and ``extensions`` (name, schema); its DSN, as superuser.

        Raises:
            DeployError: when an extension is not to be had here.
        """
        server = self._running()
        with scratch_database(server.dsn(), "restore", _BARE) as dsn:
            with psycopg.connect(dsn, autocommit=True) as admin:
                _furnish(admin, roles, extensions)
            yield dsn

    def close(self) -> None:
        """Stop the server and remove all that it held; does nothing when it was never needed."""
        with self._lock:
            self._stop.set()
            if self._keeper is not None:
                self._keeper.join(timeout=40)
            self._keeper, self._server = None, None

    def _running(self) -> EmbeddedPostgres:
        with self._lock:
            if self._server is None:
                self._server = self._start()
            return self._server

    def _start(self) -> EmbeddedPostgres:
        """The server lives as long as a thread of its own: the kernel ends it with whoever started it."""
        self._stop.clear()
        server = EmbeddedPostgres(self.directory, _free_port(), self._password, durable=False)
        server.destroy()  # of a run that was killed
        started = threading.Event()
        trouble: list[BaseException] = []

        def keep() -> None:
            try:
                with server.running("trial-postgres"):
                    started.set()
                    self._stop.wait()
                server.destroy()
            except (HarnessError, OSError) as error:
                trouble.append(error)
            finally:
                started.set()

        self._keeper = threading.Thread(target=keep, name="trial-postgres", daemon=True)
        self._keeper.start()
        started.wait()
        if trouble:
            what = f"the server for trials does not start: {trouble[0]}"
            raise DeployError("supabase", what, f"read {self.directory}/trial-postgres.log")
        try:
            bootstrap(server)
            set_passwords(server, {"postgres": self._password})
        except BaseException:  # nobody would stop it: the next one who asks starts another
            self._stop.set()
            raise
        return server


def _furnish(
    admin: psycopg.Connection, roles: Sequence[str], extensions: Sequence[tuple[str, str]]
) -> None:
    there = {name for (name,) in admin.execute("select rolname from pg_roles").fetchall()}
    for role in sorted(set(roles) - there):
        admin.execute(sql.SQL("create role {} nologin").format(sql.Identifier(role)))
    for name, schema in extensions:
        admin.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(schema)))
        statement = sql.SQL("create extension if not exists {} with schema {} cascade")
        try:
            admin.execute(statement.format(sql.Identifier(name), sql.Identifier(schema)))
        except psycopg.Error as error:
            what = f"the project uses the extension {name}, which is not to be had on this machine: {error}"
            hint = "restore a backup on a server that has it"
            raise DeployError("supabase", what, hint) from None
    admin.execute("drop schema public")  # a dump brings its own


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
