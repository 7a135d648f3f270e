"""Settings: typed, from environment variables only, every problem reported at once.

Nothing that identifies, limits or protects an environment has a default; only time-outs and sizes do.
"""

from __future__ import annotations

import difflib
import ssl
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)

__all__ = ["PREFIX", "Settings", "SettingsError", "load"]

PREFIX = "GATEWAY_"
LOCAL = "local"
SECRET_BYTES = 32
_PUBLISHED = (
    "super-secret-jwt-token-with-at-least-32-characters-long",  # what Supabase's own stacks begin with
    "your-super-secret-jwt-token-with-at-least-32-characters-long",
)


_FALSE = ("0", "off", "f", "false", "n", "no")
"""How pydantic spells it; whatever else there is, is not for sure."""


def _listed(value: object) -> object:
    return (
        tuple(part.strip() for part in value.split(",") if part.strip())
        if isinstance(value, str)
        else value
    )


def _absent(value: object) -> object:
    return None if value == "" else value


def _certificate(pem: str | None) -> str | None:
    if pem is not None:
        try:
            ssl.create_default_context(cadata=pem)
        except (ssl.SSLError, ValueError) as error:
            raise ValueError("no certificate in PEM") from error
    return pem


Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=2_000_000_000)]
Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Url = Annotated[str, Field(pattern=r"^https?://[^\s/]+(/[^\s]*)?$")]
Secret = Annotated[SecretStr, Field(min_length=1)]
OptionalSecret = Annotated[SecretStr | None, BeforeValidator(_absent)]
Word = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$")]


class Settings(BaseModel):
    """Every setting of the gateway; the field ``x_y`` is read from ``GATEWAY_X_Y``."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    environment: Annotated[str, Field(pattern="^[a-z][a-z0-9-]{1,30}$")]
    release: Word
    host: Word
    port: Annotated[int, Field(ge=0, le=65535)]
    log_level: Literal["debug", "info", "warning"]
    reload: bool = False
    docs: bool = True

    database_url: Secret
    database_ca: Annotated[str | None, BeforeValidator(_absent), AfterValidator(_certificate)] = None
    """The authority (PEM) that must have signed the database's certificate, which must bear its name."""
    jwt_secret: OptionalSecret = None
    jwks_url: Annotated[Url | None, BeforeValidator(_absent)] = None
    jwt_issuer: Url
    jwt_audience: Word

    instant_url: Url
    instant_model: Word
    instant_key: Secret
    thinking_url: Url
    thinking_model: Word
    thinking_key: Secret
    metrics_token: Secret

    limit_request_tokens: Count
    limit_user_tokens_per_day: Count
    limit_user_concurrency: Count
    limit_thinking_tokens_per_day: Count
    limit_body_bytes: Count = 262_144
    limit_header_bytes: Count = 32_768
    limit_headers: Count = 100
    default_max_tokens: Count = 512
    template_tokens: Annotated[int, Field(ge=0, le=10_000)] = 32
    """Tokens that the model's chat template adds to any conversation."""

    allowed_hosts: Annotated[Names, Field(min_length=1)]
    allowed_origins: Names

    retries: Annotated[int, Field(ge=0, le=3)] = 1
    database_connections: Annotated[int, Field(ge=2, le=50)] = 4
    reservation_seconds: Annotated[int, Field(ge=2, le=3600)] = 60
    timeout_connect_seconds: Seconds = 2
    timeout_first_byte_seconds: Seconds = 30
    timeout_cold_start_seconds: Seconds = 120
    timeout_idle_seconds: Seconds = 30
    timeout_answer_seconds: Seconds = 120
    timeout_total_seconds: Seconds = 300
    timeout_headers_seconds: Seconds = 10
    timeout_body_seconds: Seconds = 10
    timeout_keep_alive_seconds: Annotated[int, Field(ge=1, le=3600)] = 30
    timeout_comment_seconds: Seconds = 5
    timeout_database_seconds: Seconds = 2
    timeout_probe_seconds: Seconds = 3
    timeout_hung_seconds: Seconds = 10
    """An engine that says it is healthy and generates not one token within this hangs; a busy one does."""
    timeout_drain_seconds: Annotated[float, Field(ge=0, le=600)] = 0
    timeout_shutdown_seconds: Annotated[int, Field(ge=1, le=600)] = 8
    jwks_refresh_seconds: Seconds = 600
    jwks_cooldown_seconds: Seconds = 30

    def secrets(self) -> list[str]:
        """Every secret value, for the redactor of the log."""
        held = (self.database_url, self.jwt_secret, self.instant_key, self.thinking_key, self.metrics_token)
        values = [secret.get_secret_value() for secret in held if secret is not None]
        password = urlsplit(self.database_url.get_secret_value()).password
        return [value for value in (*values, password) if value]


