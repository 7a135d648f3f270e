"""Reads and steers a Vercel project through its REST API; what is asked stands in Vercel's API document.

Deployments are listed by version 7 of the endpoint, which the document of 2025-10 has as version 6; instant
rollback is newer than that document. Vercel's own SDK (npm @vercel/sdk 1.28.35) has both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from pydantic import AliasChoices, Field

from harness.providers.vendor_api import Answer, VendorApi, VendorError
from harness.secrets import Secret, redact

__all__ = ["Deployed", "Domain", "Project", "Variable", "VercelApi"]

_HINTS = {
    401: "the token is not accepted: make a new one, and put it where web.token refers to",
    402: "the team's plan does not include this, or its bill is open: see its dashboard",
    403: "the token may not do this: its scope must be the team web.team, its role one that deploys",
    404: "are web.project and web.team right, and is the token of that team?",
    409: "Vercel is at something else with this project: wait until its dashboard shows it done",
    422: "Vercel cannot serve this deployment: see it in the dashboard",
}
_MOST = "100"
"""Entries a page, the most that Vercel gives."""


class Trouble(Answer):
    """Why an alias could not be assigned."""

    code: str = ""
    message: str = ""

    def __str__(self) -> str:
        return redact(f"{self.code}: {self.message}".strip(": "))


class Deployed(Answer):
    """A deployment. ``state`` is QUEUED, BUILDING, INITIALIZING, READY, ERROR, CANCELED or DELETED.

    ``substate`` of a production deployment is STAGED (never served people), ROLLING or PROMOTED (serves or
    has served them). ``created`` is in milliseconds since 1970.
    """

    id: str = Field(validation_alias=AliasChoices("id", "uid"))
    url: str = ""
    state: str = Field(default="", validation_alias=AliasChoices("readyState", "state"))
    substate: str | None = Field(default=None, alias="readySubstate")
    target: str | None = None
    meta: Mapping[str, Any] = Field(default_factory=dict)
    created: int = Field(default=0, validation_alias=AliasChoices("createdAt", "created"))
    alias_error: Trouble | None = Field(default=None, alias="aliasError")
    checks: str | None = Field(default=None, alias="checksConclusion")
    checks_state: str | None = Field(default=None, alias="checksState")
    error_code: str | None = Field(default=None, alias="errorCode")
    error: str | None = Field(default=None, alias="errorMessage")
    candidate: bool | None = Field(default=None, alias="isRollbackCandidate")


class _Page(Answer):
    next: int | None = None


class _Deployments(Answer):
    deployments: tuple[Deployed, ...]


class Variable(Answer):
    """An environment variable of the project. ``value`` is readable only when ``type`` is plain."""

    key: str
    type: str
    target: tuple[str, ...] | str = ()
    branch: str | None = Field(default=None, alias="gitBranch")
    value: Any = Field(default=None, repr=False)

    @property
    def targets(self) -> frozenset[str]:
        """production, preview, development."""
        return frozenset([self.target] if isinstance(self.target, str) else self.target)


class _Variables(Answer):
    envs: tuple[Variable, ...]


class _Refused(Answer):
    error: Trouble


class _Saved(Answer):
    failed: tuple[_Refused, ...] = ()


class _Challenge(Answer):
    type: str = ""
    domain: str = ""


class Domain(Answer):
    """A domain of the project. One without a branch or an environment of its own is a production domain."""

    name: str
    verified: bool
    branch: str | None = Field(default=None, alias="gitBranch")
    custom: str | None = Field(default=None, alias="customEnvironmentId")
    redirect: str | None = None
    challenges: tuple[_Challenge, ...] = Field(default=(), alias="verification")

    @property
    def asked_for(self) -> str:
        """The DNS records that would verify it: their types and names."""
        return ", ".join(f"{one.type} {one.domain}" for one in self.challenges)


class _Domains(Answer):
    domains: tuple[Domain, ...]
    pagination: _Page = Field(default_factory=_Page)


class _Protection(Answer):
    kind: str = Field(default="", alias="deploymentType")


class AliasRequest(Answer):
    """The last promotion or rollback; ``status`` is pending, in-progress, succeeded, failed or skipped."""

    to: str = Field(default="", alias="toDeploymentId")
    status: str = Field(default="", alias="jobStatus")
    at: int = Field(default=0, alias="requestedAt")


class _Repository(Answer):
    branch: str = Field(default="its production branch", alias="productionBranch")


class Project(Answer):
    """The project; ``owner`` is the id of its team, ``repository`` what Vercel itself would deploy from."""

    id: str
    name: str
    owner: str = Field(alias="accountId")
    folder: str | None = Field(default=None, alias="rootDirectory")
    repository: _Repository | None = Field(default=None, alias="link")
    goes_live: bool | None = Field(default=None, alias="autoAssignCustomDomains")
    sign_in: _Protection | None = Field(default=None, alias="ssoProtection")
    last_request: AliasRequest | None = Field(default=None, alias="lastAliasRequest")


class VercelApi:
    """One project of one team (its slug, or its id, which begins with team_)."""

    def __init__(self, client: httpx.Client, token: Secret, project: str, team: str) -> None:
        self._api = VendorApi(client, token, _HINTS)
        self.name = project
        self._team = {"teamId" if team.startswith("team_") else "slug": team}

    def where(self, path: str) -> str:
        """The address of ``path``, as a person reads it."""
        return self._api.where(path)

    # --- reading ---------------------------------------------------------------------------------

    def project(self) -> Project:
        """The project itself."""
        return self._api.ask("GET", self.project_path, Project, params=self._team)

    @property
    def project_path(self) -> str:
        """Where the project is."""
        return f"/v9/projects/{self.name}"

    def domain(self, name: str) -> Domain | None:
        """The project's domain ``name``; None when it has no such domain."""
        before: dict[str, str] = {}
        while True:
            params = {**self._team, "limit": _MOST, **before}
            page = self._api.ask("GET", f"{self.project_path}/domains", _Domains, params=params)
            if found := next((one for one in page.domains if one.name == name), None):
                return found
            if not page.pagination.next:
                return None
            before = {"until": str(page.pagination.next)}

    def variables(self) -> tuple[Variable, ...]:
        """The project's environment variables."""
        return self._api.ask("GET", self.variables_path, _Variables, params=self._team).envs

    @property
    def variables_path(self) -> str:
        """Where the environment variables are."""
        return f"/v10/projects/{self.name}/env"

    def deployment(self, id_or_host: str) -> Deployed | None:
        """The deployment with this id, or the one that serves this host; None when there is none."""
        try:
            return self._api.ask("GET", self.deployment_path(id_or_host), Deployed, params=self._team)
        except VendorError as error:
            if error.status == httpx.codes.NOT_FOUND:
                return None
            raise

    def deployment_path(self, id_or_host: str) -> str:
        """Where a deployment is."""
        return f"/v13/deployments/{id_or_host}"

    def deployments(self, project: Project, target: str) -> Sequence[Deployed]:
        """The newest hundred deployments for ``target``, newest first."""
        params = {**self._team, "projectId": project.id, "target": target, "limit": _MOST}
        found = self._api.ask("GET", "/v7/deployments", _Deployments, params=params).deployments
        return sorted(found, key=lambda one: one.created, reverse=True)

    # --- steering --------------------------------------------------------------------------------

    def set_variable(self, key: str, value: str, kind: str, target: str) -> None:
        """Create or replace a variable of ``target``; what is deployed after this sees it.

        Raises:
            VendorError: when Vercel does not keep it.
        """
        body = {"key": key, "value": value, "type": kind, "target": [target]}
        params = {**self._team, "upsert": "true"}
        saved = self._api.ask("POST", self.variables_path, _Saved, params=params, body=body)
        if saved.failed:
            raise VendorError(
                self.where(self.variables_path), f"{key} is not kept", str(saved.failed[0].error)
            )

    def promote(self, project: Project, deployment: str) -> None:
        """Ask that every production domain go to ``deployment``; nothing is built again."""
        path = f"/v10/projects/{project.id}/promote/{deployment}"
        self._api.send("POST", path, params=self._team)

    def roll_back(self, project: Project, deployment: str, reason: str) -> None:
        """Ask that every production domain go back to ``deployment``, which served before."""
        path = f"/v1/projects/{project.id}/rollback/{deployment}"
        self._api.send("POST", path, params={**self._team, "description": reason})

    def assign(self, deployment: str, host: str) -> None:
        """Let ``host`` lead to ``deployment``."""
        path = f"/v2/deployments/{deployment}/aliases"
        self._api.send("POST", path, params=self._team, body={"alias": host})
