"""Leads a domain to a deployment of Vercel, and waits until it serves there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import httpx

from harness.errors import DeadlineExceeded, DeployError
from harness.providers.cloud.vercel_api import Deployed, Project, VercelApi
from harness.waiting import wait_until

__all__ = ["Serving"]

READY_SECONDS = 300.0
"""From the upload until Vercel can serve it; a prebuilt one takes seconds."""
SERVES_SECONDS = 120.0
"""From the request until the domain leads there; seconds as well."""
_PAUSE = 2.0
_FAILED = ("ERROR", "CANCELED", "DELETED")
_SEEN_FAILED = "see the deployment in the dashboard (Deployments), or: vercel inspect --logs"


@dataclass(frozen=True)
class Serving:
    """The domain ``host`` of a project; ``target`` is production or preview."""

    api: VercelApi
    project: Project
    host: str
    target: str

    def lead_to(self, id: str) -> None:
        """Wait until the deployment ``id`` is ready; lead the domain to it; wait until it serves there.

        Raises:
            DeployError: when it fails, or is not in time; says what was last seen, and where.
        """
        ready = self._waited(f"deployment {id} READY", READY_SECONDS, id, self._is_ready)
        before = (ready.alias_error, self.api.project().last_request)
        if self._leads_to(id):
            return
        if self.target == "preview":
            self.api.assign(id, self.host)
        elif ready.substate == "PROMOTED":
            self.api.roll_back(self.project, id, "the harness leads back to it")
        else:
            self.api.promote(self.project, id)

        def serves(seen: Deployed) -> bool:
            if seen.alias_error and seen.alias_error != before[0]:
                raise self._failure(seen, f"{self.host} was not assigned: {seen.alias_error}")
            request = self.api.project().last_request
            if request and request != before[1] and (request.to, request.status) == (id, "failed"):
                raise self._failure(seen, f"Vercel could not lead {self.host} to it")
            promoted = self.target == "preview" or seen.substate == "PROMOTED"
            return promoted and self._leads_to(id)

        self._waited(f"{self.host} served by {id}", SERVES_SECONDS, id, serves)

    def _leads_to(self, id: str) -> bool:
        live = self.api.deployment(self.host)
        return live is not None and live.id == id

    def _is_ready(self, seen: Deployed) -> bool:
        if seen.checks in ("failed", "canceled"):
            raise self._failure(seen, f"its checks have {seen.checks}")
        return seen.state == "READY" and seen.checks_state not in ("registered", "running")

    def _waited(self, what: str, seconds: float, id: str, done: Callable[[Deployed], bool]) -> Deployed:
        last: Deployed | None = None

        def look() -> Deployed | None:
            nonlocal last
            last = self.api.deployment(id)
            if last is not None and last.state in _FAILED:
                raise self._failure(last, " ".join(filter(None, (last.error_code, last.error))))
            return last if last is not None and done(last) else None

        def shown() -> str:
            if last is None:
                return f"no deployment {id}"
            return " ".join(filter(None, (last.state, last.substate, last.checks_state)))

        try:
            # a busy vendor (429) counts as "not yet"
            errors = (httpx.TransportError,)
            return wait_until(what, look, seconds=seconds, seen=shown, longest_pause=_PAUSE, errors=errors)
        except DeadlineExceeded as error:
            where = self.api.where(self.api.deployment_path(id))
            raise DeployError("web", f"{where}: {error}", _SEEN_FAILED) from None

    def _failure(self, seen: Deployed, why: str) -> DeployError:
        where = self.api.where(self.api.deployment_path(seen.id))
        what = f"{where}: deployment {seen.id} ({seen.url}) is {seen.state}"
        return DeployError("web", f"{what}{': ' if why else ''}{why}", _SEEN_FAILED)
