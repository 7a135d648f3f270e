"""Who sees and changes whose rows: what supabase/declaration.yaml says, held against the live database.

The engine is harness.database: it plants rows of two users and of members, and tries everything, in SQL
inside a transaction that is rolled back, and through the real Data API with rows that are removed again.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import replace

import psycopg

from harness.checks.base import Effect, check
from harness.database.advisors import advice
from harness.database.check import Options, check_connection
from harness.database.data_api import Api, probe
from harness.database.declaration import Declaration, load
from harness.database.findings import Found, Report, merged
from harness.database.sarif import located
from harness.evidence import Evidence, blocked, judge
from harness.identity import mint
from harness.providers.database import database_provider
from harness.providers.supabase_cli import Target, asked_advisors
from harness.secrets import Secret
from harness.stack import Stack

__all__ = [
    "advised",
    "declaration",
    "declared",
    "evidence_of",
    "examined",
    "reads",
    "unfiltered_writes",
    "writes",
]

_log = logging.getLogger(__name__)
_READS = frozenset({"foreign-read", "function-leaks"})
_WRITES = frozenset({"forged-insert", "foreign-update", "foreign-delete"})
_SWEEPS = frozenset({"foreign-update", "foreign-delete", "owner-reassigned"})


def declaration(stack: Stack) -> Declaration:
    """What supabase/declaration.yaml says. Raises ConfigurationError."""
    return load(stack.root / "supabase" / "declaration.yaml")


def examined(stack: Stack, options: Options) -> Report:
    """The database, examined in SQL; nothing stays.

    At most one such examination runs at a time: unfiltered writes of two would wait for each other.
    """
    with psycopg.connect(stack.database_dsn) as connection:
        connection.execute(b"select pg_advisory_xact_lock(hashtext('chat-stack-harness probes'))")
        try:
            return check_connection(connection, declaration(stack), options)
        finally:
            if not connection.closed:
                connection.rollback()


def evidence_of(stack: Stack, summary: str, *reports: Report) -> Evidence:
    """What ``reports`` come to: findings refute, and what could not be proven is no pass."""
    found = merged(one for report in reports for one in report.found)
    gaps = [str(gap) for report in reports for gap in report.gaps]
    probes = sum(report.probes for report in reports)
    findings = [one.finding() for one in located(found, stack.root / "supabase" / "migrations", stack.root)]
    if not findings and gaps:
        return blocked("; ".join(gaps))
    notes = [note for report in reports for note in report.notes]
    said = f"{summary}; {len(notes)} not tried over HTTP" if notes else summary
    return judge(said, findings, probes=probes, not_proven=gaps, not_over_http=notes)


def _api(stack: Stack, purpose: str) -> Api:
    mark = secrets.token_hex(4)
    names = {stack.identities.user_id(f"{purpose}-{mark}-{who}"): f"{purpose}-{mark}-{who}" for who in "ab"}
    a, b = names
    return Api(
        stack.http(stack.environment.supabase.api_url),
        stack.identities.anon_key().reveal(),
        stack.identities.service_role_key().reveal(),
        a,
        b,
        lambda user: stack.identities.token(names[user]).reveal(),
        {
            "expired token": lambda user: stack.identities.token(names[user], ttl_seconds=-60).reveal(),
            "forged token": lambda user: mint(
                Secret("not-the-secret-of-this-project-at-all"),
                {"sub": user, "role": "authenticated", "aud": "authenticated", "exp": 2082758400},
            ).reveal(),
        },
    )


def _through_api(stack: Stack, purpose: str, *, writes: bool) -> Report:
    journal = stack.state / f"planted-{purpose}.json"
    api, dsn = _api(stack, purpose), stack.database_dsn
    return probe(dsn, declaration(stack), api, journal, writes=writes, say=_log.warning)


def _only(report: Report, kinds: frozenset[str], commands: tuple[str, ...]) -> Report:
    """What of a report concerns these kinds of access."""

    def concerns(one: Found) -> bool:
        proven = bool(one.proofs) and one.rule not in ("missing-access", "policy-error")
        if one.rule == "missing-access":
            return one.object.startswith("function ") or one.object.rpartition(", ")[2] in commands
        if one.rule == "policy-error":
            return True
        return (
            one.rule in kinds
            or any(f"also {kind}" in one.what or f", {kind}" in one.what for kind in kinds)
        ) or (proven and one.rule in ("rls-disabled", "role-bypasses-rls", "owner-bypasses-rls"))

    kept = [
        one
        for one in report.found
        if concerns(one) and "storage.objects" not in one.object and "bucket " not in one.table
    ]
    return replace(report, found=kept)


@check("supabase.rls.reads", component="supabase", effect=Effect.PLANTS)
def reads(stack: Stack) -> Evidence:
    """The owner and the service role see a planted row, nobody else does: in SQL and over the Data API."""
    sql = _only(examined(stack, Options()), _READS, ("SELECT",))
    http = _through_api(stack, "rls-reads", writes=False)
    summary = (
        f"{http.probes} requests, {sql.probes} statements, {sql.tables} tables: rows are seen as declared"
    )
    return evidence_of(stack, summary, sql, http)


@check("supabase.rls.writes", component="supabase", effect=Effect.PLANTS)
def writes(stack: Stack) -> Evidence:
    """Nobody writes in another's name, in SQL and through the Data API; owners can in their own."""
    sql = _only(examined(stack, Options()), _WRITES, ("INSERT", "UPDATE", "DELETE"))
    http = _through_api(stack, "rls-writes", writes=True)
    summary = f"{http.probes} requests, {sql.probes} statements, {sql.tables} tables: written as declared"
    return evidence_of(stack, summary, sql, http)


@check("supabase.rls.unfiltered", component="supabase", effect=Effect.PLANTS)
def unfiltered_writes(stack: Stack) -> Evidence:
    """Updates and deletes without a filter touch nobody else's row, and no row can be given away."""
    report = _only(examined(stack, Options()), _SWEEPS, ())
    return evidence_of(
        stack, f"{report.tables} tables: writes without a filter stay with their caller", report
    )


@check("supabase.rls.declared", component="supabase")
def declared(stack: Stack) -> Evidence:
    """Flags, grants, policies, views, functions and roles are as the declaration has them."""
    report = examined(stack, Options(dynamic=False))
    report = replace(report, found=[one for one in report.found if not one.object.startswith("bucket ")])
    return evidence_of(stack, f"{report.tables} tables and buckets: the catalogue is as declared", report)


@check("supabase.advisors", component="supabase")
def advised(stack: Stack) -> Evidence:
    """The Supabase CLI's own security advisors find nothing on the live schema."""
    provider = database_provider(stack)
    lints = asked_advisors(provider.cli, Target.from_dsn(provider.dsn()), provider.source)
    found, information = advice(lints)
    summary = f"supabase db advisors --type security: no warning, {len(information)} for information"
    return judge(summary, [one.finding() for one in found], information=information)
