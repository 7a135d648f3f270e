"""Migrations as files and as the database records them: what is new, what is applied, what was edited."""

from __future__ import annotations

import difflib
import re

import psycopg

from harness.checks.base import check
from harness.evidence import Evidence, Finding, judge
from harness.migrations import Migration, compare, migrations_in
from harness.providers.database import database_provider
from harness.providers.schema import recorded_migrations
from harness.providers.supabase_cli import Target, migration_new, push
from harness.stack import Stack

__all__ = ["created", "recorded"]

_WHERE = "supabase_migrations.schema_migrations"


@check("supabase.migrations.recorded", component="supabase")
def recorded(stack: Stack) -> Evidence:
    """What the database says was applied to it is exactly what the migration files say."""
    files = migrations_in(database_provider(stack).source / "migrations")
    with psycopg.connect(stack.database_dsn) as connection:
        applied = recorded_migrations(connection)
    difference = compare(files, applied)
    findings = [
        Finding("applied", "not applied", f"supabase/migrations/{m.label}.sql", "deploy supabase")
        for m in (*difference.pending, *difference.late)
    ]
    record = {migration.version: migration for migration in applied}
    for m in difference.edited:
        where = f"supabase/migrations/{m.label}.sql"
        remedy = "restore the file as it was applied, and write a new migration for the change"
        findings.append(Finding("as it was applied", _first_change(record[m.version], m), where, remedy))
    for m in difference.unknown:
        remedy = f"commit the missing file, or: supabase migration repair --status reverted {m.version}"
        findings.append(
            Finding("a file for it", f"{m.label} has no file", f"{_WHERE}: {m.version}", remedy)
        )
    summary = f"{len(applied)} migrations applied, each as its file says"
    return judge(summary, findings, versions=[m.label for m in applied])


def _first_change(applied: Migration, file: Migration) -> str:
    old, new = applied.words(), file.words()
    for tag, i, j, k, m in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            return f"edited: {' '.join(old[i:j])!r} became {' '.join(new[k:m])!r}"[:200]
    return "edited"


@check("supabase.migrations.created", component="supabase")
def created(stack: Stack) -> Evidence:
    """A new migration made by the CLI (in a copy) is the newest, and all that a push would apply."""
    provider = database_provider(stack)
    where = "supabase migration new rehearsal"
    before = {m.label for m in migrations_in(provider.source / "migrations")}
    target = Target.from_dsn(provider.dsn())
    with provider.cli.project(provider.source) as project:
        provider.cli.must(migration_new("rehearsal"), project)
        after = migrations_in(project / "supabase" / "migrations")
        new = [m for m in after if m.label not in before]
        if len(new) != 1 or new[0] != after[-1] or new[0].path is None:
            observed = f"{', '.join(m.label for m in new) or 'no file'}; the newest is {after[-1].label}"
            remedy = "is the clock right? is a migration dated in the future?"
            return judge("", [Finding("one file, newer than every other", observed, where, remedy)])
        new[0].path.write_text("create table public.rehearsal (id int primary key);\n")
        result = provider.cli.run(push(target, dry_run=True), project, target)
    said = " ".join((result.out + result.err).split())
    named = sorted(set(re.findall(r"\d{14}_[a-z0-9_]+", said)))
    findings = []
    if result.code or named != [new[0].label]:
        remedy = "bring the recorded migrations and the files into agreement first"
        observed = f"exit code {result.code}: {said[-300:]}"
        findings = [
            Finding(f"{new[0].label} and nothing else", observed, "supabase db push --dry-run", remedy)
        ]
    return judge(
        f"{new[0].label}, made after {len(before)} others, is all that a push would apply", findings
    )
