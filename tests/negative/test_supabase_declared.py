"""What the Data API exposes, changed for real: the catalog's readers and the CLI's advisors notice."""

from __future__ import annotations

import pytest

from harness.checks import rls
from harness.stack import Stack
from tests.pg_fixture import Database
from tests.supabase_proof import holds, refutes


def test_a_view_with_its_owners_rights_is_named(database_stack: Stack, database: Database) -> None:
    database.execute("create view public.everything as select * from public.messages")
    database.execute("grant select on public.everything to authenticated")
    refutes(
        rls.declared,
        database_stack,
        "public.everything",
        "alter view public.everything set (security_invoker = true);",
        "with the rights of postgres",
    )
    database.execute("drop view public.everything")
    holds(rls.declared, database_stack)


def test_a_materialized_view_is_named(database_stack: Stack, database: Database) -> None:
    database.execute("create materialized view public.copied as select * from public.messages")
    database.execute("grant select on public.copied to authenticated")
    refutes(rls.declared, database_stack, "public.copied", "a materialized view has no row level security")
    database.execute("drop materialized view public.copied")
    holds(rls.declared, database_stack)


def test_a_definer_function_is_named(database_stack: Stack, database: Database) -> None:
    database.execute(
        "create function public.leak() returns setof public.messages language sql security definer"
        " as 'select * from public.messages'"
    )
    refutes(rls.declared, database_stack, "function public.leak()", "anon, authenticated may call it")
    database.execute("drop function public.leak()")
    holds(rls.declared, database_stack)


@pytest.mark.parametrize(
    ("change", "culprit"),
    [
        ("grant truncate on public.messages to authenticated", "authenticated holds TRUNCATE"),
        ("grant update (title) on public.conversations to anon", "anon holds UPDATE"),
        ("create table public.forgotten (id int)", "public.forgotten"),
    ],
)
def test_more_than_is_declared_is_named(
    database_stack: Stack, database: Database, change: str, culprit: str
) -> None:
    database.execute(change)
    refutes(rls.declared, database_stack, culprit)


def test_a_policy_that_trusts_user_metadata_is_named(database_stack: Stack, database: Database) -> None:
    database.execute(
        "create policy staff on public.messages for select to authenticated"
        " using ((auth.jwt() -> 'user_metadata' ->> 'staff') = 'yes')"
    )
    refutes(rls.declared, database_stack, 'policy "staff" on public.messages', "user_metadata")
    database.execute("drop policy staff on public.messages")
    holds(rls.declared, database_stack)


def test_an_or_that_opens_a_policy_is_named(database_stack: Stack, database: Database) -> None:
    policy = '"owners read their messages" on public.messages'
    database.execute(f"alter policy {policy} using (owner_id = (select auth.uid()) or role = 'system')")
    refutes(rls.declared, database_stack, f"policy {policy}")
    database.execute(f"alter policy {policy} using (owner_id = (select auth.uid()))")
    holds(rls.declared, database_stack)


def test_the_advisors_warn(database_stack: Stack, database: Database) -> None:
    holds(rls.advised, database_stack)
    database.execute("alter table public.profiles disable row level security")
    refutes(rls.advised, database_stack, "public.profiles", "rls_disabled_in_public")


def test_advisors_that_cannot_run_are_no_pass(database_stack: Stack, database: Database) -> None:
    database_stack.providers["supabase"].cli.executable = database_stack.root / "no-such-program"
    assert rls.advised(database_stack).verdict == "blocked"
