"""Can what the database holds be brought back? A backup is restored and compared, not looked at."""

from __future__ import annotations

import time
from pathlib import Path

import psycopg

from harness.checks.base import Effect, check
from harness.checks.contents import Contents, contents
from harness.checks.differences import changed_lines, own_lines
from harness.evidence import Evidence, Finding, judge
from harness.providers.backup import LEAVES_OUT, Archive, BackupError, schema_text
from harness.providers.database import DatabaseProvider, database_provider
from harness.stack import Stack

__all__ = ["restorable"]


@check("supabase.backup.restorable", component="supabase", effect=Effect.PLANTS)
def restorable(stack: Stack) -> Evidence:
    """A fresh backup, restored into an empty project, brings back every table, row, policy and grant."""
    provider = database_provider(stack)
    started = time.monotonic()
    with psycopg.connect(provider.dsn()) as connection:
        connection.execute("set transaction isolation level repeatable read, read only")
        snapshot = str(_one(connection, "select pg_export_snapshot()"))
        path = provider.backup(snapshot)
        before = contents(connection, provider.scope)
        options = provider.scope.dump_options(connection)
        declared = schema_text(provider.dsn(), provider.programs_directory(), snapshot, options)
    dumped = time.monotonic()
    size = path.stat().st_size
    findings, restored = _restored(provider, path, before, declared, options)
    rows = sum(count for count, _ in restored.values())
    summary = f"{len(restored)} tables and {rows} rows restored and equal, schema too; leaves out: "
    return judge(
        summary + "; ".join(LEAVES_OUT),
        findings,
        backup_bytes=size,
        backup_seconds=round(dumped - started, 2),
        restore_seconds=round(time.monotonic() - dumped, 2),
        tables=len(before),
        rows=rows,
        leaves_out=LEAVES_OUT,
    )


def _restored(
    provider: DatabaseProvider, path: Path, before: Contents, declared: list[str], options: list[str]
) -> tuple[list[Finding], Contents]:
    programs = provider.programs_directory()
    with provider.restore_place() as scratch:
        try:
            Archive(path, programs).restore(scratch)
        except BackupError as error:
            remedy = "keep the previous backup; find out what cut this one short; back up again"
            return [Finding("a backup that can be restored", error.what, f"backup {path.name}", remedy)], {}
        with psycopg.connect(scratch) as connection:
            after = contents(connection, provider.scope)
        brought_back = schema_text(scratch, programs, extra=options)
        texts = (own_lines(text, provider.scope) for text in (declared, brought_back))
        found = _differing(path, before, after) + _schema_differs(path, *texts)
        return found, after


def _differing(path: Path, before: Contents, after: Contents) -> list[Finding]:
    findings = []
    for table, (count, checksum) in before.items():
        rows, restored_checksum = after.get(table, (-1, ""))
        if (rows, restored_checksum) == (count, checksum):
            continue
        observed = "the table is not in the backup" if rows < 0 else f"{rows} rows"
        if rows == count:
            observed += " with other contents"
        findings.append(
            Finding(
                f"{count} rows, as in the database",
                observed,
                f"{table} in the backup {path.name}",
                "back up the whole database: no --exclude-table, --exclude-schema or --schema-only",
            )
        )
    return findings


def _schema_differs(path: Path, declared: list[str], restored: list[str]) -> list[Finding]:
    changes = changed_lines(declared, restored)
    if not changes:
        return []
    return [
        Finding(
            "the schema of the database, line by line",
            f"{len(changes)} lines differ, first: {changes[0][:160]}",
            f"schema in the backup {path.name}",
            "back up the whole database, policies, grants and triggers included",
        )
    ]


def _one(connection: psycopg.Connection, query: str) -> object:
    row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None
