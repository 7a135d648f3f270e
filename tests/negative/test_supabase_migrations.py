"""Migration histories that went wrong, each for real in a database and a project of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.checks import migration_trials, migrations
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
    new = project / "migrations" / "29990101000000_later.sql"
    new.write_text("create table public.later (id int);\n")
    refutes(migrations.recorded, database_stack, new.name, "not applied")
    late = project / "migrations" / "20261101000250_between.sql"
    new.rename(late)
    refutes(migrations.recorded, database_stack, late.name, "not applied")
    late.unlink()
    holds(migrations.recorded, database_stack)


def test_an_applied_migration_that_was_moved_is_named(database_stack: Stack, project: Path) -> None:
    """Another order: its version is unknown now, and the one it has was never applied."""
    second = sorted((project / "migrations").glob("*.sql"))[1]
    moved = second.with_name("20261101000050_conversations.sql")
    second.rename(moved)
    refutes(
        migrations.recorded, database_stack, f"{second.stem} has no file", f"{moved.name}", "not applied"
    )
    schema = Schema(
        project, database_stack.database_dsn, database_stack.providers["supabase"].cli, seed=False
    )
    with pytest.raises(DeployError, match="20261101000050_conversations is older than what is applied"):
        schema.apply(lambda _: None)


def test_a_change_by_hand_is_drift(database_stack: Stack, database: Database) -> None:
    database.execute("alter table public.profiles add column added_by_hand text")
    refutes(migration_trials.from_scratch, database_stack, "live schema", "added_by_hand")
    database.execute("alter table public.profiles drop column added_by_hand")
    holds(migration_trials.from_scratch, database_stack)


def test_a_migration_that_fails_is_seen(database_stack: Stack, project: Path) -> None:
    """Such as DDL on storage.*, which a hosted project refuses, and so does the embedded baseline."""
    bad = project / "migrations" / "29990101000000_bad.sql"
    bad.write_text(
        "create table public.half (id int);\nalter table storage.objects add column mine text;\n"
    )
    refutes(migration_trials.from_scratch, database_stack, "must be owner of storage.objects")


def test_a_migration_dated_in_the_future_is_seen(database_stack: Stack, project: Path) -> None:
    future = project / "migrations" / "29991231000000_future.sql"
    future.write_text("select 1;\n")
    refutes(migrations.created, database_stack, "supabase migration new", "dated in the future")


def test_a_reverse_that_leaves_something_behind_is_named(database_stack: Stack, project: Path) -> None:
    rollback = sorted((project / "rollbacks").glob("*.sql"))[1]
    rollback.write_text(rollback.read_text().replace("drop function public.touch_updated_at();", ""))
    refutes(migration_trials.reversible, database_stack, rollback.name, "touch_updated_at")


def test_a_missing_reverse_is_named(database_stack: Stack, project: Path) -> None:
    rollback = sorted((project / "rollbacks").glob("*.sql"))[-1]
    rollback.unlink()
    refutes(
        migration_trials.reversible, database_stack, f"supabase/rollbacks/{rollback.name}", "there is none"
    )


def _added(project: Path, text: str, reverse: str = "select 1;") -> Path:
    path = project / "migrations" / "29990101000000_added.sql"
    path.write_text(text)
    (project / "rollbacks" / path.name).write_text(reverse)
    return path


def test_a_bucket_changed_by_hand_is_drift(database_stack: Stack, database: Database) -> None:
    """A dump of the schema, and so the CLI's own comparison, does not see rows."""
    database.execute("update storage.buckets set public = true where id = 'attachments'")
    refutes(migration_trials.from_scratch, database_stack, "live schema: bucket attachments", "public=t")
    database.execute("update storage.buckets set public = false where id = 'attachments'")
    holds(migration_trials.from_scratch, database_stack)


def test_a_grant_by_hand_is_drift(database_stack: Stack, database: Database) -> None:
    database.execute("grant select on public.messages to anon")
    refutes(migration_trials.from_scratch, database_stack, "relation r public.messages", "anon=r/postgres")
    database.execute("revoke select on public.messages from anon")
    database.execute('alter policy "owners read their messages" on public.messages using (true)')
    refutes(
        migration_trials.from_scratch, database_stack, 'policy public.messages."owners read their messages"'
    )


def test_the_order_of_grants_is_no_drift(database_stack: Stack, database: Database) -> None:
    database.execute("revoke all on public.messages from authenticated")
    database.execute("grant select, insert, update, delete on public.messages to authenticated")
    holds(migration_trials.from_scratch, database_stack)


