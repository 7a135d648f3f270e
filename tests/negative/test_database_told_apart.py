"""What trying would notice the loss of, and what becomes of a change where it would not."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from harness.database.check import Options, check_connection
from harness.database.declaration import Declaration, parse
from harness.database.declare import declared_text
from harness.database.told_apart import told_apart
from harness.providers.selfhosted.bootstrap import scratch_database
from tests.negative.test_database_written_from import SCHEMA
from tests.pg_fixture import Cluster

SPOTS = """
create table public.boards (
    id bigint generated always as identity primary key, person uuid not null default auth.uid(),
    gone boolean not null default false, code text);
alter table public.boards enable row level security;
create function app.mine(who uuid) returns boolean language sql stable set search_path = '' as
    'select who = auth.uid()';
grant execute on function app.mine to authenticated;
create policy plain on public.boards for select to authenticated using (app.mine(person) and not gone);
create policy spot on public.boards for update to authenticated using (
    person = auth.uid() or person <> auth.uid() and md5(code) like '00000%' and md5(code) like '%00000');
create view public.own_boards with (security_barrier) as
    select id, person from public.boards where person = auth.uid();
grant select, update on public.boards to authenticated; grant select on public.own_boards to authenticated;
"""
BOARDS = """
schemas: [public]
tables:
  public.notes: {owner: person, may: [select]}
  public.plans: {owner: person, may: all}
  public.boards:
    rules:
      - {who: owner, by: person, may: [select], where: not gone}
      - {who: owner, by: person, may: [update]}
  public.own_boards: {rights: owner, rules: [{who: own, may: [select]}]}
