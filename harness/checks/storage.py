"""Storage: the bucket is declared, private and limited, and nobody reaches another's files."""

from __future__ import annotations

import re
import tomllib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

from harness.checks.base import Effect, check
from harness.checks.rls_session import acting, as_owner, rolled_back
from harness.checks.storage_http import over_http
from harness.evidence import Evidence, Finding, judge
from harness.providers.database import database_provider
from harness.stack import Stack

__all__ = ["buckets", "objects"]

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_DECLARATION = "supabase/config.toml [storage.buckets]"


@check("supabase.storage.buckets", component="supabase")
def buckets(stack: Stack) -> Evidence:
    """Every bucket is declared, private, and limited in size and MIME types, exactly as declared."""
    text = (database_provider(stack).source / "config.toml").read_text(encoding="utf-8")
    wanted = tomllib.loads(text).get("storage", {}).get("buckets", {})
    with as_owner(stack) as connection:
        rows = connection.execute(
            "select id, public, file_size_limit, allowed_mime_types from storage.buckets order by id"
        ).fetchall()
    live = {name: (public, size, types) for name, public, size, types in rows}
    findings = [
        Finding(
            "declared",
            "an undeclared bucket",
            f"bucket {name}",
            f"declare it in {_DECLARATION}, or delete it",
        )
        for name in live.keys() - wanted.keys()
    ]
    for name, declaration in wanted.items():
        if name not in live:
            where, remedy = f"bucket {name}", "insert it into storage.buckets in a migration"
            findings.append(Finding("the declared bucket exists", "there is no such bucket", where, remedy))
        else:
            findings += _bucket(name, declaration, live[name])
    summary = f"{', '.join(sorted(live))}: private, limited in size and types as declared"
    return judge(
        summary, findings, buckets={name: {"public": v[0], "bytes": v[1]} for name, v in live.items()}
    )


def _bucket(name: str, wanted: dict[str, Any], live: tuple[Any, Any, Any]) -> Iterator[Finding]:
    public, size, types = live
    limit = _bytes(str(wanted.get("file_size_limit", "")))
    allowed = sorted(wanted.get("allowed_mime_types", ()))
    quoted = ", ".join(f"'{kind}'" for kind in allowed)
    facts = (
        (
            "public",
            bool(wanted.get("public", False)),
            bool(public),
            str(bool(wanted.get("public"))).lower(),
        ),
        ("file_size_limit", limit, size, str(limit)),
        ("allowed_mime_types", allowed, sorted(types or ()), f"array[{quoted}]"),
    )
    for column, expected, observed, literal in facts:
        if expected != observed:
            shown = "no limit" if observed in (None, []) else observed
            remedy = f"set {column} = {literal} on the row {name} of storage.buckets, in a migration"
            yield Finding(f"{column} = {expected}", f"{column} = {shown}", f"bucket {name}", remedy)
    for column, value in (("file_size_limit", limit), ("allowed_mime_types", allowed)):
        if not value:
            yield Finding(
                f"a {column}", "none is declared", f"bucket {name} in {_DECLARATION}", "declare one"
            )


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+)\s*([KMG]?I?B?)", text.strip().upper())
    return int(match[1]) * _UNITS.get(match[2], 1) if match else 0


@dataclass(frozen=True)
class _Attempt:
    """What somebody tries on rows of storage.objects."""

    command: str
    statement: str
    values: tuple[Any, ...]


@check("supabase.storage.objects", component="supabase", effect=Effect.PLANTS)
def objects(stack: Stack) -> Evidence:
    """Nobody lists, reads, overwrites, adds or deletes files in another's folder; owners can in their own.

    In SQL, on a planted row, in a transaction that is rolled back: what the Storage API itself relies on;
    and over HTTP where there is one.
    """
    mark = uuid.uuid4().hex[:8]
    a, b = (stack.identities.user_id(f"storage-{mark}-{who}") for who in "ab")
    bucket = "attachments"
    findings: list[Finding] = []
    with as_owner(stack) as connection, rolled_back(connection):
        connection.execute("select set_config('storage.allow_delete_query', 'true', true)")
        path = f"{a}/{mark}.txt"
        connection.execute(
            "insert into storage.objects (bucket_id, name, owner_id) values (%s, %s, %s)", [bucket, path, a]
        )
        for role, user in (("authenticated", b), ("anon", "")):
            for attempt in _attempts(bucket, path, a):
                if touched := _carried_out(connection, role, user, attempt):
                    findings.append(_finding(connection, attempt, role, touched))
        for attempt in _attempts(bucket, path, a):
            if not _carried_out(connection, "authenticated", a, attempt):
                expected, observed = "owners can, in their own folder", "refused, or no row touched"
                where = f"storage.objects, {attempt.command} as the owner"
                remedy = f"a policy for {attempt.command.lower()} with {_OWN_FOLDER}"
                findings.append(Finding(expected, observed, where, remedy))
    more, how = over_http(stack)
    summary = f"5 attempts on another's folder by 2 roles refused; the owner succeeds with each ({how})"
    return judge(summary, findings + more, http=how)


_OWN_FOLDER = "(bucket_id = 'attachments' and (storage.foldername(name))[1] = (select auth.uid())::text)"


def _attempts(bucket: str, path: str, owner: str) -> list[_Attempt]:
    new = f"{owner}/{uuid.uuid4().hex}.txt"
    insert = "insert into storage.objects (bucket_id, name, owner_id) values (%s, %s, %s)"
    return [
        _Attempt("SELECT", "select 1 from storage.objects where name = %s", (path,)),
        _Attempt("INSERT", insert, (bucket, new, owner)),
        # no filter on a column: a filter would bring the SELECT policies in, and hide a weak one
        _Attempt("UPDATE", "update storage.objects set metadata = '{}' where true", ()),
        _Attempt("UPDATE", "update storage.objects set version = 'x' where name = %s", (path,)),
        _Attempt("DELETE", "delete from storage.objects where name = %s", (path,)),
    ]


def _carried_out(connection: psycopg.Connection, role: str, user: str, attempt: _Attempt) -> int:
    """How many rows the attempt touched; none when it was refused. Undone in any case."""
    with rolled_back(connection):
        try:
            with acting(connection, role, user):
                cursor = connection.execute(attempt.statement.encode(), attempt.values)
                return max(cursor.rowcount, 0)
        except psycopg.OperationalError:
            raise
        except psycopg.Error:
            return 0


def _finding(connection: psycopg.Connection, attempt: _Attempt, role: str, touched: int) -> Finding:
    policies = connection.execute(
        "select policyname, coalesce(with_check, qual) from pg_policies"
        " where schemaname = 'storage' and tablename = 'objects' and cmd in (%s, 'ALL')"
        " and (%s = any (roles) or 'public' = any (roles))",
        [attempt.command, role],
    ).fetchall()
    loose = [name for name, text in policies if "foldername" not in text] or [name for name, _ in policies]
    named = "; ".join(f'policy "{name}" {" ".join(text.split())[:160]}' for name, text in policies)
    clause = "with check" if attempt.command == "INSERT" else "using"
    return Finding(
        "refused: the folder belongs to somebody else",
        f"{attempt.command} touched {touched} row(s)",
        f"storage.objects, {attempt.command} as {role}: {named or 'row level security is off'}",
        f'alter policy "{loose[0]}" on storage.objects {clause} {_OWN_FOLDER};' if loose else "enable it",
    )
