"""Rows that have to satisfy more than types: made up without a word in the declaration."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.database.check import check
from harness.database.declaration import parse

ME = "uuid not null default auth.uid() references auth.users"
ID = "id uuid primary key default gen_random_uuid()"
OWN = """
alter table public.{0} enable row level security;
create policy own on public.{0} for all to authenticated using (me = auth.uid());
grant select, insert, delete on public.{0} to authenticated;
"""
DECLARED = "  public.{0}: {{owner: me, may: [select, insert, delete]}}\n"

CASES = {
    "one of two": (
        f"create table public.songs ({ID}, me {ME}); create table public.books ({ID}, me {ME});"
        f"create table public.stars ({ID}, me {ME}, song uuid references public.songs,"
        " book uuid references public.books, check (num_nonnulls(song, book) = 1));",
        ("songs", "books", "stars"),
    ),
    "two different users": (
        f"create table public.gifts ({ID}, me {ME}, other uuid not null references auth.users,"
        " check (me <> other));",
        ("gifts",),
    ),
    "intervals that exclude each other": (
        f"create table public.stays ({ID}, me {ME}, begins timestamptz not null, ends timestamptz not null,"
        " check (ends > begins), check (ends - begins <= interval '8 hours'),"
        " exclude using gist (tstzrange(begins, ends) with &&));",
        ("stays",),
    ),
    "a circle that is looked at in the end": (
        f"create table public.firms ({ID}, me {ME}, head uuid not null);"
        f"create table public.staff ({ID}, me {ME},"
        " firm uuid not null references public.firms deferrable initially deferred);"
        "alter table public.firms add foreign key (head) references public.staff deferrable;"
        f"create table public.trees ({ID}, me {ME}, root uuid not null references public.trees);",
        ("firms", "staff", "trees"),
    ),
    "documents with keys": (
        f"create table public.forms ({ID}, me {ME},"
        " body jsonb not null check (jsonb_typeof(body) = 'object' and body ? 'title'));",
        ("forms",),
    ),
    "no more than one": (
        f"create table public.votes ({ID}, me {ME} unique);",
        ("votes",),
    ),
    "patterns": (
        f"create table public.tags ({ID}, me {ME}, slug text not null unique"
        " check (slug ~ '^[a-z]{2}(-[0-9]{1,3})?$'), code text not null unique check (code like 'T-%'));",
        ("tags",),
    ),
}


@pytest.mark.parametrize("case", CASES, ids=lambda name: name.replace(" ", "-"))
def test_rows_are_made_up(bare: Callable[[str], str], case: str) -> None:
    schema, tables = CASES[case]
    dsn = bare(schema + "".join(OWN.format(table) for table in tables))
    report = check(dsn, parse("tables:\n" + "".join(DECLARED.format(table) for table in tables)))
    assert report.holds, [*map(str, report.gaps), *(str(f.finding()) for f in report.found)]
    assert report.probes >= 5 * len(tables)


def test_the_members_of_a_team_are_members_of_its_organisation(bare: Callable[[str], str]) -> None:
    dsn = bare(
        "create table public.orgs (id int generated always as identity primary key);"
        "create table public.people (org int references public.orgs, me uuid references auth.users,"
        " primary key (org, me));"
        "create table public.teams (id int generated always as identity primary key,"
        " org int not null references public.orgs, unique (id, org));"
        "create table public.team_people (team int, org int, me uuid, primary key (team, me),"
        " foreign key (team, org) references public.teams (id, org),"
        " foreign key (org, me) references public.people (org, me));"
        "alter table public.orgs enable row level security;"
        "alter table public.people enable row level security;"
        "alter table public.teams enable row level security;"
        "alter table public.team_people enable row level security;"
    )
    tables = ("orgs", "people", "teams", "team_people")
    declared = "memberships:\n  team: {table: public.team_people, user: me, group: team}\ntables:\n"
    declared += "".join(f"  public.{table}: {{service_only: true}}\n" for table in tables)
    report = check(dsn, parse(declared))
    assert report.holds, [*map(str, report.gaps), *(str(f.finding()) for f in report.found)]


def test_hash_partitions(bare: Callable[[str], str]) -> None:
    parts = "".join(
        f"create table public.p{n} partition of public.logs for values with (modulus 3, remainder {n});"
        f"alter table public.p{n} enable row level security; grant select on public.p{n} to authenticated;"
        f"create policy own on public.p{n} for select to authenticated using (me = auth.uid());"
        for n in range(3)
    )
    dsn = bare(
        f"create table public.logs (id uuid not null default gen_random_uuid(), me {ME},"
        " primary key (id, me)) partition by hash (id);"
        + parts
        + OWN.format("logs").replace("select, insert, delete", "select")
    )
    report = check(dsn, parse("tables:\n  public.logs: {owner: me, may: [select]}\n"))
    assert report.holds, [*map(str, report.gaps), *(str(f.finding()) for f in report.found)]