"""


def test_what_trying_would_not_notice_is_known(bare: Callable[[str], str]) -> None:
    dsn = bare(SCHEMA + SPOTS)
    before = "select array_agg(p order by polname, polrelid)::text from pg_policy p"
    with psycopg.connect(dsn) as connection:
        was = connection.execute(before).fetchone()
        apart = told_apart(connection, parse(BOARDS), seconds=60)
        assert connection.execute(before).fetchone() == was
        assert connection.execute("select count(*) from public.boards").fetchone() == (0,)
    noticed = {name for name, unnoticed in apart.items() if not unnoticed}
    assert noticed >= {
        'policy "own" on public.plans',
        'policy "plain" on public.boards',
        "function app.mine(uuid)",
        "view public.own_boards",
    }
    assert apart['policy "spot" on public.boards'] == (
        "using and with check: … or auth.uid() <> person",
        "using and with check: … or md5(code) ~~ CAST('%00000' AS text)",
        "using and with check: … or md5(code) ~~ CAST('00000%' AS text)",
    )
    assert 'policy "own" on public.notes' not in noticed


def test_in_no_time_nothing_is_known(bare: Callable[[str], str]) -> None:
    with psycopg.connect(bare(SCHEMA + SPOTS)) as connection:
        apart = told_apart(connection, parse(BOARDS), seconds=0)
        assert apart['policy "own" on public.plans'] == ("using and with check: auth.uid() = person",)
        assert apart["function app.mine(uuid)"] == ("auth.uid() = who",)
        assert all(apart.values())


@pytest.fixture(scope="module")
def declared_boards(cluster: Cluster) -> Iterator[tuple[str, Declaration]]:
    with scratch_database(cluster.dsn(), "boards") as dsn:
        with psycopg.connect(dsn) as connection:
            connection.execute((SCHEMA + SPOTS).encode())
        yield dsn, parse(declared_text(dsn, seconds=60))


def test_what_trying_would_notice_may_be_written_otherwise(
    declared_boards: tuple[str, Declaration],
) -> None:
    dsn, written = declared_boards
    blind = {name for name, then in written.written_from.items() if then.blind}
    assert 'policy "spot" on public.boards' in blind
    assert 'policy "plain" on public.boards' not in blind
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "alter policy plain on public.boards using ((not gone and app.mine(person)) is true)"
        )
        report = check_connection(connection, written, Options())
        assert report.found == [], report
        connection.rollback()


SPOT = "person <> auth.uid() and md5(code) like '00000%'"
BOTH = f"{SPOT} and md5(code) like '%00000'"
REPLACED = (
    "drop policy spot on public.boards; create policy other on public.boards for update to authenticated"
)


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        (f"alter policy spot on public.boards using (person = auth.uid() or {SPOT})", "'%00000'"),
        (f"{REPLACED} using (person = auth.uid() or {SPOT})", "'%00000'"),
        (
            f"alter policy spot on public.boards with check (person = auth.uid() or {SPOT})",
            "with check: … or md5(code) ~~ CAST('%00000'",
        ),
        ("alter policy spot on public.boards using (person = auth.uid())", "person"),
    ],
)
def test_the_loss_of_what_trying_would_not_notice_is_named(
    declared_boards: tuple[str, Declaration], change: str, gone: str
) -> None:
    dsn, declaration = declared_boards
    with psycopg.connect(dsn) as connection:
        connection.execute(change.encode())
        (found,) = check_connection(connection, declaration, Options()).found
        connection.rollback()
    assert (found.rule, found.object) == ("changed-unproven", 'policy "spot" on public.boards')
    assert "trying would not notice that a condition is missing now: " in found.what
    assert gone in found.what


@pytest.mark.parametrize(
    "change",
    [
        f"alter policy spot on public.boards using (auth.uid() = person or {BOTH})",
        f"{REPLACED} using (auth.uid() = person or {BOTH} and not gone)",
        "drop policy spot on public.boards; revoke update on public.boards from authenticated",
    ],
)
def test_where_the_condition_is_still_there_the_rest_may_be_written_otherwise(
    declared_boards: tuple[str, Declaration], change: str
) -> None:
    dsn, declaration = declared_boards
    with psycopg.connect(dsn) as connection:
        connection.execute(change.encode())
        report = check_connection(connection, declaration, Options())
        connection.rollback()
    assert [one for one in report.found if one.rule == "changed-unproven"] == [], report


def test_a_function_that_no_longer_runs_with_its_callers_rights_is_named(
    bare: Callable[[str], str],
) -> None:
    adds = """create function public.add(given text) returns void language plpgsql
        set search_path = '' as $$
        begin execute 'insert into public.plans default values' using given; end $$;
        grant execute on function public.add to authenticated;"""
    dsn = bare(SCHEMA + adds)
    written = parse(declared_text(dsn, seconds=60))
    assert written.written_from["function public.add(text)"].blind == ("its caller's rights",)
    with psycopg.connect(dsn) as connection:
        connection.execute("alter function public.add security definer")
        report = check_connection(connection, written, Options())
        connection.rollback()
    (found,) = [one for one in report.found if one.rule == "changed-unproven"]
    assert found.object == "function public.add(text)"
    assert "its caller's rights" in found.what


ENTRIES = """
create table public.entries (
    id bigint generated always as identity primary key,
    person uuid not null references auth.users on delete cascade, text text);
alter table public.entries enable row level security;
create policy own on public.entries for all to authenticated using (person = auth.uid());
grant select, insert on public.entries to authenticated;
create function public.mine() returns setof public.entries language sql stable set search_path = '' as
    'select * from public.entries';
create function public.add_all(who uuid, items jsonb) returns integer language sql set search_path = '' as
    $$ with made as (insert into public.entries (person, text)
        select who, i ->> 'text' from jsonb_array_elements(items) i returning 1)
    select count(*)::integer from made $$;
grant execute on function public.mine, public.add_all to authenticated;
"""


@pytest.mark.parametrize(
    ("change", "culprit"),
    [
        ("alter function public.add_all security definer", "function public.add_all(uuid, jsonb)"),
        ("alter function public.mine security definer", "function public.mine()"),
        (
            "create or replace function public.mine() returns setof public.entries language sql stable"
            " security definer set search_path = '' as"
            " 'select * from public.entries where person = auth.uid()'",
            None,
        ),
    ],
)
def test_what_a_function_gives_with_its_owners_rights_is_tried(
    bare: Callable[[str], str], change: str, culprit: str | None
) -> None:
    dsn = bare(ENTRIES)
    written = parse(declared_text(dsn, seconds=60))
    assert not written.written_from["function public.mine()"].blind
    with psycopg.connect(dsn) as connection:
        connection.execute(change.encode())
        report = check_connection(connection, written, Options())
        connection.rollback()
    assert {(one.rule, one.object) for one in report.found} == (
        {("function-leaks", culprit)} if culprit else set()
    ), report


GUARDED = """
create function public.guarded() returns trigger language plpgsql set search_path = '' as $$
begin if md5(new.code) like '0000%' then raise exception 'no' using errcode = '42501'; end if;
    return new; end $$;
