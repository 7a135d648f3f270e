"""A database that is slow, gone, closed or only reads: checks of migrations and backups say it as that."""

from __future__ import annotations

import psycopg

from harness.checks import backups, migration_trials, migrations, pgtap
from harness.evidence import Verdict
from harness.stack import Stack
from tests.pg_fixture import Database
from tests.supabase_proof import holds, told


def _set(database: Database, setting: str) -> None:
    with psycopg.connect(database.cluster.dsn("supabase_admin"), autocommit=True) as admin:
        admin.execute(f"alter database {database.name} {setting}")


def test_a_statement_timeout_is_an_outage(database_stack: Stack, database: Database) -> None:
    with psycopg.connect(database.superuser_dsn) as admin:
        admin.execute("lock supabase_migrations.schema_migrations")
        _set(database, "set statement_timeout = '100ms'")
        evidence = migrations.recorded(database_stack)
    assert evidence.verdict is Verdict.UNREACHABLE, told(evidence)
    assert "statement timeout" in evidence.summary


def test_a_database_that_is_gone_is_an_outage(database_stack: Stack, database: Database) -> None:
    _set(database, "allow_connections false")
    for check in (migrations.recorded, migration_trials.from_scratch, backups.restorable, pgtap.tested):
        evidence = check(database_stack)
        assert evidence.verdict is Verdict.UNREACHABLE, told(evidence)
        assert "not currently accepting connections" in evidence.summary


def test_a_role_that_may_make_no_database_is_said(database_stack: Stack, database: Database) -> None:
    with psycopg.connect(database.superuser_dsn, autocommit=True) as admin:
        admin.execute("alter role postgres nocreatedb")
        try:
            evidence = migration_trials.reversible(database_stack)
        finally:
            admin.execute("alter role postgres createdb")
    assert evidence.verdict is Verdict.BLOCKED, told(evidence)
    assert "lacks a right that this check needs: permission denied to create database" in evidence.summary


def test_a_database_that_only_reads_is_said(database_stack: Stack, database: Database) -> None:
    _set(database, "set default_transaction_read_only = on")
    evidence = pgtap.tested(database_stack)
    assert evidence.verdict is Verdict.BLOCKED, told(evidence)
    assert "the database only reads" in evidence.summary
    holds(migrations.recorded, database_stack)
    holds(backups.restorable, database_stack)


def test_quoted_names_are_compared_as_any_other(database_stack: Stack, database: Database) -> None:
    database.execute('create table public."Größe; drop" ("a b" int primary key, "x""y" text)')
    database.execute("""insert into public."Größe; drop" values (1, 'ä')""")
    holds(backups.restorable, database_stack)
    evidence = migration_trials.from_scratch(database_stack)
    assert evidence.verdict is Verdict.REFUTED
    assert 'column public."Größe; drop"."x""y"' in told(evidence)
