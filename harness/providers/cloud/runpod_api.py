"""Reads and sets a serverless endpoint of RunPod, and reads the account behind it.

Four APIs of one vendor: REST version 1 has the settings, REST version 2 counts workers, the API for jobs
counts those, and GraphQL alone knows the account's spending limit. What is read of each stands here; no
document of theirs could be kept with this project, so it is read tolerantly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field

from harness.environment.inference import RunpodThinking
from harness.providers.vendor_api import Answer, VendorApi, VendorError
from harness.stack import Stack

__all__ = ["Account", "Endpoint", "Health", "RunpodApi"]

_HINTS = {
    400: "it does not take this value: correct thinking in the environment file",
    401: "the token is not accepted: make a new one, and put it where thinking.token refers to",
    403: "the token may not do this: it needs read and write access to the REST API and to GraphQL",
    404: "there is no such endpoint for this token: is thinking.endpoint_id right, and the account?",
}
_MYSELF = "query { myself { spendLimit currentSpendPerHr } }"


class _Template(Answer):
    env: Mapping[str, str] = Field(default_factory=dict, repr=False)


class Endpoint(Answer):
    """The endpoint as REST version 1 tells it; the environment of workers is never shown, it has keys."""

    workers_min: int = Field(alias="workersMin")
    workers_max: int = Field(alias="workersMax")
    idle: int | None = Field(default=None, alias="idleTimeout")
    execution: int | None = Field(default=None, alias="executionTimeoutMs")
    scaler: str | None = Field(default=None, alias="scalerType")
    scale: int | None = Field(default=None, alias="scalerValue")
    gpus: tuple[str, ...] = Field(default=(), alias="gpuTypeIds")
    template_id: str = Field(default="", alias="templateId")
    template: _Template | None = None
    env: Mapping[str, str] | None = Field(default=None, repr=False)

    @property
    def settings(self) -> dict[str, Any]:
        """What is in force, by RunPod's names; times as RunPod has them."""
        names = {"workers_min", "workers_max", "idle", "execution", "scaler", "scale", "gpus"}
        return self.model_dump(by_alias=True, include=names, mode="json")

    @property
    def variables(self) -> dict[str, str]:
        """What workers are started with."""
        return {**(self.template.env if self.template else {}), **(self.env or {})}


class _Jobs(Answer):
    waiting: int = Field(alias="inQueue")
    running: int = Field(alias="inProgress")
    completed: int


class Health(Answer):
    """How many jobs there are (`/v2/{id}/health`)."""

    jobs: _Jobs


class _Summary(Answer):
    total: int


class _Workers(Answer):
    summary: _Summary


class Account(Answer):
    """US dollars an hour: the account's limit, and what all that it runs costs right now."""

    limit: float | None = Field(default=None, alias="spendLimit")
    now: float = Field(default=0.0, alias="currentSpendPerHr")


class _Complaint(Answer):
    message: str = ""


class _Data(Answer):
    myself: Account | None = None


class _Reply(Answer):
    data: _Data | None = None
    errors: tuple[_Complaint, ...] = ()


@dataclass(frozen=True)
class RunpodApi:
    """The APIs of RunPod for the endpoint of one environment."""

    rest: VendorApi
    jobs_api: VendorApi
    workers_api: VendorApi
    graphql: VendorApi
    endpoint_id: str
    account_path: str

    @staticmethod
    def of(stack: Stack, settings: RunpodThinking) -> RunpodApi:
        """The APIs at the addresses that ``settings`` name; one token opens all."""
        token = stack.secret(settings.token)

        def at(url: str) -> VendorApi:
            return VendorApi(stack.http(url), token, _HINTS)

        parts = urlsplit(settings.account_url)
        return RunpodApi(
            at(settings.management_url),
            at(settings.jobs_url),
            at(settings.workers_url),
            at(f"{parts.scheme}://{parts.netloc}"),
            settings.endpoint_id,
            parts.path or "/",
        )

    @property
    def where(self) -> str:
        """The address of the endpoint's settings."""
        return self.rest.where(self._path)

    @property
    def _path(self) -> str:
        return f"/endpoints/{self.endpoint_id}"

    def endpoint(self) -> Endpoint:
        """Its settings in force, by RunPod's names, and its template."""
        return self.rest.ask("GET", self._path, Endpoint, params={"includeTemplate": "true"})

    def set_endpoint(self, values: Mapping[str, Any]) -> None:
        """Change settings of the endpoint."""
        self.rest.send("PATCH", self._path, body=dict(values))

    def set_variables(self, template: str, values: Mapping[str, str]) -> None:
        """Give workers that start from now on the environment ``values``, and nothing else."""
        self.rest.send("PATCH", f"/templates/{template}", body={"env": dict(values)})

    def jobs(self) -> Health:
        """The endpoint's jobs. Asking starts no worker."""
        return self.jobs_api.ask("GET", f"/{self.endpoint_id}/health", Health)

    def workers(self) -> int:
        """How many workers there are; 0: it has scaled to zero."""
        return self.workers_api.ask("GET", f"/{self.endpoint_id}/workers", _Workers).summary.total

    def account(self) -> Account:
        """The account's limit.

        Raises:
            VendorError: also when GraphQL refuses, which it does with HTTP 200.
        """
        reply = self.graphql.ask("POST", self.account_path, _Reply, body={"query": _MYSELF})
        if reply.errors or reply.data is None or reply.data.myself is None:
            said = reply.errors[0].message if reply.errors else "it knows no account"
            raise VendorError(self.account_where, said or "it refuses", _HINTS[403])
        return reply.data.myself

    @property
    def account_where(self) -> str:
        """The address of the account."""
        return self.graphql.where(self.account_path)
