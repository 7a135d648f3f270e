"""Migration histories that went wrong, each for real in a database and a project of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.checks import migrations
from harness.errors import DeployError
from harness.providers.schema import Schema
from harness.stack import Stack
from tests.pg_fixture import Database
from tests.supabase_proof import holds, refutes


def _first(project: Path, folder: str = "migrations") -> Path:
    return sorted((project / folder).glob("*.sql"))[0]


def test_an_edited_migration_is_named(database_stack: Stack, project: Path) -> None:
    path = _first(project)
    text = path.read_text()
    path.write_text(text.replace("<= 80", "<= 90"))
    refutes(migrations.recorded, database_stack, path.name, "edited", "90")
    schema = Schema(
        project, database_stack.database_dsn, database_stack.providers["supabase"].cli, seed=False
    )
    with pytest.raises(DeployError, match="was edited after it had been applied"):
        schema.apply(lambda _: None)
    path.write_text(text + "\n\n")  # white space is no edit
    holds(migrations.recorded, database_stack)


def test_a_version_without_a_file_is_named(database_stack: Stack, database: Database) -> None:
    database.execute(
        "insert into supabase_migrations.schema_migrations (version, name, statements)"
        " values ('20261102000000', 'by_hand', array['select 1'])"
    )
    refutes(migrations.recorded, database_stack, "20261102000000_by_hand has no file", "migration repair")
    database.execute("delete from supabase_migrations.schema_migrations where name = 'by_hand'")
    holds(migrations.recorded, database_stack)


def test_a_migration_that_was_not_applied_is_named(database_stack: Stack, project: Path) -> None:
    new = project / "migrations" / "20261103000000_later.sql"
    new.write_text("create table public.later (id int);\n")
    refutes(migrations.recorded, database_stack, new.name, "not applied")
    late = project / "migrations" / "20261101000250_between.sql"
    new.rename(late)
    refutes(migrations.recorded, database_stack, late.name, "not applied")
    late.unlink()
    holds(migrations.recorded, database_stack)


def test_a_change_by_hand_is_drift(database_stack: Stack, database: Database) -> None:
    database.execute("alter table public.profiles add column added_by_hand text")
    refutes(migrations.from_scratch, database_stack, "live schema", "added_by_hand")
    database.execute("alter table public.profiles drop column added_by_hand")
    holds(migrations.from_scratch, database_stack)


def test_a_migration_that_fails_is_seen(database_stack: Stack, project: Path) -> None:
    """Such as DDL on storage.*, which a hosted project refuses, and so does the embedded baseline."""
    bad = project / "migrations" / "20261103000000_bad.sql"
    bad.write_text(
        "create table public.half (id int);\nalter table storage.objects add column mine text;\n"
    )
    refutes(migrations.from_scratch, database_stack, "must be owner of storage.objects")


def test_a_migration_dated_in_the_future_is_seen(database_stack: Stack, project: Path) -> None:
    future = project / "migrations" / "29991231000000_future.sql"
    future.write_text("select 1;\n")
    refutes(migrations.created, database_stack, "supabase migration new", "dated in the future")


def test_a_reverse_that_leaves_something_behind_is_named(database_stack: Stack, project: Path) -> None:
    rollback = sorted((project / "rollbacks").glob("*.sql"))[1]
    rollback.write_text(rollback.read_text().replace("drop function public.touch_updated_at();", ""))
    refutes(migrations.reversible, database_stack, rollback.name, "touch_updated_at")


def test_a_missing_reverse_is_named(database_stack: Stack, project: Path) -> None:
    rollback = sorted((project / "rollbacks").glob("*.sql"))[-1]
    rollback.unlink()
    refutes(migrations.reversible, database_stack, f"supabase/rollbacks/{rollback.name}", "there is none")
