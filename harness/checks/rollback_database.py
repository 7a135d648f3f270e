"""The way back of the database, in place: the newest migration is reversed, a backup is restored."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg

from harness.checks import database, gateway, migrations, rls, smoke
from harness.checks.base import Check, Effect, check
from harness.checks.catalog import catalog_lines
from harness.checks.contents import Contents, contents
from harness.checks.verification import asked_again
from harness.evidence import Evidence, Finding, judge
from harness.migrations import migrations_in
from harness.providers.backup import BackupError, schema_text
from harness.providers.database import ReversibleDatabase, reversible_database
from harness.stack import Stack

__all__ = ["restored", "reversed_"]

_WITHIN = 300.0
_NEEDS = ("instant", "thinking", "gateway", "web")
_VERIFIED = (migrations.recorded, rls.reads, database.monitored, gateway.ready, smoke.conversation)
_IN_FLIGHT = "usage."
"""Tables that the gateway goes on writing to while others are compared."""


def _drill(name: str) -> Callable[[Callable[[Stack], Evidence]], Check]:
    return check(name, component="supabase", needs=_NEEDS, effect=Effect.DISTURBS, within=_WITHIN)


@_drill("rollback.database_restored")
def restored(stack: Stack) -> Evidence:
    """A backup takes the live database's place: all of it is back, nothing later, and the stack goes on."""
    provider = reversible_database(stack)
    backup, before, schema = _backed_up(provider)
    later = str(uuid.uuid4())
    with psycopg.connect(provider.dsn()) as connection:
        connection.execute("insert into auth.users (id, aud, role) values (%s, 'x', 'x')", [later])
    started = time.monotonic()
    try:
        kept = provider.restore(backup)
    except BackupError as error:
        remedy = "nothing was changed; find out what cut the backup short, and back up again"
        return judge("", [Finding("a backup that can be restored", error.what, backup.name, remedy)])
    seconds = time.monotonic() - started
    findings = [*_as_before(provider, backup, before, schema)]
    if _has_user(provider, later):
        remedy = "was the backup restored at all?"
        findings.append(Finding("nothing later than the backup", "a later row", "auth.users", remedy))
    holding = asked_again(stack, _VERIFIED)
    summary = (
        f"{backup.name} in the place of the live database in {seconds:.1f} s (that stays as {kept});"
        f" then {holding.count} checks hold"
    )
    found = [*findings, *holding.findings]
    return judge(summary, found, seconds=round(seconds, 2), kept=kept, checks=holding.names)


@_drill("rollback.database_reversed")
def reversed_(stack: Stack) -> Evidence:
    """The newest migration, taken back, leaves the previous schema; then it comes again, with its data."""
    provider = reversible_database(stack)
    wanted = _schema_before_the_newest(provider)
    with _brought_back(stack, provider):
        started = time.monotonic()
        taken = provider.reverse_newest()
        seconds = time.monotonic() - started
        with psycopg.connect(provider.dsn()) as connection:
            live = _declared(catalog_lines(connection))
        findings = _differing(wanted, live, f"supabase/rollbacks/{taken.label}.sql")
    holding = asked_again(stack, _VERIFIED)
    summary = f"{taken.label} taken back in {seconds:.2f} s; applied again, {holding.count} checks hold"
    found = [*findings, *holding.findings]
    return judge(summary, found, seconds=round(seconds, 2), checks=holding.names)


@contextlib.contextmanager
def _brought_back(stack: Stack, provider: ReversibleDatabase) -> Iterator[None]:
    """Whatever happens in the block: afterwards the declared schema is there, with the data of before."""
    backup, _, _ = _backed_up(provider)
    try:
        yield
    finally:
        stack.provider("supabase").deploy(lambda _: None)
        provider.restore(backup)


def _backed_up(provider: ReversibleDatabase) -> tuple[Path, Contents, list[str]]:
    """A backup, and what was in the database at that very moment."""
    with psycopg.connect(provider.dsn()) as connection:
        connection.execute("set transaction isolation level repeatable read, read only")
        row = connection.execute("select pg_export_snapshot()").fetchone()
        path = provider.backup(str(row[0] if row else ""))
        schema = schema_text(provider.dsn(), provider.programs_directory())
        return path, contents(connection), schema


def _as_before(
    provider: ReversibleDatabase, backup: Path, before: Contents, schema: list[str]
) -> Iterator[Finding]:
    with psycopg.connect(provider.dsn()) as connection:
        after = contents(connection)
    live = schema_text(provider.dsn(), provider.programs_directory())
    for table, (count, checksum) in before.items():
        if not table.startswith(_IN_FLIGHT) and after.get(table) != (count, checksum):
            seen = f"{after[table][0]} rows, others" if table in after else "no such table"
            remedy = f"the database before is still there: see its name above; {backup.name} is incomplete"
            yield Finding(f"{count} rows, those of the backup", seen, table, remedy)
    yield from _differing(schema, live, f"schema of {backup.name}")


def _schema_before_the_newest(provider: ReversibleDatabase) -> list[str]:
    files = migrations_in(provider.source / "migrations")
    with provider.scratch() as scratch, psycopg.connect(scratch) as connection:
        for migration in files[:-1]:
            connection.execute(migration.text.encode())
        lines = catalog_lines(connection)
        connection.rollback()
    return _declared(lines)


def _declared(lines: list[str]) -> list[str]:
    """Without the CLI's own records, which a database that was made by hand does not have."""
    return [line for line in lines if "supabase_migrations" not in line]


def _differing(wanted: list[str], live: list[str], where: str) -> list[Finding]:
    changes = [f"+ {line}" for line in sorted(set(live) - set(wanted))]
    changes += [f"- {line}" for line in sorted(set(wanted) - set(live))]
    if not changes:
        return []
    observed = f"{len(changes)} lines differ, first: {changes[0][:160]}"
    return [Finding("the schema, line by line", observed, where, "mend what takes it back")]


def _has_user(provider: ReversibleDatabase, user: str) -> bool:
    with psycopg.connect(provider.dsn()) as connection:
        return connection.execute("select from auth.users where id = %s", [user]).fetchone() is not None
