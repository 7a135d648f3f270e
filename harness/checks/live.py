"""What runs, read back and compared with the release: what was tested is what is deployed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import psycopg

from harness.artefacts import TREE
from harness.checks.base import check
from harness.checks.rollout import rolls_out
from harness.errors import NoProvider
from harness.evidence import Evidence, Finding, judge
from harness.migrations import Migration, migrations_in
from harness.providers.schema import recorded_migrations
from harness.release import Release
from harness.stack import Stack

__all__ = [
    "Configured",
    "gateway_is_released",
    "inference_is_released",
    "schema_is_released",
    "web_is_released",
]

_RECORD = "supabase_migrations.schema_migrations"
_INFERENCE = ("inference-configuration", "model-manifest")
_DIGITS = 12  # of a digest, in the release that the gateway and the web app call themselves


@runtime_checkable
class Configured(Protocol):
    """A provider of a model that knows with which configuration it runs."""

    def configured(self) -> tuple[str, str]:
        """Digests of the configuration that this tree declares, and of the one that runs (empty: none)."""
        ...


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
    wanted = release.image
    if images and not wanted and stack.environment.predecessor is None:
        wanted = rolls_out(stack).released()  # where any tree may be tried, it is built on the way
    findings += [
        _other(wanted or "an image in the release", digest, f"the container on {host}", "gateway")
        for host, digest in images.items()
        if digest != wanted
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
        applied = recorded_migrations(connection)
    findings = []
    names = [f"{migration.label}.sql" for migration in applied]
    if names != list(release.migrations):
        expected, seen = ", ".join(release.migrations), ", ".join(names) or "none"
        findings = [_other(expected, seen, _RECORD, "supabase")]
    findings += _contents(stack, release, applied)
    return judge(f"{len(applied)} migrations applied, as released", findings, release=release.name)


@check("promotion.live.inference", component="instant", needs=("instant", "thinking"))
def inference_is_released(stack: Stack) -> Evidence:
    """Both models run with the configuration and from the manifest that the release names."""
    release = _release(stack)
    findings = [
        _other(release.artefacts.get(artefact, "none"), seen, f"inference/ of {stack.root}", "instant")
        for artefact in _INFERENCE
        if (seen := f"sha256:{TREE[artefact](stack.root)}") != release.artefacts.get(artefact)
    ]
    running = {}
    for component in ("instant", "thinking"):
        provider = stack.provider(component)
        if not isinstance(provider, Configured):
            raise NoProvider(f"nothing reads the configuration of {component} back in this environment yet")
        declared, running[component] = provider.configured()
        if running[component] != declared:
            expected, seen = (f"configuration {name[:_DIGITS]}" for name in (declared, running[component]))
            observed = seen if running[component] else "it does not run"
            findings.append(_other(expected, observed, f"the engine of {component}", component))
    told = ", ".join(f"{component} {digest[:_DIGITS]}" for component, digest in running.items())
    return judge(f"{told}, as released", findings, release=release.name, running=running)


def _contents(stack: Stack, release: Release, applied: Sequence[Migration]) -> Iterator[Finding]:
    """What was applied under a released name, and is not what the release holds under it.

    A database records statements, a release digests files: the tree has both, and is held against the two.
    """
    folder = stack.root / "supabase" / "migrations"
    files = {f"{migration.label}.sql": migration for migration in migrations_in(folder)}
    for migration in applied:
        name = f"{migration.label}.sql"
        if name not in files or name not in release.migrations:
            continue
        digest = f"sha256:{hashlib.sha256((folder / name).read_bytes()).hexdigest()}"
        if digest != release.migrations[name]:
            where = f"supabase/migrations/{name} of {stack.root}"
            yield _other(release.migrations[name], digest, where, "supabase")
        elif not migration.says_the_same_as(files[name]):
            yield _other(f"the SQL of {name}", "other SQL under its name", _RECORD, "supabase")


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
