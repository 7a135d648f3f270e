"""Rows that triggers and rules make of what was written, and a service that lost what it needs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.negative.test_database_proof import PETS, PETS_DECLARED, told

Bare = Callable[[str], str]
WALL = """
create table public.wall (id bigint generated always as identity primary key, keeper uuid, line text);
alter table public.wall enable row level security;
create policy seen on public.wall for select to authenticated using ({});
grant select on public.wall to authenticated;
create function public.post() returns trigger language plpgsql security definer set search_path = '' as
$$ declare it record;
begin if tg_op = 'DELETE' then it := old; else it := new; end if; {} return it; end $$;
revoke all on function public.post() from public;
create trigger post after insert or update or delete on public.pets
    for each row execute function public.post();
"""
COPY = "insert into public.wall (keeper, line) values (it.keeper, it.name);"
WALL_DECLARED = PETS_DECLARED + "  public.wall: {rules: [{who: signed-in, may: [select]}]}\n"
OWN_WALL = PETS_DECLARED + "  public.wall: {owner: keeper, may: [select]}\n"


def wall(body: str, who: str = "true") -> str:
    return PETS + WALL.format(who, body)


@pytest.mark.parametrize(
    "body",
    [
        COPY,
        "execute 'insert into public.wall (line) values ($1)' using it.name;",
        "if tg_op = 'UPDATE' then insert into public.wall (line) values ('was ' || new.name); end if;",
        "if tg_op = 'DELETE' then insert into public.wall (line) values (old.name); end if;",
    ],
    ids=["everything", "put together", "updates", "deletes"],
)
def test_what_is_copied_to_where_others_read_it_is_found(bare: Bare, body: str) -> None:
    report, said = told(bare(wall(body)), WALL_DECLARED)
    assert [one.key for one in report.found] == [("copy-leaks", "function public.post()")], said
    assert "then authenticated (B): select from public.wall: saw" in report.found[0].proofs[0]
    assert "public.pets into public.wall" in said


@pytest.mark.parametrize(
    ("body", "who", "declared"),
    [
        (COPY, "keeper = auth.uid()", OWN_WALL),
        ("insert into public.wall (line) values (tg_op);", "true", WALL_DECLARED),
        (COPY, "true", WALL_DECLARED.replace("may: all", "may: all, copied: true")),
        (
            COPY,
            "true",
            WALL_DECLARED.replace(
                "{owner: keeper, may: all}",
                "{rules: [{who: signed-in, may: [select]}, {who: owner, by: keeper, may: all}]}",
            ),
        ),
    ],
    ids=["a copy of one's own", "nothing of the row", "declared", "everybody reads the source"],
)
def test_a_copy_that_tells_nobody_anything_is_silent(
    bare: Bare, body: str, who: str, declared: str
) -> None:
    opened = "create policy all_of_them on public.pets for select to authenticated using (true);"
    sql = wall(body, who) + (opened if "{who: signed-in, may: [select]}, " in declared else "")
    report, said = told(bare(sql), declared)
    assert report.holds, said


def test_what_is_put_where_anyone_may_read_is_meant_for_anyone(bare: Bare) -> None:
    opened = "create policy everybody on public.wall for select to anon using (true);"
    sql = wall(COPY, "true") + opened + "grant select on public.wall to anon;"
    report, said = told(bare(sql), PETS_DECLARED + "  public.wall: {public: true}\n")
    assert report.holds, said


def test_what_a_second_trigger_copies_further_is_found(bare: Bare) -> None:
    further = """
    create table public.board (id bigint generated always as identity primary key, line text);
    alter table public.board enable row level security;
    create policy seen on public.board for select to authenticated using (true);
    grant select on public.board to authenticated;
    create function public.pin() returns trigger language plpgsql security definer set search_path = '' as
    $$ begin insert into public.board (line) values (new.line); return new; end $$;
    revoke all on function public.pin() from public;
    create trigger pin after insert on public.wall for each row execute function public.pin();
    """
    declared = OWN_WALL + "  public.board: {rules: [{who: signed-in, may: [select]}]}\n"
    _, said = told(bare(wall(COPY, "keeper = auth.uid()") + further), declared)
    assert (
        "copy-leaks function public.post() it copies what is written to public.pets into public.board"
        in said
    )


def test_a_trigger_that_takes_rows_of_others_away_is_named_and_nothing_else(bare: Bare) -> None:
    sql = wall("", "keeper = auth.uid()").replace("or delete on public.pets", "or delete on public.wall")
    sql = sql.replace("end if;", "end if; delete from public.pets;")
    report, said = told(bare(sql), OWN_WALL)
    assert [one.key for one in report.found] == [("trigger-escalates", "function public.post()")], said


def test_what_leaves_rows_as_it_made_them_before_is_still_found(bare: Bare) -> None:
    """When B's row was planted, A's became what it becomes again now: only a mark tells."""
    sql = wall("", "keeper = auth.uid()").replace("or delete on public.pets", "or delete on public.wall")
    sql = sql.replace("end if;", "end if; update public.pets set name = 'Rex';")
    write = "create policy put on public.wall for insert to authenticated with check (keeper = auth.uid());"
    declared = OWN_WALL.replace("keeper, may: [select]", "keeper, may: [select, insert]")
    sql += write + "grant insert on public.wall to authenticated;"
    report, said = told(bare(sql), declared)
    assert [one.key for one in report.found] == [("trigger-escalates", "function public.post()")], said


def test_a_rule_that_loses_what_its_owner_writes_is_named(bare: Bare) -> None:
    for command in ("insert", "update", "delete"):
        rule = f"create rule lost as on {command} to public.pets do instead nothing;"
        report, said = told(bare(PETS + rule), PETS_DECLARED)
        assert [one.key for one in report.found] == [("rule-loses-rows", 'rule "lost" on public.pets')], (
            said
        )
        assert "drop rule lost on public.pets;" in report.found[0].fix
        only = PETS_DECLARED.replace("all", "[select]")
        grant = "revoke insert, update, delete on public.pets from authenticated;"
        report, said = told(bare(PETS + rule + grant), only)
        assert not report.found, said  # nobody may write it anyway


SAFE = """
create table public.safe (id bigint generated always as identity primary key, what text);
alter table public.safe enable row level security;
grant select, insert, update, delete on public.pets to service_role;
"""


@pytest.mark.parametrize(
    ("sql", "declared", "lacks"),
    [
        ("", "{service_only: true}", ["public.safe, SELECT", "public.safe, INSERT"]),
        ("grant select on public.safe to service_role", "{service_only: true}", ["public.safe, INSERT"]),
        ("grant insert on public.safe to service_role", "{service_only: true}", ["public.safe, SELECT"]),
        ("grant select, insert on public.safe to service_role", "{service_only: true}", []),
        (
            "grant select, insert on public.safe to service_role;"
            "revoke all on public.pets from service_role",
            "{service_only: true}",
            [],
        ),
        ("revoke all on public.pets from service_role", "{service_only: true}", []),
        (
            "grant select, insert on public.safe to service_role",
            "{rules: [{who: service_role, may: [select, insert, delete]}]}",
            ["public.safe, DELETE"],
        ),
        (
            "grant select, insert on public.safe to service_role",
            "{rules: [{who: service_role, may: [select, insert]}]}",
            [],
        ),
    ],
)
def test_a_service_that_lacks_what_is_its_own_is_said(
    bare: Bare, sql: str, declared: str, lacks: list[str]
) -> None:
    """Where the service role is not used at all (the sixth), it has lost nothing."""
    report, said = told(bare(PETS + SAFE + sql), PETS_DECLARED + f"  public.safe: {declared}\n")
    assert sorted(one.object for one in report.found) == sorted(lacks), said
    assert all(one.rule == "missing-access" and one.roles == ("service_role",) for one in report.found), (
        said
    )
