"""Row level security broken for real, table by table, in a database of its own behind a real Data API."""

from __future__ import annotations

import pytest

from harness.checks import rls
from harness.database.findings import Report
from harness.stack import Stack
from tests.pg_fixture import Database
from tests.supabase_proof import holds, refutes

OWN = "(owner_id = (select auth.uid()))"


def test_a_policy_for_everybody_lets_b_read(supabase_stack: Stack, database: Database) -> None:
    database.execute("create policy everybody on public.messages for select to authenticated using (true)")
    found = refutes(rls.reads, supabase_stack, 'policy "everybody" on public.messages', "HTTP 200, 1 rows")
    assert [f.where.partition(" as ")[0] for f in found.findings] == [
        'policy "everybody" on public.messages'
    ]
    assert 'drop policy "everybody" on public.messages;' in found.findings[0].remedy
    database.execute(found.findings[0].remedy)  # the remedy is SQL that heals
    holds(rls.reads, supabase_stack)


def test_a_dropped_policy_hides_the_row_from_its_owner(supabase_stack: Stack, database: Database) -> None:
    database.execute('drop policy "owners read their conversations" on public.conversations')
    found = refutes(rls.reads, supabase_stack, "public.conversations, SELECT as authenticated", "no policy")
    assert len(found.findings) == 1  # messages and attachments cannot be written either, and only follow
    database.execute(found.findings[0].remedy)
    holds(rls.reads, supabase_stack)


def test_a_grant_to_anon_is_seen(supabase_stack: Stack, database: Database) -> None:
    database.execute("grant select on public.profiles to anon")
    database.execute("create policy open on public.profiles for select to anon using (true)")
    refutes(rls.reads, supabase_stack, 'policy "open" on public.profiles as anon', "drop policy")
    refutes(rls.declared, supabase_stack, "anon holds SELECT", 'policy "open" on public.profiles')
    database.execute("revoke all on public.profiles from anon; drop policy open on public.profiles")
    holds(rls.reads, supabase_stack)
    holds(rls.declared, supabase_stack)


def test_a_service_role_without_rights_makes_no_vacuous_pass(
    supabase_stack: Stack, database: Database
) -> None:
    database.execute("revoke select on public.attachments from service_role")
    refutes(rls.reads, supabase_stack, "public.attachments, SELECT as service_role", "no grant")
    database.execute("grant select on public.attachments to service_role")
    holds(rls.reads, supabase_stack)


@pytest.mark.parametrize(
    ("table", "policy"),
    [
        ("conversations", "owners begin conversations"),
        ("messages", "owners write into their conversations"),
        ("attachments", "owners attach to their conversations"),
    ],
)
def test_a_weak_insert_check_lets_b_forge(
    supabase_stack: Stack, database: Database, table: str, policy: str
) -> None:
    written = dict(database.execute("select policyname::text, with_check from pg_policies"))
    checked = written[policy]
    database.execute(f'alter policy "{policy}" on public.{table} with check (true)')
    where = f'policy "{policy}" on public.{table} as authenticated: forged-insert'
    refutes(rls.writes, supabase_stack, where, "with check (true)", "HTTP 201")
    refutes(rls.declared, supabase_stack, f'policy "{policy}" on public.{table}')
    database.execute(f'alter policy "{policy}" on public.{table} with check ({checked})')
    holds(rls.writes, supabase_stack)


def test_row_level_security_off_is_seen_by_every_check(supabase_stack: Stack, database: Database) -> None:
    database.execute("alter table public.attachments disable row level security")
    heal = "alter table public.attachments enable row level security;"
    for check in (rls.reads, rls.writes, rls.unfiltered_writes, rls.declared):
        refutes(check, supabase_stack, "public.attachments", "row level security is off", heal)
    database.execute(heal)
    for check in (rls.reads, rls.writes, rls.unfiltered_writes, rls.declared):
        holds(check, supabase_stack)


def test_a_missing_grant_hinders_the_owner(supabase_stack: Stack, database: Database) -> None:
    database.execute("revoke insert on public.messages from authenticated")
    refutes(
        rls.writes,
        supabase_stack,
        "public.messages, INSERT as authenticated: missing-access",
        "grant insert on public.messages to authenticated;",
    )
    database.execute("grant insert on public.messages to authenticated")
    holds(rls.writes, supabase_stack)


