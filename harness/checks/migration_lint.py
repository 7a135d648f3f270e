"""Migrations as they are written: read by PostgreSQL's own parser, before they run."""

from __future__ import annotations

from harness.checks.base import check
from harness.evidence import Evidence, Finding, judge
from harness.providers.database import database_provider
from harness.sql.lint import RULES, Flag, read_tree
from harness.stack import Stack

__all__ = ["vetted"]


@check("supabase.migrations.vetted", component="supabase")
def vetted(stack: Stack) -> Evidence:
    """No migration loses data, locks a table in use or is refused when hosted, unless it says why."""
    reading = read_tree(database_provider(stack).source)
    accepted = [f"{where} {rule}: {reason}" for where, rule, reason in reading.accepted]
    summary = f"{reading.files} files of SQL read, nothing to object to"
    if accepted:
        summary += f"; accepted: {'; '.join(accepted)}"
    return judge(summary, [_finding(flag) for flag in reading.flags], accepted=accepted)


def _finding(flag: Flag) -> Finding:
    remedy = f"{flag.safer}; or, when it is meant so, put before it: -- accept {flag.rule}: the reason"
    if flag.rule in ("accept", "not-sql"):
        remedy = flag.safer
    return Finding(f"not {flag.rule}: {RULES[flag.rule]}", flag.what, flag.where, remedy)
