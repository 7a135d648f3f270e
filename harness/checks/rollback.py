"""The way back: is there something to go back to, and does it work?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import httpx

from harness.checks import web
from harness.checks.base import Effect, check
from harness.checks.rollout import rolls_out
from harness.errors import DeadlineExceeded, NoProvider
from harness.evidence import Evidence, Finding, judge, refuted
from harness.providers.base import KeptDeployment
from harness.stack import Stack
from harness.waiting import wait_until

__all__ = ["gateway_redeployed", "web_reverted", "web_taken_back"]

_ANSWERS = {
    "/health/live": "read its log: it does not start with the settings that it had",
    "/health/ready": "what it depends on has changed since it served: go back further, or make it fit",
}

_INSTANT_SECONDS = 60.0


@runtime_checkable
class _Returns(Protocol):
    """A provider of the web app that keeps deployments, and can lead people back to one."""

    def serving(self) -> KeptDeployment | None:
        """The deployment that people meet."""
        ...

    def previous(self) -> KeptDeployment | None:
        """The newest other one that has served."""
        ...

    def serve(self, deployment: str) -> None:
        """Lead people to the deployment with this id."""
        ...


# Each names its component, so that a missing provider of the component itself is said first.


@check("rollback.web", component="web")
def web_reverted(stack: Stack) -> Evidence:
    """The previous deployment of the web app is kept, and serving it again takes seconds."""
    kept = _returning(stack).previous()
    return judge(f"{_named(kept)} can serve again at once", _cannot_return(stack, kept))


@check("rollback.web.taken_back", component="web", effect=Effect.DISTURBS, within=600.0)
def web_taken_back(stack: Stack) -> Evidence:
    """The previous deployment of the web app serves again within a minute, and then the newest does."""
    provider = _returning(stack)
    kept, now = provider.previous(), provider.serving()
    if kept is None or kept.trouble or now is None:
        return refuted("there is nothing to go back to", *_cannot_return(stack, kept))
    started = time.monotonic()
    try:
        provider.serve(kept.id)
        findings = list(_serves(stack, kept.release, started))
        seconds = time.monotonic() - started
    finally:
        provider.serve(now.id)
    findings += _serves(stack, now.release, time.monotonic())
    findings += web.serves(stack).findings
    return judge(
        f"{_named(kept)} served again after {seconds:.1f} s, {now.release} after it",
        findings,
        seconds=round(seconds, 2),
    )


@check("rollback.gateway", component="gateway")
def gateway_redeployed(stack: Stack) -> Evidence:
    """Every gateway keeps what served before, and it starts and answers beside what serves now."""
    provider = rolls_out(stack)
    kept = provider.kept()
    findings = [
        Finding(
            "the image that served before, to go back to",
            "none is kept",
            f"the gateway on {machine}",
            "the first release has none: deploy a second one; else find out who prunes containers there",
        )
        for machine, digest in kept.items()
        if not digest
    ]
    answers = {} if findings else provider.try_kept()
    for machine, seen in answers.items():
        findings += [
            Finding(
                f"200 from {path}", str(seen.get(path, "no answer")), f"the kept image on {machine}", remedy
            )
            for path, remedy in _ANSWERS.items()
            if seen.get(path) != 200
        ]
    return judge(f"{len(kept)} gateways keep a previous image that starts", findings, kept=dict(kept))


def _returning(stack: Stack) -> _Returns:
    provider = stack.provider("web")
    if not isinstance(provider, _Returns):
        raise NoProvider("nothing keeps the web app's previous deployment here")
    return provider


def _named(kept: KeptDeployment | None) -> str:
    return f"{kept.release} ({kept.id})" if kept else "nothing"


def _cannot_return(stack: Stack, kept: KeptDeployment | None) -> list[Finding]:
    expected = "the deployment that served before, ready to serve again"
    if kept is None:
        where = f"{stack.environment.web.url}: its previous deployment"
        remedy = "the first release has none: deploy a second one; else see who removes deployments"
        return [Finding(expected, "none is kept", where, remedy)]
    if kept.trouble:
        remedy = "going back needs a new build: deploy the previous release again, and keep deployments"
        return [Finding(expected, f"{_named(kept)}: {kept.trouble}", kept.where, remedy)]
    return []


def _serves(stack: Stack, release: str, since: float) -> Iterator[Finding]:
    """What is wrong when the web app is not ``release`` within a minute of ``since``."""
    url, seen = stack.environment.web.url, "nothing"

    def it_does() -> bool:
        nonlocal seen
        answer = stack.http(url).get("/api/health")
        is_json = "application/json" in answer.headers.get("content-type", "")
        seen = str(answer.json().get("release")) if is_json else f"HTTP {answer.status_code}"
        return seen == release

    left = max(_INSTANT_SECONDS - (time.monotonic() - since), 0)
    try:
        errors = (httpx.TransportError,)
        wait_until(release, it_does, seconds=left, seen=lambda: seen, longest_pause=1.0, errors=errors)
    except DeadlineExceeded as error:
        expected = f"{release} within {_INSTANT_SECONDS:g} s"
        remedy = "see the project's domains and its last rollback in the vendor's dashboard"
        yield Finding(expected, error.last_seen, f"GET {url}/api/health", remedy)
