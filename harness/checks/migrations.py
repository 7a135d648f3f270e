"""Migrations: the record agrees with the files, they apply from scratch, and each can be taken back."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import psycopg

from harness.checks.base import Effect, check
from harness.checks.catalog import catalog_lines
from harness.errors import DeployError
from harness.evidence import Evidence, Finding, judge
from harness.migrations import Migration, compare, migrations_in, rollback_of
from harness.providers.backup import schema_text
from harness.providers.database import DatabaseProvider, database_provider
from harness.providers.schema import Schema, recorded_migrations
from harness.providers.supabase_cli import Target, migration_new, push
from harness.stack import Stack

__all__ = ["created", "from_scratch", "recorded", "reversible"]

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
    old, new = (re.sub(r"\s+", " ", m.text.replace(";", "")).split(" ") for m in (applied, file))
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


@check("supabase.migrations.from_scratch", component="supabase", effect=Effect.PLANTS)
def from_scratch(stack: Stack) -> Evidence:
    """Applied to an empty project, the migrations and the seed make the schema that is live."""
    provider = database_provider(stack)
    with provider.scratch() as scratch:
        findings = _applied(provider, provider.source, scratch)
        if not findings:
            made = schema_text(scratch, provider.programs_directory())
            live = schema_text(provider.dsn(), provider.programs_directory())
            findings = _drift(made, live)
    return judge("an empty project becomes, line by line, the live schema", findings)


@check("supabase.migrations.reversible", component="supabase", effect=Effect.PLANTS)
def reversible(stack: Stack) -> Evidence:
    """Each migration's reverse leaves the schema as it was before that migration."""
    provider = database_provider(stack)
    files = migrations_in(provider.source / "migrations")
    findings: list[Finding] = []
    with provider.scratch() as scratch, psycopg.connect(scratch) as connection:
        before = [catalog_lines(connection)]
        for migration in files:
            connection.execute(migration.text.encode())
            before.append(catalog_lines(connection))
        for number in reversed(range(len(files))):
            findings = _taken_back(files[number], connection, before[number])
            if findings:
                break  # the earlier ones would start from a schema that never was
        connection.rollback()
    return judge(
        f"{len(files)} migrations taken back, newest first: each time the schema is as before", findings
    )


def _taken_back(migration: Migration, connection: psycopg.Connection, before: list[str]) -> list[Finding]:
    rollback = rollback_of(migration)
    where = f"supabase/rollbacks/{rollback.name}"
    if not rollback.exists():
        remedy = "write the SQL that takes the migration back"
        return [Finding("a reverse for every migration", "there is none", where, remedy)]
    try:
        connection.execute(rollback.read_bytes())
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        message = " ".join(str(error).split())[:200]
        return [Finding("it runs", f"it fails: {message}", where, "mend the reverse")]
    changes = _changes(before, catalog_lines(connection))
    if not changes:
        return []
    observed = f"{len(changes)} objects differ, first: {changes[0][:140]}"
    return [Finding("the schema as it was before", observed, where, "drop what the migration made")]


def _applied(provider: DatabaseProvider, source: Path, dsn: str) -> list[Finding]:
    """Apply migrations and seed of ``source`` with the real CLI; a finding when it fails."""
    try:
        Schema(source, dsn, provider.cli, seed=_seeded(provider.dsn())).apply(lambda _: None)
    except DeployError as error:
        return [
            Finding("applies to an empty project", error.what, "supabase db push", "mend the migration")
        ]
    return []


def _seeded(dsn: str) -> bool:
    """Whether the live database was given the seed: where people's data is, it is not."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select to_regclass('supabase_migrations.seed_files')").fetchone()
    return row is not None and row[0] is not None


def _drift(made: list[str], live: list[str]) -> list[Finding]:
    changes = _changes(made, live)
    if not changes:
        return []
    observed = f"{len(changes)} lines differ, first: {changes[0][:160]}"
    remedy = "write a migration for it, or take the change back: nobody edits the live schema by hand"
    return [Finding("the live schema is what the migrations make", observed, "live schema", remedy)]


def _changes(before: list[str], after: list[str]) -> list[str]:
    return [
        line
        for line in difflib.unified_diff(before, after, lineterm="", n=0)
        if line[:1] in "+-" and line[:3] not in ("+++", "---")
    ]
