"""Gives a fresh cluster what every Supabase project starts with: roles, schemas, guards, one template.

The database `supabase_baseline` is that starting point, kept as a template: scratch databases (for
restores and for trying migrations) are copies of it, and so is the database `postgres` at first.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from harness.errors import DeployError
from harness.secrets import Secret

__all__ = [
    "BASELINE",
    "SUPERUSER",
    "TEMPLATE",
    "Server",
    "baseline_digest",
    "bootstrap",
    "bootstrapped",
    "logs_in",
    "scratch_database",
    "set_passwords",
]

SUPERUSER = "supabase_admin"
"""The bootstrap superuser, named as on a hosted project."""
TEMPLATE = "supabase_baseline"
BASELINE = Path(__file__).parent / "baseline"
_WRONG_LOGIN = ("password authentication failed", "is not permitted to log in")
_PER_DATABASE = ("schemas.sql", "auth.sql", "storage.sql")


class Server(Protocol):
    """A running PostgreSQL server, wherever it runs."""

    def dsn(self, role: str = SUPERUSER, password: Secret | None = None, database: str = "postgres") -> str:
        """A libpq connection string (without ``password``: the superuser's); never print it."""
        ...


def baseline_digest() -> str:
    """What identifies the baseline: the content of its files."""
    files = [BASELINE / name for name in ("roles.sql", *_PER_DATABASE)]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()[:16]


def bootstrapped(server: Server) -> bool:
    """Whether the running ``server`` has this very baseline."""
    with psycopg.connect(server.dsn(database="template1")) as connection:
        row = connection.execute(
            "select shobj_description(oid, 'pg_database') from pg_database where datname = %s", [TEMPLATE]
        ).fetchone()
    return row is not None and row[0] == baseline_digest()


def bootstrap(server: Server) -> bool:
    """Bring the running ``server`` to the baseline; idempotent. Returns whether anything was done.

    Raises:
        DeployError: when a statement of the baseline fails.
    """
    if bootstrapped(server):
        return False
    try:
        _bootstrap(server)
    except psycopg.Error as error:
        raise DeployError("supabase", f"the database baseline does not apply: {error}") from error
    return True


def _bootstrap(server: Server) -> None:
    template = sql.Identifier(TEMPLATE)
    with psycopg.connect(server.dsn(database="template1"), autocommit=True) as admin:
        admin.execute((BASELINE / "roles.sql").read_bytes())
        if _exists(admin, TEMPLATE):  # an older baseline, or a bootstrap that was killed half-way
            admin.execute(sql.SQL("alter database {} is_template false").format(template))
            admin.execute(sql.SQL("drop database {} with (force)").format(template))
        admin.execute(sql.SQL("create database {} owner postgres").format(template))
        apply_schemas(server, TEMPLATE)
        if _is_untouched(server):
            admin.execute("drop database postgres with (force)")
        if _exists(admin, "postgres"):
            apply_schemas(server, "postgres")
        else:
            admin.execute(sql.SQL("create database postgres owner postgres template {}").format(template))
        admin.execute(sql.SQL("alter database {} is_template true").format(template))
        digest = sql.Literal(baseline_digest())  # last: from here on the baseline counts as applied
        admin.execute(sql.SQL("comment on database {} is {}").format(template, digest))


def apply_schemas(server: Server, database: str) -> None:
    """Run the per-database part of the baseline in ``database``, in one transaction."""
    with psycopg.connect(server.dsn(database=database)) as connection:
        for name in _PER_DATABASE:
            connection.execute((BASELINE / name).read_bytes())


def _exists(admin: psycopg.Connection, database: str) -> bool:
    return admin.execute("select from pg_database where datname = %s", [database]).fetchone() is not None


def _is_untouched(server: Server) -> bool:
    """Whether the database `postgres` is still the one that initdb made."""
    with psycopg.connect(server.dsn(database="template1")) as connection:
        row = connection.execute(
            "select datdba::regrole::text from pg_database where datname = 'postgres'"
        ).fetchone()
    return row is not None and row[0] == "supabase_admin"


def set_passwords(server: Server, passwords: Mapping[str, Secret]) -> list[str]:
    """Make each role's password what it should be; returns the roles whose password was changed.

    The server is sent a SCRAM verifier, never the password: nothing to find in a log or a statistics view.
    """
    changed = []
    for role, password in passwords.items():
        if logs_in(server, role, password):
            continue
        with psycopg.connect(server.dsn(database="template1")) as connection:
            verifier = connection.pgconn.encrypt_password(
                password.reveal().encode(), role.encode(), b"scram-sha-256"
            ).decode()
            statement = sql.SQL("alter role {} login password {}")
            connection.execute(statement.format(sql.Identifier(role), sql.Literal(verifier)))
        changed.append(role)
    return changed


def logs_in(server: Server, role: str, password: Secret) -> bool:
    """Whether ``role`` can log in with ``password``."""
    try:
        psycopg.connect(server.dsn(role, password, "template1")).close()
    except psycopg.OperationalError as error:
        if any(reason in str(error) for reason in _WRONG_LOGIN):
            return False
        raise
    return True


# Scratch databases whose maker holds no lock on their name any more: it was killed.
_LEFT_BEHIND = """
with candidates as materialized (
    select datname from pg_database where datname ~ %s and datname <> %s
)
select datname from candidates where pg_try_advisory_lock(hashtextextended(datname, 0))
"""


@contextlib.contextmanager
def scratch_database(dsn: str, prefix: str = "scratch", template: str = TEMPLATE) -> Iterator[str]:
    """A database copied from ``template`` for as long as the block lasts; yields its connection string.

    ``dsn`` connects as a role that may create databases (`postgres` may). One that a killed process left
    behind is removed by the next call: a lock on its name lasts as long as its maker.
    """
    name = f"{prefix}_{secrets.token_hex(6)}"
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute("select pg_advisory_lock(hashtextextended(%s, 0))", [name])
        for (left,) in owner.execute(_LEFT_BEHIND, [f"^{prefix}_[0-9a-f]{{12}}$", name]).fetchall():
            drop_database(owner, left)
            owner.execute("select pg_advisory_unlock(hashtextextended(%s, 0))", [left])
        source = sql.Identifier(template)
        owner.execute(sql.SQL("create database {} template {}").format(sql.Identifier(name), source))
        try:
            yield make_conninfo(dsn, dbname=name)
        finally:
            drop_database(owner, name)


def drop_database(owner: psycopg.Connection, database: str) -> None:
    """Drop ``database`` if it exists, ending the sessions that are open on it.

    ``owner`` is in autocommit mode. Only a superuser may end a superuser's session: any other role
    waits up to five seconds until it has closed.

    Raises:
        psycopg.errors.ObjectInUse: when a superuser's session stays open; its detail counts them.
    """
    name = sql.Identifier(database)
    try:
        owner.execute(sql.SQL("drop database if exists {} with (force)").format(name))
    except psycopg.errors.InsufficientPrivilege:
        # Without FORCE, PostgreSQL itself waits these five seconds (CountOtherDBBackends, procarray.c).
        owner.execute(sql.SQL("drop database if exists {}").format(name))
