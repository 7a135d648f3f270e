"""Supabase: a stack of one's own, or a hosted project."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from harness.environment.base import Host, Port, SecretReference, Strict, Url
from harness.environment.machines import MachineName

__all__ = ["CloudSupabase", "HostSupabase", "LocalSupabase", "Supabase"]


def _network(text: str) -> str:
    """``text`` as the Management API writes an address range.

    Raises:
        ValueError: when it is none.
    """
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise ValueError(f"an address range is written like 203.0.113.0/24: {error}") from None


Network = Annotated[str, AfterValidator(_network)]


class _Supabase(Strict):
    api_url: Url
    """Base URL of the project: the Data API is below it at /rest/v1."""
    jwt_secret: SecretReference
    """Signs access tokens (HS256)."""
    anon_key: SecretReference | None = None
    """Without one, it is minted from the JWT secret."""
    service_role_key: SecretReference | None = None
    """Bypasses RLS; minted from the JWT secret when there is none. Never leaves the server."""
    database_password: SecretReference
    """Password of the database role `postgres`."""


class LocalSupabase(_Supabase):
    """PostgreSQL and PostgREST under the local process manager, or the Supabase CLI's own stack."""

    provider: Literal["local"]
    stack: Literal["embedded", "supabase-cli"] = "embedded"
    """embedded: PostgreSQL and PostgREST from packages; supabase-cli: `supabase start` (needs Docker)."""
    postgres_major: Literal[17] = 17
    """Major version of PostgreSQL; that of the hosted project."""
    database_port: Port = 54322
    """Loopback port of PostgreSQL."""
    api_port: Port = 54321
    """Loopback port of the Data API; that of `api_url`."""
    rest_port: Port = 54326
    """PostgREST behind the front of the Data API (stack: embedded)."""
    rest_admin_port: Port = 54328
    """Its health and metrics (stack: embedded)."""
    seed: bool = True
    """Whether supabase/seed.sql is applied to a new database."""


class CloudSupabase(_Supabase):
    """A hosted project, reached by its Management API and its pooler."""

    provider: Literal["cloud"]
    project_ref: Annotated[str, Field(pattern="^[a-z]{20}$")]
    """The 20 letters of the project's address."""
    access_token: SecretReference
    """Personal access token for the Management API and the CLI."""
    database_host: Host
    """The pooler (or the database itself) that migrations are applied through."""
    database_port: Port = 5432
    """5432: the session pooler, which migrations need; 6543 pools transactions."""
    database_ca: str
    """File with the authority that signed the database's certificate, relative to the repository; the
    project's dashboard offers it."""
    pooler: bool = True
    """Whether `database_host` is Supabase's pooler, where a role logs in as ROLE.PROJECT_REF."""
    postgres_major: Literal[17] = 17
    """Major version of PostgreSQL."""
    networks: tuple[Network, ...] = ("0.0.0.0/0", "::/0")
    """The address ranges that may connect to the database: these and no others."""
    seed: bool = False
    """Whether supabase/seed.sql is applied to a new database."""
    pitr: bool = False
    """Whether point-in-time recovery must be on."""
    backup_max_age_hours: Annotated[int, Field(ge=1)] = 24
    """The latest backup must not be older."""
    management_url: Url = "https://api.supabase.com"
    """Supabase's Management API."""

    def login(self, role: str) -> str:
        """What ``role`` logs in as at `database_host`."""
        return f"{role}.{self.project_ref}" if self.pooler else role


class HostSupabase(_Supabase):
    """PostgreSQL and PostgREST under systemd on a machine of one's own, reached over ssh."""

    provider: Literal["host"]
    host: MachineName
    """The database machine (a name from `machines.hosts`)."""
    postgres_major: Literal[17] = 17
    """Major version of PostgreSQL."""
    database_port: Port = 5432
    """Port of PostgreSQL on the private network."""
    api_port: Port = 3000
    """Port of the Data API on the private network; the load balancer leads `api_url` there."""
    backup_max_age_hours: Annotated[int, Field(ge=1)] = 24
    """The latest backup must not be older."""
    seed: bool = False
    """Whether supabase/seed.sql is applied to a new database."""


Supabase = Annotated[LocalSupabase | HostSupabase | CloudSupabase, Field(discriminator="provider")]