def test_a_delete_policy_for_everybody_is_seen(supabase_stack: Stack, database: Database) -> None:
    database.execute("create policy sweep on public.messages for delete to authenticated using (true)")
    database.execute("create policy peek on public.messages for select to authenticated using (true)")
    refutes(
        rls.writes, supabase_stack, 'policy "sweep" on public.messages as authenticated: foreign-delete'
    )
    database.execute("drop policy sweep on public.messages; drop policy peek on public.messages")
    holds(rls.writes, supabase_stack)


def test_a_weak_update_check_lets_rows_be_given_away(database_stack: Stack, database: Database) -> None:
    policy = '"owners change their conversations" on public.conversations'
    database.execute(f"alter policy {policy} with check (true)")
    where = f"policy {policy} as authenticated: owner-reassigned"
    refutes(rls.unfiltered_writes, database_stack, where, "the row became", "with check (true)")
    database.execute(f"alter policy {policy} with check {OWN}")
    holds(rls.unfiltered_writes, database_stack)


def test_an_update_policy_for_everybody_is_seen_without_a_filter(
    supabase_stack: Stack, database: Database
) -> None:
    """With a filter the SELECT policy would hide it: the false pass that the check avoids."""
    database.execute(
        "create policy all_of_them on public.messages for update to authenticated using (true)"
    )
    refutes(
        rls.unfiltered_writes, supabase_stack, 'policy "all_of_them" on public.messages', "foreign-update"
    )
    refutes(rls.declared, supabase_stack, 'policy "all_of_them" on public.messages')
    database.execute("drop policy all_of_them on public.messages")
    holds(rls.unfiltered_writes, supabase_stack)


def test_probes_leave_nothing_behind(supabase_stack: Stack, database: Database) -> None:
    count = (
        "select (select count(*) from auth.users), (select count(*) from public.conversations),"
        " (select count(*) from public.messages), (select count(*) from public.attachments),"
        " (select count(*) from usage.totals)"
    )
    before = database.execute(count)
    for check in (rls.reads, rls.writes, rls.unfiltered_writes):
        holds(check, supabase_stack)
    assert database.execute(count) == before


def test_a_dead_data_api_is_no_pass(database_stack: Stack) -> None:
    assert rls.reads(database_stack).verdict == "unreachable"


def test_a_weak_update_check_lets_b_give_a_row_away(supabase_stack: Stack, database: Database) -> None:
    database.execute(
        "grant update on public.conversations to authenticated;"
        "create policy weak on public.conversations for update to authenticated"
        f" using {OWN} with check (true);"
        "create policy seen on public.conversations for select to authenticated using (true)"
    )
    report = rls._through_api(supabase_stack, "test", writes=True)
    found = {(one.rule, one.object) for one in report.found}
    assert ("owner-reassigned", 'policy "weak" on public.conversations') in found, report
    assert database.execute("select count(*) from auth.users where email like 'probe-%'") == [(0,)]


def test_what_is_not_tried_over_http_is_said_and_counts_for_nothing(database_stack: Stack) -> None:
    note = "function public.f(): not tried through the Data API: calls that write"
    evidence = rls.evidence_of(database_stack, "12 requests: as declared", Report(notes=[note], probes=12))
    assert evidence.facts["not_over_http"] == [note]
    assert evidence.facts["probes"] == 12
    assert evidence.summary == "12 requests: as declared; 1 not tried over HTTP"


def test_a_view_that_shows_everything_is_seen_with_its_request(
    supabase_stack: Stack, database: Database
) -> None:
    """The project's own view, which filters by itself, without its filter."""
    (definition,) = database.execute("select pg_get_viewdef('public.my_usage'::regclass)")[0]
    assert "where" in definition.lower()
    opened = definition[: definition.lower().index("where")]
    database.execute(f"create or replace view public.my_usage as {opened}")
    refutes(rls.reads, supabase_stack, "public.my_usage as", "view-bypasses-rls", "GET /rest/v1/my_usage?")
    database.execute(f"create or replace view public.my_usage as {definition}")
    holds(rls.reads, supabase_stack)
