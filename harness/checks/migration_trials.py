"""Migrations tried in databases of their own: from scratch, on top of the previous release, and back."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg

from harness.checks.base import Effect, check
from harness.checks.catalog import catalog_lines
from harness.checks.contents import Contents, contents
from harness.checks.differences import Different, changed_lines, differing_objects, own_lines
from harness.errors import DeployError
from harness.evidence import Evidence, Finding, judge
from harness.migrations import Migration, migrations_in, rollback_of
from harness.providers.backup import schema_text
from harness.providers.database import DatabaseProvider, database_provider
from harness.providers.previous_release import Previous, previous_release
from harness.providers.schema import Schema, record_migrations, recorded_migrations
from harness.sql.run import run_file, sow
from harness.stack import Stack

__all__ = ["from_scratch", "on_top", "reversible"]

_NOT_RESTORED = re.compile(r"^-- not restored: (\S.*?): (\S.*)$", re.MULTILINE)
"""How a reverse migration says that it cannot bring the rows of a table back: table and reason."""


@check("supabase.migrations.from_scratch", component="supabase", effect=Effect.PLANTS)
def from_scratch(stack: Stack) -> Evidence:
    """Applied to an empty project, the migrations and the seed make the schema that is live."""
    provider = database_provider(stack)
    with provider.scratch() as scratch:
        findings = _applied(provider, provider.source, scratch)
        if not findings:
            findings = _drift(provider, scratch)
    return judge("an empty project becomes the live schema: objects, grants, policies, buckets", findings)


def _applied(provider: DatabaseProvider, source: Path, dsn: str) -> list[Finding]:
    """Apply migrations and seed of ``source`` with the real CLI; a finding when it fails."""
    try:
        Schema(source, dsn, provider.cli, seed=_seeded(provider.dsn()), vet=False).apply(lambda _: None)
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


def _drift(provider: DatabaseProvider, scratch: str) -> list[Finding]:
    """By object where the catalog tells it; what it does not cover, by the lines of a dump."""
    remedy = "write a migration for it, or take the change back: nobody edits the live schema by hand"
    managed = provider.scope.managed
    with psycopg.connect(scratch) as made, psycopg.connect(provider.dsn()) as live:
        objects = differing_objects(catalog_lines(made, managed), catalog_lines(live, managed))
        options = provider.scope.dump_options(live, kept=False)
    if objects:
        return [_differs(d, f"live schema: {d.title}", remedy) for d in objects]
    lines = changed_lines(*(_own_schema(provider, dsn, options) for dsn in (scratch, provider.dsn())))
    observed = f"{len(lines)} lines differ, first: {lines[0][:160]}" if lines else ""
    expected = "the live schema is what the migrations make"
    return [Finding(expected, observed, "live schema", remedy)] if lines else []


def _own_schema(provider: DatabaseProvider, dsn: str, options: list[str]) -> list[str]:
    return own_lines(schema_text(dsn, provider.programs_directory(), extra=options), provider.scope)


@check("supabase.migrations.on_top", component="supabase", effect=Effect.PLANTS)
def on_top(stack: Stack) -> Evidence:
    """On the previous release's schema, with rows in it, the newer migrations apply and lose no row."""
    provider = database_provider(stack)
    files = migrations_in(provider.source / "migrations")
    with psycopg.connect(provider.dsn()) as live:
        previous = previous_release(provider.source, files, recorded_migrations(live))
    newer = [m.label for m in files[len(previous.migrations) :]]
    with provider.scratch() as scratch, provider.scratch() as other:
        findings, kept = _upgraded(provider, previous, scratch, newer=bool(newer))
        if not findings:
            with _autocommit(other) as fresh, psycopg.connect(scratch) as upgraded:
                _run_all(fresh, files)
                findings = _one_schema(catalog_lines(fresh), catalog_lines(upgraded), previous)
    rows = sum(count for count, _ in kept.values())
    summary = f"on {previous.origin}: {len(newer)} newer applied, {rows} rows kept"
    return judge(summary, findings, previous=previous.origin, newer=newer, rows=rows)


def _upgraded(
    provider: DatabaseProvider, previous: Previous, scratch: str, *, newer: bool
) -> tuple[list[Finding], Contents]:
    """Previous schema, rows, then the rest by the real CLI; the rows that were there before."""
    seed = provider.source / "seed.sql"
    with _autocommit(scratch) as connection:
        for migration in previous.migrations:
            if failed := _failed(connection, migration.text, f"{migration.label}, of {previous.origin}"):
                return failed, {}
        record_migrations(connection, previous.migrations)
        sow(connection, seed.read_text(encoding="utf-8") if seed.exists() else "")
        before = contents(connection)
    if not newer:  # the push would be an empty one
        return [], before
    try:
        Schema(provider.source, scratch, provider.cli, seed=False, vet=False).apply(lambda _: None)
    except DeployError as error:
        where = f"supabase db push, on {previous.origin}"
        remedy = "let the migration fill or change the rows that are there first"
        return [Finding("applies where rows are", error.what, where, remedy)], before
    with psycopg.connect(scratch) as connection:
        return _rows_lost(before, contents(connection), f"on {previous.origin}"), before