create trigger guarded before update on public.boards for each row execute function public.guarded();
"""


@pytest.mark.parametrize(
    ("change", "culprit"),
    [
        ("drop function public.guarded cascade", "function public.guarded()"),
        ("drop trigger guarded on public.boards", 'trigger "guarded" on public.boards'),
        ("alter table public.boards disable trigger guarded", 'trigger "guarded" on public.boards'),
        (
            "drop trigger guarded on public.boards; create trigger guarded before update of code"
            " on public.boards for each row execute function public.guarded()",
            'trigger "guarded" on public.boards',
        ),
        ("alter function public.guarded rename to guarding", None),
        ("alter trigger guarded on public.boards rename to guards", None),
    ],
)
def test_a_guard_that_is_gone_is_named(
    bare: Callable[[str], str], change: str, culprit: str | None
) -> None:
    dsn = bare(SCHEMA + SPOTS + GUARDED)
    written = parse(declared_text(dsn, seconds=60))
    assert written.written_from["function public.guarded()"].blind
    triggers = [name for name in written.written_from if name.startswith("trigger ")]
    assert triggers == ['trigger "guarded" on public.boards']  # none of the platform's
    with psycopg.connect(dsn) as connection:
        connection.execute(change.encode())
        report = check_connection(connection, written, Options())
        connection.rollback()
    found = [one.object for one in report.found if one.rule == "changed-unproven"]
    assert found[:1] == ([culprit] if culprit else []), report


def test_declaring_leaves_nothing_behind(bare: Callable[[str], str]) -> None:
    dsn = bare(SCHEMA + SPOTS)
    rows = "select (select count(*) from auth.users), (select count(*) from public.boards)"
    definitions = "select array_agg(p order by polname, polrelid)::text from pg_policy p"
    with psycopg.connect(dsn) as connection:
        before = [connection.execute(query).fetchone() for query in (rows, definitions)]
    for seconds in (0.0, 60.0):
        declared_text(dsn, seconds=seconds)
        with psycopg.connect(dsn) as connection:
            assert [connection.execute(query).fetchone() for query in (rows, definitions)] == before


FOLDERS = """
create table public.seats (
    org uuid not null, person uuid not null references auth.users on delete cascade,
    primary key (org, person));
create table public.folders (
    id uuid primary key default gen_random_uuid(), org uuid not null, title text not null default 'a');
create schema app; grant usage on schema app to authenticated;
create function app.seated(o uuid) returns boolean language sql stable security definer set search_path = ''
    as 'select exists (select from public.seats s where s.org = o and s.person = auth.uid())';
grant execute on function app.seated to authenticated;
alter table public.seats enable row level security; alter table public.folders enable row level security;
create policy see on public.folders for select to authenticated using (app.seated(org));
create policy edit on public.folders for update to authenticated
    using (app.seated(org)) with check (app.seated(org));
grant select, update (title) on public.folders to authenticated;
"""


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ("alter policy edit on public.folders using (true) with check (true)", {"foreign-update"}),
        ("alter policy edit on public.folders using (app.seated(org) is true)", set()),
    ],
)
def test_what_each_clause_makes_up_for_is_not_blind(
    bare: Callable[[str], str], change: str, kinds: set[str]
) -> None:
    dsn = bare(FOLDERS)
    written = parse(declared_text(dsn, seconds=60))
    assert not written.written_from['policy "edit" on public.folders'].blind
    with psycopg.connect(dsn) as connection:
        connection.execute(change.encode())
        report = check_connection(connection, written, Options())
        connection.rollback()
    assert {one.rule for one in report.found} == kinds, report
