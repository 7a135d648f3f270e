"""A hosted project's database: where it is, who logs in, and which of it is Supabase's own.

What stands here of hosted projects comes from Supabase's public sources: the schemas of its image
(supabase/postgres, migrations), and the rights that it takes from the role `postgres`
(…_revoke_admin_roles_from_postgres.sql).
"""

from __future__ import annotations

from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from harness.environment.supabase import CloudSupabase
from harness.providers.database import Scope
from harness.secrets import Secret

__all__ = ["SCOPE", "HostedServer"]

SCOPE = Scope(
    managed=(
        "auth",
        "storage",
        "extensions",
        "graphql",
        "graphql_public",
        "realtime",
        "_realtime",
        "vault",
        "pgbouncer",
        "supabase_functions",
        "_analytics",
        "_supavisor",
        "net",
        "cron",
        "pgmq",
        "pgsodium",
        "pgsodium_masks",
        "pgtle",
    ),
    kept=("auth", "storage"),
    closed=("auth.schema_migrations", "storage.migrations"),
)
"""Supabase runs these schemas. Users and the rows of files belong to the project all the same; two tables
of theirs are closed to `postgres`."""

_REFUSED = ("password authentication failed", "is not permitted to log in", "Wrong password", "not found")
"""What PostgreSQL says to a wrong login, and Supabase's pooler."""


class HostedServer:
    """Implements :class:`harness.providers.selfhosted.bootstrap.Server` for a hosted project.

    Every connection is encrypted, and the server's certificate and name are verified.
    """

    def __init__(self, settings: CloudSupabase, root: Path, password: Secret) -> None:
        self._settings, self._password = settings, password
        self.authority = root / settings.database_ca

    def dsn(
        self, role: str = "postgres", password: Secret | None = None, database: str = "postgres"
    ) -> str:
        """A libpq connection string; contains the password: never print it."""
        return make_conninfo(
            host=self._settings.database_host,
            port=self._settings.database_port,
            user=self._settings.login(role),
            password=(password or self._password).reveal(),
            dbname=database,
            sslmode="verify-full",
            sslrootcert=str(self.authority),
            connect_timeout=10,
            application_name="chat-stack-harness",
        )

    def lets_in(self, role: str, password: Secret) -> bool:
        """Whether ``role`` can log in with ``password``.

        Raises:
            psycopg.OperationalError: when the database cannot be asked.
        """
        try:
            psycopg.connect(self.dsn(role, password)).close()
        except psycopg.OperationalError as error:
            if any(reason in str(error) for reason in _REFUSED):
                return False
            raise
        return True