class SettingsError(Exception):
    """The environment does not make valid settings; ``problems`` has one line for each fault."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def load(environ: Mapping[str, str]) -> Settings:
    """Settings from ``environ``.

    Raises:
        SettingsError: naming every variable that is missing, unknown, malformed or unsafe. It never holds
            a value, only names: values may be secrets.
    """
    given = {
        name[len(PREFIX) :].lower(): value for name, value in environ.items() if name.startswith(PREFIX)
    }
    problems = [*_unknown(given), *_unsafe(given)]
    known = {name: value for name, value in given.items() if name in Settings.model_fields}
    try:
        settings = Settings.model_validate(known)
    except ValidationError as error:
        problems += [_explain(fault["loc"], fault["type"], fault["msg"]) for fault in error.errors()]
    else:
        if not problems:
            return settings
    raise SettingsError(sorted(set(problems)))


def _explain(location: tuple[int | str, ...], kind: str, message: str) -> str:
    name = PREFIX + str(location[0]).upper() if location else PREFIX
    return f"{name} is not set" if kind == "missing" else f"{name}: {message}"


def _unknown(given: Mapping[str, str]) -> Iterator[str]:
    for name in given:
        if name not in Settings.model_fields:
            near = difflib.get_close_matches(name, Settings.model_fields, 1)
            hint = f"; did you mean {PREFIX}{near[0].upper()}?" if near else ""
            yield f"{PREFIX}{name.upper()} is not a setting{hint}"


def _unsafe(given: Mapping[str, str]) -> Iterator[str]:
    """Faults that a single field cannot see; outside `local` also whatever only development may do."""
    if not given.get("jwt_secret") and not given.get("jwks_url"):
        yield "GATEWAY_JWT_SECRET or GATEWAY_JWKS_URL must be set: nothing could verify a token"
    try:
        database = urlsplit(given.get("database_url", ""))
        scheme, query = database.scheme, database.query
    except ValueError:
        scheme, query = "malformed", ""
    if scheme not in ("", "postgresql", "postgres"):
        yield "GATEWAY_DATABASE_URL must begin with postgresql://"
    if given.get("environment", "") != LOCAL:
        yield from _unsafe_in_production(given, query)


def _unsafe_in_production(given: Mapping[str, str], database_query: str) -> Iterator[str]:
    for name in ("jwt_issuer", "jwks_url"):
        if given.get(name) and not given[name].startswith("https://"):
            yield f"{PREFIX}{name.upper()} must be https outside the environment `{LOCAL}`"
    for name in ("jwt_secret", "instant_key", "thinking_key", "metrics_token"):
        if given.get(name) and len(given[name].encode()) < SECRET_BYTES:
            yield f"{PREFIX}{name.upper()} must have at least {SECRET_BYTES} bytes outside `{LOCAL}`"
        if given.get(name) in _PUBLISHED:
            yield f"{PREFIX}{name.upper()} is a development default that anybody can look up"
    if given.get("log_level", "").lower() == "debug":
        yield f"{PREFIX}LOG_LEVEL=debug is for the environment `{LOCAL}` only"
    if given.get("reload", "false").lower() not in _FALSE:
        yield f"{PREFIX}RELOAD is for the environment `{LOCAL}` only"
    if "*" in given.get("allowed_hosts", "") + given.get("allowed_origins", ""):
        yield "GATEWAY_ALLOWED_HOSTS and GATEWAY_ALLOWED_ORIGINS take names, not wildcards"
    modes = parse_qs(database_query).get("sslmode", [])
    if given.get("database_url") and modes not in (["require"], ["verify-ca"], ["verify-full"]):
        yield "GATEWAY_DATABASE_URL must have sslmode=require, verify-ca or verify-full outside `local`"
