"""Migrations that would do harm, each written into a copy of the project, read, and refused by a deploy."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.checks import migration_lint
from harness.errors import DeployError
from harness.providers.schema import Schema
from harness.stack import Stack
from tests.pg_fixture import Database
from tests.supabase_proof import holds, refutes


def _added(project: Path, text: str) -> Path:
    path = project / "migrations" / "29990101000000_added.sql"
    path.write_text(text)
    return path


def test_a_statement_that_loses_data_is_named(database_stack: Stack, project: Path) -> None:
    path = _added(project, "\nalter table public.profiles\n  drop column display_name;\n")
    evidence = refutes(
        migration_lint.vetted,
        database_stack,
        f"supabase/migrations/{path.name}:2",
        "public.profiles.display_name",
    )
    assert "drop-column" in evidence.findings[0].expected
    assert "-- accept drop-column: the reason" in evidence.findings[0].remedy
    _added(
        project,
        "-- accept drop-column: nothing reads it\nalter table public.profiles drop column display_name;",
    )
    holds(migration_lint.vetted, database_stack)
    assert "nothing reads it" in migration_lint.vetted(database_stack).summary


def test_a_statement_that_locks_a_table_in_use_is_named(database_stack: Stack, project: Path) -> None:
    _added(project, "create index messages_role on public.messages (role);")
    refutes(migration_lint.vetted, database_stack, "index on public.messages", "concurrently messages_role")


def test_a_statement_that_a_hosted_project_refuses_is_named(database_stack: Stack, project: Path) -> None:
    _added(project, "alter table storage.objects enable row level security;")
    refutes(migration_lint.vetted, database_stack, "storage.objects in the schema storage")


def test_a_file_that_is_no_sql_is_named(database_stack: Stack, project: Path) -> None:
    path = _added(project, "create table a (id int);\n\ncreate tabel b (id int);\n")
    refutes(migration_lint.vetted, database_stack, f"{path.name}:3", 'syntax error at or near "tabel"')


def test_a_project_without_migrations_is_no_pass(database_stack: Stack, project: Path) -> None:
    for path in (project / "migrations").glob("*.sql"):
        path.unlink()
    evidence = migration_lint.vetted(database_stack)
    assert not evidence.verdict.passes
    assert "holds no migration" in evidence.summary


def test_a_deploy_refuses_what_was_not_accepted(
    database_stack: Stack, database: Database, project: Path
) -> None:
    path = _added(project, "truncate public.messages;\n")
    schema = Schema(project, database.dsn, database_stack.providers["supabase"].cli, seed=False)
    before = database.execute("select count(*) from public.messages")
    assert any(f"refuse supabase/migrations/{path.name}:1" in change for change in schema.changes())
    with pytest.raises(DeployError, match="nothing was applied: there are objections") as caught:
        schema.apply(lambda _: None)
    assert f"supabase/migrations/{path.name}:1: truncate: removes every row of public.messages" in str(
        caught.value
    )
    assert database.execute("select count(*) from public.messages") == before == [(3,)]
    path.write_text("-- accept truncate: a test of this very thing\ntruncate public.messages cascade;\n")
    schema.apply(lambda _: None)
    assert database.execute("select count(*) from public.messages") == [(0,)]
