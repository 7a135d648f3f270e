"""A hosted project as its platform has it set: who reaches the database, and what the Data API exposes."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

from harness.checks.base import check
from harness.environment.supabase import CloudSupabase
from harness.errors import ConfigurationError, NoProvider, Problem
from harness.evidence import Evidence, Finding, judge
from harness.providers.database import database_provider
from harness.providers.supabase_management import ManagementApi, management_api
from harness.stack import Stack

__all__ = ["closed", "exposed"]

_CONFIG = "supabase/config.toml"


@check("supabase.project.closed", component="supabase")
def closed(stack: Stack) -> Evidence:
    """The database of a hosted project takes encrypted connections alone, from declared networks alone."""
    settings, api = _settings(stack), management_api(stack)
    findings = [*_encrypted(api), *_reachable(api, frozenset(settings.networks))]
    summary = f"connections without TLS are refused; may connect: {', '.join(settings.networks)}"
    return judge(summary, findings, networks=settings.networks)


def _encrypted(api: ManagementApi) -> Iterator[Finding]:
    seen, where = api.ssl(), api.where("ssl-enforcement")
    if not seen.current.database:
        remedy = "enforce SSL on incoming connections: the project's dashboard, Database, SSL"
        yield Finding("connections without TLS are refused", "they are accepted", where, remedy)
    elif not seen.applied:
        remedy = "wait until the platform has applied it, or set it again"
        yield Finding("the setting is applied", "it is stored, not applied", where, remedy)


def _reachable(api: ManagementApi, declared: frozenset[str]) -> Iterator[Finding]:
    seen, where = api.network(), api.where("network-restrictions")
    allowed = seen.networks
    if not allowed and seen.entitlement == "disallowed":  # a plan without restrictions has none
        allowed = frozenset(CloudSupabase.model_fields["networks"].default)
    remedy = "supabase network-restrictions update, or correct supabase.networks"
    for network in sorted(allowed - declared):
        yield Finding(f"only {', '.join(sorted(declared))}", f"{network} may connect too", where, remedy)
    for network in sorted(declared - allowed):
        yield Finding(f"{network} may connect", "it may not", where, remedy)
    if seen.status == "stored":
        yield Finding("the restrictions are applied", "they are stored, not applied", where, remedy)


@check("supabase.project.exposed", component="supabase")
def exposed(stack: Stack) -> Evidence:
    """The Data API of a hosted project exposes the schemas, and at most the rows, of the configuration."""
    _settings(stack)
    api = management_api(stack)
    seen, where, wanted = api.data_api(), api.where("postgrest"), _configured(stack)
    remedy = f"correct it in the dashboard (Data API), or in {_CONFIG} [api]"
    findings = [
        Finding(f"the schemas {', '.join(wanted[0])}", f"{name} is exposed too", where, remedy)
        for name in seen.schemas
        if name not in wanted[0]
    ]
    findings += [
        Finding(f"{name} is exposed", f"only {', '.join(seen.schemas)}", where, remedy)
        for name in wanted[0]
        if name not in seen.schemas
    ]
    if seen.max_rows > wanted[1]:
        observed = f"up to {seen.max_rows}"
        findings.append(Finding(f"at most {wanted[1]} rows an answer", observed, where, remedy))
    return judge(f"exposes {', '.join(seen.schemas)}; at most {seen.max_rows} rows an answer", findings)


def _configured(stack: Stack) -> tuple[list[str], int]:
    """Schemas and rows of an answer, as `supabase start` would have them."""
    path = database_provider(stack).source / "config.toml"
    try:
        api = tomllib.loads(path.read_text(encoding="utf-8"))["api"]
        return [str(name) for name in api["schemas"]], int(api["max_rows"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = Problem(_CONFIG, f"[api] cannot be read: {error}", "give it schemas and max_rows")
        raise ConfigurationError([problem], title="the Data API") from None


def _settings(stack: Stack) -> CloudSupabase:
    settings = stack.environment.supabase
    if not isinstance(settings, CloudSupabase):
        raise NoProvider("this Supabase is not a hosted project")
    return settings
