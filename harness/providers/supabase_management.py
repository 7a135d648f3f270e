"""Reads a hosted project through Supabase's Management API (`/v1/projects/{ref}`, 120 requests a minute).

It reads tolerantly: the API answers with fields and states that its own document does not have, so only
what is used is demanded. The httpx client is given: tests bring a transport of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from harness.environment.supabase import CloudSupabase
from harness.errors import HarnessError, NoProvider
from harness.secrets import Secret
from harness.stack import Stack

__all__ = [
    "AuthConfiguration",
    "Backup",
    "Backups",
    "DataApiConfiguration",
    "ManagementApi",
    "ManagementError",
    "NetworkRestrictions",
    "Project",
    "Service",
    "SslEnforcement",
    "management_api",
]

_Model = TypeVar("_Model", bound=BaseModel)
_HINTS = {
    401: "the access token is not accepted: make a new one, and put it where the environment refers to",
    403: "the access token lacks the right to read this: use one of an owner or administrator",
    404: "there is no such project for this token: is project_ref right?",
}
_BUSY = 429
_SERVER_ERROR = 500


class ManagementError(HarnessError):
    """The Management API refused, or answered something else than it should."""


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Backup(_Answer):
    """One daily backup; ``status`` is COMPLETED, FAILED, PENDING … ``inserted_at`` an ISO 8601 time."""

    status: str
    inserted_at: str = ""
    is_physical_backup: bool = False


class _Physical(_Answer):
    earliest_physical_backup_date_unix: int | None = None
    latest_physical_backup_date_unix: int | None = None


class Backups(_Answer):
    """`GET /database/backups`. With PITR on, ``backups`` is empty, and the physical ones count."""

    pitr_enabled: bool
    walg_enabled: bool | None = None
    backups: tuple[Backup, ...] = ()
    physical_backup_data: _Physical = Field(default_factory=_Physical)


class AuthConfiguration(_Answer):
    """`GET /config/auth`; ``uri_allow_list`` is one text with commas in it."""

    site_url: str | None = None
    uri_allow_list: str | None = None


class _Database(_Answer):
    postgres_engine: str = ""


class Project(_Answer):
    """`GET /v1/projects/{ref}`; ``status`` is ACTIVE_HEALTHY, INACTIVE (paused), COMING_UP …"""

    status: str
    database: _Database = Field(default_factory=_Database)


class Service(_Answer):
    """One part of `GET /health`; ``status`` is ACTIVE_HEALTHY, UNHEALTHY or COMING_UP."""

    name: str
    status: str
    error: str = ""


class _Services(RootModel[tuple[Service, ...]]):
    pass


class _SslSettings(_Answer):
    database: bool


class SslEnforcement(_Answer):
    """`GET /ssl-enforcement`."""

    current: _SslSettings = Field(alias="currentConfig")
    applied: bool = Field(alias="appliedSuccessfully")


class _Networks(_Answer):
    v4: tuple[str, ...] = Field(default=(), alias="dbAllowedCidrs")
    v6: tuple[str, ...] = Field(default=(), alias="dbAllowedCidrsV6")


class NetworkRestrictions(_Answer):
    """`GET /network-restrictions`; ``status`` is stored until it is applied."""

    entitlement: str = ""
    config: _Networks
    status: str = ""

    @property
    def networks(self) -> frozenset[str]:
        """Every address range that may connect."""
        return frozenset((*self.config.v4, *self.config.v6))


class DataApiConfiguration(_Answer):
    """`GET /postgrest`; ``db_schema`` is one text with commas. (Its jwt_secret is not read.)"""

    db_schema: str
    max_rows: int

    @property
    def schemas(self) -> tuple[str, ...]:
        """The schemas that the Data API exposes; the first is the default."""
        return tuple(name for part in self.db_schema.split(",") if (name := part.strip()))


class ManagementApi:
    """One project, ``ref``. ``client`` has the API's base address; ``token`` goes into the header only."""

    def __init__(self, client: httpx.Client, ref: str, token: Secret) -> None:
        self.client, self.ref, self.token = client, ref, token

    def backups(self) -> Backups:
        """What backups there are."""
        return self._get("database/backups", Backups)

    def auth(self) -> AuthConfiguration:
        """How Auth is configured."""
        return self._get("config/auth", AuthConfiguration)

    def project(self) -> Project:
        """The project itself."""
        return self._get("", Project)

    def health(self, services: Sequence[str]) -> tuple[Service, ...]:
        """How ``services`` (auth, db, rest, storage, pooler …) are."""
        query = "&".join(f"services={name}" for name in services)
        return self._get(f"health?{query}", _Services).root

    def ssl(self) -> SslEnforcement:
        """Whether the database refuses connections without TLS."""
        return self._get("ssl-enforcement", SslEnforcement)

    def network(self) -> NetworkRestrictions:
        """From where the database may be reached."""
        return self._get("network-restrictions", NetworkRestrictions)

    def data_api(self) -> DataApiConfiguration:
        """What the Data API exposes."""
        return self._get("postgrest", DataApiConfiguration)

    def where(self, path: str) -> str:
        """The address of ``path``, as a person reads it."""
        return f"{self.client.base_url}".rstrip("/") + self._path(path)

    def _path(self, path: str) -> str:
        return f"/v1/projects/{self.ref}/{path}".rstrip("/")

    def _get(self, path: str, model: type[_Model]) -> _Model:
        """What the project answers at ``path``.

        Raises:
            httpx.TransportError: when it does not answer, or not for now.
            ManagementError: when it refuses, or its answer lacks what is needed.
        """
        headers = {"authorization": f"Bearer {self.token.reveal()}", "accept": "application/json"}
        response = self.client.get(self._path(path), headers=headers)
        where = self.where(path)
        if response.status_code == _BUSY or response.status_code >= _SERVER_ERROR:
            reset = response.headers.get("x-ratelimit-reset")
            later = f"; asks to wait {reset} s" if response.status_code == _BUSY and reset else ""
            what = f"HTTP {response.status_code}{later}"
            raise httpx.RemoteProtocolError(what, request=response.request)
        if response.status_code != httpx.codes.OK:
            hint = _HINTS.get(response.status_code, _message(response))
            raise ManagementError(f"{where}: HTTP {response.status_code}: {hint}")
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "the answer"
            raise ManagementError(f"{where}: {place}: {first['msg']}: not what this API answers") from None


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json().get("message", ""))[:200]
    except (ValueError, AttributeError):
        return response.text[:200]


def management_api(stack: Stack) -> ManagementApi:
    """The API of the stack's hosted project.

    Raises:
        NoProvider: when the environment's Supabase is not a hosted project.
    """
    settings = stack.environment.supabase
    if not isinstance(settings, CloudSupabase):
        raise NoProvider("only a hosted project has a Management API")
    client = stack.http(settings.management_url)
    return ManagementApi(client, settings.project_ref, stack.secret(settings.access_token))
