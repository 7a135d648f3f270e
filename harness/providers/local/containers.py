"""The stack that `supabase start` brings up in containers: real Auth, Storage and Studio; needs Docker."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from harness.docker_engine import connect
from harness.errors import DeployError, HarnessError
from harness.providers.supabase_cli import SupabaseCli, start
from harness.secrets import Secret

__all__ = ["ContainerStack", "with_jwt_secret"]


def with_jwt_secret(configuration: str, secret: Secret) -> str:
    """``config.toml`` with the JWT secret of this environment: tokens minted here are good there."""
    head, table, tail = configuration.partition("\n[auth]\n")
    if not table:
        raise DeployError("supabase", "supabase/config.toml has no table [auth]")
    return f'{head}{table}jwt_secret = "{secret.reveal()}"\n{tail}'


class ContainerStack:
    """The CLI's own stack, from the declaration in ``source`` (`supabase/`)."""

    def __init__(self, cli: SupabaseCli, source: Path) -> None:
        self.cli, self.source = cli, source

    @staticmethod
    def dsn(port: int) -> str:
        """As `postgres`. The CLI gives its database this password on every machine; it is no secret."""
        return make_conninfo(f"postgresql://postgres:postgres@127.0.0.1:{port}/postgres")

    @staticmethod
    def require_engine() -> None:
        """Refuse to go on without a Docker engine.

        Raises:
            DeployError: says where one was looked for, and what needs none.
        """
        try:
            connect(timeout=5).close()
        except HarnessError as error:
            raise DeployError(
                "supabase",
                f"`stack: supabase-cli` runs containers, and {error}",
                "start Docker, or set `stack: embedded`, which needs none",
            ) from None

    def running(self, dsn: str) -> bool:
        """Whether its database answers."""
        try:
            psycopg.connect(dsn, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def start(self, jwt_secret: Secret) -> None:
        """Start it; pulls images at first, hence ten minutes.

        Raises:
            DeployError: when the CLI fails; the message ends with what it said.
        """
        with self._project(jwt_secret) as project:
            self.cli.must(start(), project, seconds=600)

    @staticmethod
    def log_in(connection: psycopg.Connection, role: str, password: Secret) -> list[str]:
        """Give ``role`` its password; the statement carries a verifier, not the password."""
        verifier = connection.pgconn.encrypt_password(
            password.reveal().encode(), role.encode(), b"scram-sha-256"
        ).decode()
        statement = sql.SQL("alter role {} login password {}")
        connection.execute(statement.format(sql.Identifier(role), sql.Literal(verifier)))
        return []

    @contextlib.contextmanager
    def _project(self, jwt_secret: Secret) -> Iterator[Path]:
        with self.cli.project(self.source) as project:
            path = project / "supabase" / "config.toml"
            text = with_jwt_secret(path.read_text(encoding="utf-8"), jwt_secret)
            path.chmod(0o600)
            path.write_text(text, encoding="utf-8")
            yield project
