"""Row level security as it is written: flags, grants, policies, views and functions of the catalog."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row

from harness.checks.base import check
from harness.checks.rls_session import as_owner
from harness.checks.rls_subjects import SUBJECTS
from harness.evidence import Evidence, Finding, judge
from harness.providers.database import database_provider
from harness.providers.supabase_cli import Target, advisors
from harness.stack import Stack

__all__ = ["advised", "declared"]

_RELATIONS = """
select c.relname as name, c.relkind as kind, c.relrowsecurity as secured,
       coalesce(array_to_string(c.reloptions, ','), '') as options,
       array(select r || ' ' || p from unnest(array['anon', 'authenticated']) r,
             unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) p
             where has_table_privilege(r, c.oid, p)) as privileges,
       array(select p from unnest(array['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) p
             where has_any_column_privilege('anon', c.oid, p)) as anon_columns
from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f')
order by 1
"""
_POLICIES = """
select tablename as table, policyname as name, permissive, roles::text[] as roles, cmd,
       coalesce(qual, '') as using, coalesce(with_check, '') as checked
from pg_policies where schemaname = 'public' order by 1, 2
"""
_FUNCTIONS = """
select p.oid::regprocedure::text as name, p.prosecdef as definer,
       coalesce(array_to_string(p.proconfig, ','), '') as settings,
       array(select r from unnest(array['anon', 'authenticated']) r
             where has_function_privilege(r, p.oid, 'EXECUTE')) as callers
from pg_proc p where p.pronamespace = 'public'::regnamespace order by 1
"""


@check("supabase.rls.declared", component="supabase")
def declared(stack: Stack) -> Evidence:
    """Every exposed relation has RLS, the privileges declared, and policies that bind the owner."""
    with as_owner(stack) as connection, connection.cursor(row_factory=namedtuple_row) as cursor:
        relations = _all(cursor, _RELATIONS)
        policies = _all(cursor, _POLICIES)
        functions = _all(cursor, _FUNCTIONS)
    findings = [
        *(finding for relation in relations for finding in _relation(relation)),
        *(finding for policy in policies for finding in _policy(policy)),
        *(finding for function in functions for finding in _function(function)),
    ]
    counts = f"{len(relations)} relations, {len(policies)} policies, {len(functions)} functions"
    return judge(f"{counts}: as declared, nothing for anon", findings)


@check("supabase.advisors", component="supabase")
def advised(stack: Stack) -> Evidence:
    """The Supabase CLI's own security advisors find nothing on the live schema."""
    provider = database_provider(stack)
    target = Target.from_dsn(provider.dsn())
    with provider.cli.project(provider.source) as project:
        result = provider.cli.run(advisors(target), project, target)
    lints = result.json()
    if result.code and not lints:
        said = (result.err or result.out).strip()[-300:]
        where = "supabase db advisors"
        return judge(
            "", [Finding("exit code 0", f"exit code {result.code}: {said}", where, "read its output")]
        )
    findings = [
        Finding(
            "no security advice",
            f"{lint.get('level')} {lint.get('name')}: {lint.get('detail') or lint.get('title')}",
            _place(lint),
            str(lint.get("remediation") or "see the advisor's documentation"),
        )
        for lint in lints
        if lint.get("level") != "INFO"  # such as: a table with RLS and no policy, which lets nobody in
    ]
    summary = f"supabase db advisors --type security: no warning, {len(lints)} for information"
    return judge(summary, findings, information=[_place(lint) for lint in lints])


def _place(lint: dict[str, Any]) -> str:
    about = lint.get("metadata") or {}
    return f"{about.get('schema', '?')}.{about.get('name', '?')}"


def _all(cursor: psycopg.Cursor[Any], query: str) -> list[Any]:
    return cursor.execute(query.encode()).fetchall()


def _relation(relation: Any) -> Iterator[Finding]:
    where = f"public.{relation.name}"
    if relation.kind in ("r", "p") and not relation.secured:
        remedy = f"alter table {where} enable row level security;"
        yield Finding("row level security is on", "row level security is off", where, remedy)
    yield from _view(relation, where)
    subject = next((s for s in SUBJECTS if s.name == relation.name), None)
    wanted = subject.privileges if subject else frozenset()
    held: set[tuple[str, str]] = set()
    for text in relation.privileges:
        role, _, privilege = str(text).partition(" ")
        held.add((role, privilege))
    if held and subject is None:
        revoke = f"revoke all on {where} from anon, authenticated;"
        remedy = f"declare it in harness/checks/rls_subjects.py, or: {revoke}"
        yield Finding(
            "every exposed relation is declared and probed", f"granted: {_list(held)}", where, remedy
        )
        return
    excess = {(role, privilege) for role, privilege in held if role == "anon" or privilege not in wanted}
    excess |= {("anon", f"{privilege} on columns") for privilege in relation.anon_columns}
    for role in sorted({role for role, _ in excess}):
        extra = sorted({p.partition(" ")[0] for r, p in excess if r == role})
        remedy = f"revoke {', '.join(extra).lower()} on {where} from {role};"
        yield Finding(
            f"{role} holds what is declared", f"{role} holds {', '.join(extra)} too", where, remedy
        )


def _view(relation: Any, where: str) -> Iterator[Finding]:
    if not relation.privileges:
        return
    if relation.kind == "v" and not re.search("security_invoker=(true|on|1)", relation.options):
        remedy = f"alter view {where} set (security_invoker = true);"
        yield Finding("the view reads with its caller's rights", "with its owner's rights", where, remedy)
    if relation.kind in ("m", "f"):
        remedy = f"revoke all on {where} from anon, authenticated;"
        observed = f"it has no row level security and is granted: {', '.join(relation.privileges)}"
        yield Finding("not exposed", observed, where, remedy)


def _policy(policy: Any) -> Iterator[Finding]:
    where = f'policy "{policy.name}" on public.{policy.table}'
    if policy.permissive != "PERMISSIVE":
        return  # restrictive policies only take away
    if {"public", "anon"} & set(policy.roles):
        remedy = f"alter {where} to authenticated;"
        yield Finding("for signed-in users alone", f"for {', '.join(policy.roles)}", where, remedy)
    if "user_metadata" in policy.using + policy.checked:
        remedy = "use auth.uid(), or app_metadata, which users cannot change"
        yield Finding("rests on nothing that users can set", "it trusts user_metadata", where, remedy)
    owner = next((s.owner for s in SUBJECTS if s.name == policy.table), "owner_id")
    test = f"({owner} = (select auth.uid()))"
    written = policy.checked or policy.using  # without a check, the same expression serves as one
    if policy.cmd != "INSERT" and not _binds(policy.using, owner):
        clause = f"using {test}" + (f" with check {test}" if policy.cmd in ("UPDATE", "ALL") else "")
        yield Finding(
            f"rows where {owner} is the caller",
            f"using ({policy.using})",
            where,
            f"alter {where} {clause};",
        )
    elif policy.cmd in ("INSERT", "UPDATE", "ALL") and not _binds(written, owner):
        remedy = f"alter {where} with check {test};"
        yield Finding(f"new rows have the caller as {owner}", f"with check ({written})", where, remedy)


def _binds(expression: str, owner: str) -> bool:
    """Whether ``expression`` demands, at its top level, that the owner column is the caller."""
    flat = " ".join(expression.split())
    equal = rf"\(?{owner} = \( SELECT auth\.uid\(\) AS uid\)\)?"
    return bool(re.fullmatch(rf"\(?{equal}( AND .*)?\)?", flat))


def _function(function: Any) -> Iterator[Finding]:
    where = f"function public.{function.name.removeprefix('public.')}"
    if function.definer and function.callers:
        remedy = f"revoke execute on {where} from public, anon, authenticated; or make it security invoker"
        observed = f"security definer, and {', '.join(function.callers)} may call it"
        yield Finding("nobody calls a function that runs with its owner's rights", observed, where, remedy)
    elif function.callers:
        remedy = f"revoke execute on {where} from public, anon, authenticated;"
        observed = f"{', '.join(function.callers)} may call it through the Data API"
        yield Finding("no function is exposed undeclared", observed, where, remedy)
    if function.definer and "search_path=" not in function.settings:
        remedy = f"alter {where} set search_path = '';"
        yield Finding(
            "a fixed search_path", "security definer with the caller's search_path", where, remedy
        )


def _list(held: set[tuple[str, str]]) -> str:
    return ", ".join(f"{privilege} to {role}" for role, privilege in sorted(held))
