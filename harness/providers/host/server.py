"""PostgreSQL on a machine, as the harness connects to it: through ssh, to the machine's own loopback."""

from __future__ import annotations

import hashlib
import hmac

import psycopg
from psycopg.conninfo import make_conninfo

from harness.hosts.forwards import Forwards
from harness.providers.selfhosted.bootstrap import SUPERUSER
from harness.secrets import Secret

__all__ = ["HostServer", "derived"]


def derived(password: Secret, role: str) -> Secret:
    """The password of a role of which the environment says nothing, made from the one that it declares.

    So everybody who may deploy arrives at the same one, and nothing has to be kept beside the declaration.
    HMAC-SHA-256: who learns it cannot get back to the declared one.
    """
    made = hmac.new(password.reveal().encode(), f"role {role}".encode(), hashlib.sha256).hexdigest()
    return Secret(made)


class HostServer:
    """Implements :class:`harness.providers.selfhosted.bootstrap.Server`."""

    def __init__(self, forwards: Forwards, machine: str, port: int, superuser_password: Secret) -> None:
        self._forwards, self._machine, self._port = forwards, machine, port
        self.password = superuser_password

    def dsn(self, role: str = SUPERUSER, password: Secret | None = None, database: str = "postgres") -> str:
        """A libpq connection string; contains the password: never print it."""
        host, port = self._forwards.to(self._machine, f"127.0.0.1:{self._port}")
        return make_conninfo(
            host=host,
            port=port,
            user=role,
            password=(password or self.password).reveal(),
            dbname=database,
            connect_timeout=5,
            application_name="chat-stack-harness",
        )

    def ready(self) -> bool:
        """Whether the server accepts connections."""
        host, port = self._forwards.to(self._machine, f"127.0.0.1:{self._port}")
        conninfo = f"host={host} port={port} connect_timeout=2".encode()
        return psycopg.pq.PGconn.ping(conninfo) == psycopg.pq.Ping.OK
