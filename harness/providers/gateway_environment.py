"""The process environment of the gateway, from the declaration alone: the same for every provider."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import quote

from harness.environment import Environment
from harness.environment.gateway import LocalGateway
from harness.environment.supabase import CloudSupabase, HostSupabase, LocalSupabase
from harness.errors import ConfigurationError, Problem
from harness.secrets import Secret, SecretStore

__all__ = [
    "Settings",
    "fingerprint",
    "gateway_settings",
    "image_sources",
    "reveal",
    "source_digest",
    "source_release",
]

Settings = dict[str, str | Secret]
"""Variable: value. What must never be shown is a :class:`Secret`."""


def gateway_settings(environment: Environment, secrets: SecretStore, release: str) -> Settings:
    """Every variable that the gateway of ``environment`` is started with.

    Raises:
        ConfigurationError: when a secret cannot be resolved.
    """
    gateway, supabase = environment.gateway, environment.supabase
    settings: Settings = {
        "GATEWAY_ENVIRONMENT": environment.environment,
        "GATEWAY_RELEASE": release,
        "GATEWAY_LOG_LEVEL": gateway.log_level,
        "GATEWAY_DATABASE_URL": _database_url(environment, secrets),
        "GATEWAY_JWT_SECRET": secrets.resolve(supabase.jwt_secret),
        "GATEWAY_JWT_ISSUER": f"{supabase.api_url}/auth/v1",
        "GATEWAY_JWT_AUDIENCE": "authenticated",
        "GATEWAY_METRICS_TOKEN": secrets.resolve(gateway.metrics_token),
        "GATEWAY_LIMIT_REQUEST_TOKENS": str(gateway.limits.request_tokens),
        "GATEWAY_LIMIT_USER_TOKENS_PER_DAY": str(gateway.limits.user_tokens_per_day),
        "GATEWAY_LIMIT_USER_CONCURRENCY": str(gateway.limits.user_concurrency),
        "GATEWAY_LIMIT_THINKING_TOKENS_PER_DAY": str(gateway.limits.thinking_tokens_per_day),
        "GATEWAY_ALLOWED_ORIGINS": environment.web.url,
    }
    settings["GATEWAY_TIMEOUT_HUNG_SECONDS"] = f"{environment.instant.answer_within_seconds:g}"
    for name in ("instant", "thinking"):
        engine = getattr(environment, name)
        settings[f"GATEWAY_{name.upper()}_URL"] = engine.url
        settings[f"GATEWAY_{name.upper()}_MODEL"] = engine.model.name
        settings[f"GATEWAY_{name.upper()}_KEY"] = secrets.resolve(engine.api_key)
    return settings | _place(environment, secrets.root)


def _place(environment: Environment, root: Path) -> Settings:
    """What depends on where the gateway and its Supabase are."""
    gateway, supabase = environment.gateway, environment.supabase
    settings: Settings = {}
    if isinstance(supabase, CloudSupabase):  # hosted projects sign with ES256 keys that they publish
        settings["GATEWAY_JWKS_URL"] = f"{supabase.api_url}/auth/v1/.well-known/jwks.json"
        if (authority := root / supabase.database_ca).is_file():  # else nothing is let in there
            settings["GATEWAY_DATABASE_CA"] = authority.read_text(encoding="utf-8")
    if isinstance(gateway, LocalGateway):
        settings["GATEWAY_HOST"] = "127.0.0.1"
        settings["GATEWAY_PORT"] = str(gateway.port)
        settings["GATEWAY_ALLOWED_HOSTS"] = "127.0.0.1,localhost"
    else:  # inside its container; the host decides where that is reached
        settings["GATEWAY_HOST"] = "0.0.0.0"  # noqa: S104
        settings["GATEWAY_PORT"] = "8000"
        settings["GATEWAY_ALLOWED_HOSTS"] = gateway.url.partition("://")[2].partition(":")[0]
    return settings


def _database_url(environment: Environment, secrets: SecretStore) -> Secret:
    password = quote(secrets.resolve(environment.gateway.database_password).reveal(), safe="")
    supabase = environment.supabase
    if isinstance(supabase, LocalSupabase):
        return Secret(f"postgresql://gateway:{password}@127.0.0.1:{supabase.database_port}/postgres")
    if isinstance(supabase, HostSupabase) and environment.machines is not None:
        host = environment.machines.host(supabase.host)
        where = f"{host.private_address or host.address}:{supabase.database_port}"
        return Secret(f"postgresql://gateway:{password}@{where}/postgres?sslmode=require")
    if not isinstance(supabase, CloudSupabase):
        raise ConfigurationError([Problem("supabase.host", "there are no machines", "machines.hosts")])
    where = f"{supabase.database_host}:{supabase.database_port}"
    return Secret(
        f"postgresql://{supabase.login('gateway')}:{password}@{where}/postgres?sslmode=verify-full"
    )


def image_sources(root: Path) -> list[Path]:
    """The files that the gateway is made from: its sources, its pinned packages, its Dockerfile."""
    return [
        *sorted((root / "gateway").rglob("*.py")),
        root / "requirements-gateway.txt",
        root / "Dockerfile",
    ]


def source_digest(root: Path) -> str:
    """sha256 over :func:`image_sources`, as hexadecimal digits: the same wherever it is deployed."""
    digest = hashlib.sha256()
    for path in image_sources(root):
        digest.update(f"{path.relative_to(root)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def source_release(root: Path) -> str:
    """The name of the gateway's release: `gateway@` and twelve digits of :func:`source_digest`."""
    return f"gateway@{source_digest(root)[:12]}"


def reveal(value: str | Secret) -> str:
    """The plain value, for the process that is started with it."""
    return value.reveal() if isinstance(value, Secret) else value


def fingerprint(value: str | Secret) -> str:
    """What stands for a setting where settings are compared: equal values, equal fingerprints, no value."""
    return hashlib.sha256(reveal(value).encode()).hexdigest()[:16]
