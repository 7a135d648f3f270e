"""Rules of the declaration as a policy would say them, and what functions have to do with memberships."""

from __future__ import annotations

import re

from harness.database.catalogue import Function, quoted
from harness.database.declaration import Declaration, Rule
from harness.database.mentions import tables_in
from harness.database.oracle import Subject
from harness.database.prober import Prober

__all__ = ["CALLER", "members_asked", "personal", "rule_sql", "rules_for"]

CALLER = re.compile(r"\b(uid|jwt|email|role)\(\)|current_setting|current_user|session_user", re.I)
"""What asks who is calling."""


def members_asked(prober: Prober, function: Function) -> bool:
    """Whether a function looks at who is a member of what."""
    bodies = " ".join(f.body for f in prober.catalogue.called([function.oid]))
    members = {m.table for m in prober.declaration.memberships.values()}
    return bool(members & tables_in(prober.catalogue, bodies))


def rules_for(subject: Subject, declaration: Declaration, command: str, role: str) -> list[Rule]:
    """The rules that let ``role`` do ``command``."""
    return [r for r in subject.rules if command.lower() in r.may and role in declaration.roles_of(r)]


def rule_sql(rule: Rule, subject: Subject, declaration: Declaration) -> str:
    """The rule as a policy would say it."""
    by = (
        "(storage.foldername(name))[1]" if subject.bucket and rule.by == "folder" else quoted(rule.by or "")
    )
    user = "(select auth.uid())" + ("::text" if subject.bucket else "")
    parts = [f"bucket_id = '{subject.bucket}'"] if subject.bucket else []
    if rule.who == "owner":
        parts.append(f"{by} = {user}")
    elif rule.who == "members":
        membership = declaration.memberships[rule.of or ""]
        roles = (
            f" and m.{quoted(membership.role or '')} in ({', '.join(map(repr, rule.roles))})"
            if rule.roles
            else ""
        )
        extra = f" and {membership.where}" if membership.where else ""
        parts.append(
            f"exists (select from {membership.table} m where m.{quoted(membership.group)} = {by}"
            f" and m.{quoted(membership.user)} = (select auth.uid()){roles}{extra})"
        )
    elif rule.who == "own":
        parts.append("/* what is the caller's own */ false")
    if rule.where:
        parts.append(f"({rule.where})")
    return f"({' and '.join(parts) or 'true'})"


def personal(rule: Rule) -> bool:
    """Whether a rule tells one user from another."""
    return rule.who in ("owner", "members") or bool(CALLER.search(f"{rule.where or ''} {rule.check or ''}"))