def test_a_migration_that_only_suits_empty_tables_is_named(database_stack: Stack, project: Path) -> None:
    path = _added(project, "alter table public.messages add column language text not null;")
    refutes(migration_trials.on_top, database_stack, path.stem, 'column "language"', "contains null values")
    path.write_text("alter table public.messages add column language text not null default 'en';")
    holds(migration_trials.on_top, database_stack)


def test_a_migration_that_loses_rows_is_named(database_stack: Stack, project: Path) -> None:
    _added(project, "delete from public.messages where role = 'assistant';")
    refutes(migration_trials.on_top, database_stack, "3 rows in public.messages", "2 rows")


def test_a_schema_that_depends_on_the_way_is_named(database_stack: Stack, project: Path) -> None:
    """Where rows were, it makes another table than in an empty project."""
    _added(
        project,
        "do $$ begin if exists (select from public.messages) then"
        " alter table public.messages add column language text; end if; end $$;",
    )
    refutes(migration_trials.on_top, database_stack, "column public.messages.language", "what is applied")


def test_a_previous_release_that_was_edited_is_named(
    database_stack: Stack, database: Database, project: Path
) -> None:
    _added(project, "alter table public.messages add column language text;")
    database.execute(
        "update supabase_migrations.schema_migrations set statements = array_append(statements,"
        " 'alter table public.profiles add column nickname text') where name = 'profiles'"
    )
    refutes(migration_trials.on_top, database_stack, "profiles was edited after it had been applied")


def test_a_reverse_that_loses_rows_is_named(database_stack: Stack, project: Path) -> None:
    path = _added(
        project,
        "alter table public.messages add column language text;",
        "alter table public.messages drop column language; delete from public.messages;",
    )
    refutes(migration_trials.reversible, database_stack, path.name, "3 rows in public.messages", "0 rows")


def test_a_migration_that_cannot_be_applied_again_is_named(database_stack: Stack, project: Path) -> None:
    """Its reverse leaves something that no catalog of schemas shows: a row that it inserts again."""
    path = _added(project, "insert into usage.switches values ('web', true, null, now());")
    refutes(migration_trials.reversible, database_stack, f"{path.name}", "violates check constraint")
    path.write_text("update usage.switches set open = true where name = 'instant';")
    holds(migration_trials.reversible, database_stack)


def test_a_reverse_that_leaves_other_values_is_named(database_stack: Stack, project: Path) -> None:
    path = _added(
        project,
        "update public.messages set content = upper(content);",
        "update public.messages set content = lower(content);",
    )
    refutes(
        migration_trials.reversible,
        database_stack,
        f"supabase/rollbacks/{path.name}",
        "the same values in public.messages",
    )


def test_rows_that_a_reverse_leaves_behind_are_named(database_stack: Stack, project: Path) -> None:
    _added(
        project,
        "insert into public.messages (conversation_id, owner_id, role, content)"
        " select conversation_id, owner_id, role, content from public.messages limit 1;",
    )
    refutes(
        migration_trials.reversible,
        database_stack,
        "the same values in public.messages",
        "4 rows, not all as before",
    )


def test_rows_that_cannot_be_restored_are_conceded_as_well(database_stack: Stack, project: Path) -> None:
    conceded = "-- not restored: public.messages: they were deleted for good"
    _added(project, "delete from public.messages where role = 'assistant';", f"{conceded}\nselect 1;")
    holds(migration_trials.reversible, database_stack)


def test_values_that_cannot_be_restored_are_conceded_where_it_is_so(
    database_stack: Stack, project: Path
) -> None:
    conceded = "-- not restored: public.messages: nobody knows which letters were capitals\nselect 1;"
    path = _added(project, "update public.messages set content = upper(content);", conceded)
    holds(migration_trials.reversible, database_stack)
    assert "nobody knows which letters were capitals" in migration_trials.reversible(database_stack).summary
    path.write_text("select 1;")  # nothing is lost: the concession would hide what a later edit loses
    refutes(migration_trials.reversible, database_stack, "other values in public.messages", "the same")


def test_a_migration_outside_a_transaction_can_be_tried(database_stack: Stack, project: Path) -> None:
    _added(
        project,
        "create index concurrently messages_role on public.messages (role);",
        "drop index concurrently public.messages_role;",
    )
    holds(migration_trials.reversible, database_stack)
    holds(migration_trials.on_top, database_stack)
