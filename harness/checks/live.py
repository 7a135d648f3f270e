"""What runs, read back and compared with the release: what was tested is what is deployed."""

from __future__ import annotations

import psycopg

from harness.checks.base import check
from harness.checks.rollout import rolls_out
from harness.errors import NoProvider
from harness.evidence import Evidence, Finding, judge
from harness.providers.schema import recorded_migrations
from harness.release import Release
from harness.stack import Stack

__all__ = ["gateway_is_released", "schema_is_released", "web_is_released"]

_DIGITS = 12  # of a digest, in the release that the gateway and the web app call themselves


@check("promotion.live.gateway", component="gateway")
def gateway_is_released(stack: Stack) -> Evidence:
    """The gateway that answers was made from the released source and, in a container, from the image."""
    release = _release(stack)
    url = f"{stack.environment.gateway.url}/health/live"
    seen = (
        stack.http(stack.environment.gateway.url).get("/health/live").headers.get("x-gateway-release", "")
    )
    expected = f"gateway@{_digits(release, 'gateway-source')}"
    findings = [] if seen == expected else [_other(expected, seen or "no release", url, "gateway")]
    images = _images(stack)
    findings += [
        _other(release.image or "an image in the release", digest, f"the container on {host}", "gateway")
        for host, digest in images.items()
        if digest != release.image
    ]
    return judge(f"{seen}, as released", findings, release=release.name, images=images)


@check("promotion.live.web", component="web")
def web_is_released(stack: Stack) -> Evidence:
    """The web app that answers was built from the released source."""
    release = _release(stack)
    seen = stack.http(stack.environment.web.url).get("/api/health").json().get("release") or "no release"
    expected = f"web@{_digits(release, 'web-build')}"
    where = f"{stack.environment.web.url}/api/health"
    findings = [] if seen == expected else [_other(expected, str(seen), where, "web")]
    return judge(f"{seen}, as released", findings, release=release.name)


@check("promotion.live.schema", component="supabase")
def schema_is_released(stack: Stack) -> Evidence:
    """The migrations that were applied are those of the release, in its order, and no other."""
    release = _release(stack)
    with psycopg.connect(stack.database_dsn) as connection:
        applied = [f"{migration.label}.sql" for migration in recorded_migrations(connection)]
    findings = []
    if applied != list(release.migrations):
        expected, seen = ", ".join(release.migrations), ", ".join(applied) or "none"
        where = "supabase_migrations.schema_migrations"
        findings = [_other(expected, seen, where, "supabase")]
    return judge(f"{len(applied)} migrations applied, as released", findings, release=release.name)


def _release(stack: Stack) -> Release:
    if stack.release is None:
        raise NoProvider("nothing says which release is deployed here")
    return stack.release


def _digits(release: Release, artefact: str) -> str:
    return release.artefacts.get(artefact, "sha256:none").removeprefix("sha256:")[:_DIGITS]


def _images(stack: Stack) -> dict[str, str]:
    """The images that run; none where the gateway runs from source.

    Raises:
        NoProvider: when it runs in containers, and nothing reads their images back.
    """
    if stack.environment.gateway.provider == "local":
        return {}
    return dict(rolls_out(stack).running())


def _other(expected: str, observed: str, where: str, component: str) -> Finding:
    return Finding(expected, observed, where, f"deploy {component} again, from the release's own commit")