def _one_schema(fresh: list[str], upgraded: list[str], previous: Previous) -> list[Finding]:
    remedy = "an applied migration was changed: restore it, and write a new one"
    differing = differing_objects(fresh, upgraded)
    return [_differs(d, f"{d.title}, on {previous.origin}", remedy) for d in differing]


@check("supabase.migrations.reversible", component="supabase", effect=Effect.PLANTS)
def reversible(stack: Stack) -> Evidence:
    """Up, down and up again, each migration leaves the schema as it was, and the rows that were there."""
    provider = database_provider(stack)
    files = migrations_in(provider.source / "migrations")
    seed = provider.source / "seed.sql"
    rows = seed.read_text(encoding="utf-8") if seed.exists() else ""
    findings: list[Finding] = []
    with provider.scratch() as scratch, _autocommit(scratch) as connection:
        for migration in files:
            sow(connection, rows)
            findings = _there_and_back(connection, migration)
            if findings:
                break  # the later ones would start from a schema that never was
        sow(connection, rows)
        held = {table: count for table, (count, _) in contents(connection).items() if count}
    empty = "tables without a row in the seed prove nothing about theirs"
    lost = [
        f"{m.label}: {table}: {reason}"
        for m in files
        for table, reason in _conceded(rollback_of(m)).items()
    ]
    summary = f"{len(files)} migrations went up, down and up again: schema the same, rows kept; {empty}"
    if lost:
        summary += f"; not restored: {'; '.join(lost)}"
    return judge(summary, findings, rows=held, not_restored=lost)


def _there_and_back(connection: psycopg.Connection, migration: Migration) -> list[Finding]:
    rollback = rollback_of(migration)
    where = f"supabase/rollbacks/{rollback.name}"
    if not rollback.exists():
        remedy = "write the SQL that takes the migration back"
        return [Finding("a reverse for every migration", "there is none", where, remedy)]
    before, rows = catalog_lines(connection), contents(connection)
    if failed := _failed(connection, migration.text, f"supabase/migrations/{rollback.name}"):
        return failed
    made = catalog_lines(connection)
    if failed := _failed(connection, rollback.read_text(encoding="utf-8"), where):
        return failed
    remedy = "drop what the migration made, bring back what it took, and nothing else"
    found = _not_as(before, catalog_lines(connection), "as before the migration", where, remedy)
    found += _unrestored(rows, contents(connection), rollback)
    if found:
        return found
    if failed := _failed(connection, migration.text, f"supabase/migrations/{rollback.name}, again"):
        return failed
    remedy = "let the migration make the same after its reverse as before"
    return _not_as(made, catalog_lines(connection), "as after the first time", where, remedy)


def _failed(connection: psycopg.Connection, text: str, where: str) -> list[Finding]:
    try:
        run_file(connection, text)
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        message = " ".join(str(error).split())[:200]
        return [Finding("it runs", f"it fails: {message}", where, "mend it")]
    return []


def _not_as(before: list[str], after: list[str], when: str, where: str, remedy: str) -> list[Finding]:
    differing = differing_objects(before, after)
    return [_differs(d, f"{where}: {d.title}", remedy, f"{when}: ") for d in differing]


def _differs(difference: Different, where: str, remedy: str, when: str = "") -> Finding:
    expected = f"{when}{difference.before or 'nothing'}"
    return Finding(expected, difference.after or "it is not there", where, remedy)


def _rows_lost(before: Contents, after: Contents, where: str) -> list[Finding]:
    findings = []
    for table, (count, _) in before.items():
        rows = after.get(table, (0, ""))[0]
        if rows < count:
            observed = f"{rows} rows" if table in after else "the table is gone"
            remedy = "keep the rows: move them, or say in the migration why they go"
            findings.append(Finding(f"{count} rows in {table}", observed, where, remedy))
    return findings


def _unrestored(before: Contents, after: Contents, rollback: Path) -> list[Finding]:
    """Tables that hold other rows than before, of which the reverse does not say that it is so."""
    where, conceded = f"supabase/rollbacks/{rollback.name}", _conceded(rollback)
    changed = {table: held for table, held in before.items() if after.get(table, (0, "")) != held}
    unsaid = {table: held for table, held in changed.items() if table not in conceded}
    findings = _rows_lost(unsaid, after, where)
    for table, (count, _) in unsaid.items():
        if after.get(table, (0, ""))[0] >= count:
            observed = f"{after[table][0]} rows, not all as before"
            remedy = f"put back what was there, or say in it why not: -- not restored: {table}: REASON"
            findings.append(Finding(f"the same values in {table}", observed, where, remedy))
    for table in sorted(set(conceded) - set(changed)):
        remedy = "take the line out: it would hide a later loss"
        findings.append(Finding(f"other values in {table}", "the same as before", where, remedy))
    return findings


def _conceded(rollback: Path) -> dict[str, str]:
    """Table: why its rows cannot be brought back, as the reverse migration says."""
    return dict(_NOT_RESTORED.findall(rollback.read_text(encoding="utf-8"))) if rollback.exists() else {}


def _run_all(connection: psycopg.Connection, migrations: Sequence[Migration]) -> None:
    for migration in migrations:
        run_file(connection, migration.text)


@contextlib.contextmanager
def _autocommit(dsn: str) -> Iterator[psycopg.Connection]:
    with contextlib.closing(psycopg.connect(dsn, autocommit=True)) as connection:
        yield connection
