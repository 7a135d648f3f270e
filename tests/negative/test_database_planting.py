"""What the Data API path commits goes again, and what was there before is never touched."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from harness.database.data_api import planted
from harness.database.declaration import Declaration, parse
from harness.database.findings import Report
from harness.database.planting_journal import swept, write

LETTERS = """
create table public.letters (
    id uuid primary key default gen_random_uuid(), sender uuid not null references auth.users, body text
);
"""
LETTERS_DECLARED = "tables:\n  public.letters: {owner: sender, may: all}\n"
COUNTRY_CLUB = """
create table public.tiers (name text primary key check (name in ('basic', 'gold')), fee int not null);
insert into public.tiers values ('basic', 1), ('gold', 5);
create table public.clubs (
    id uuid primary key default gen_random_uuid(), short text not null unique check (short ~ '^[A-D]{2}$')
);
create table public.belongs (
    club uuid not null references public.clubs on delete cascade,
    person uuid not null references auth.users,
    tier text not null references public.tiers on delete cascade, primary key (club, person)
);
create table public.minutes (
    id uuid primary key default gen_random_uuid(),
    club uuid not null references public.clubs on delete cascade
);
insert into auth.users (id, email) values ('00000000-0000-0000-0000-00000000000a', 'somebody@example.org');
insert into public.clubs (id, short)
select md5(a || b)::uuid, a || b from unnest('{A,B,C,D}'::text[]) a, unnest('{A,B,C}'::text[]) b;
insert into public.belongs select id, '00000000-0000-0000-0000-00000000000a', 'gold' from public.clubs;
insert into public.minutes (club) select id from public.clubs, generate_series(1, 80);
"""
COUNTRY_CLUB_DECLARED = """
memberships:
  club: {table: public.belongs, user: person, group: club}
tables:
  public.tiers: {public: true}
  public.clubs: {rules: [{who: members, of: club, by: id, may: [select]}]}
  public.belongs: {rules: [{who: members, of: club, by: club, may: [select]}]}
  public.minutes: {rules: [{who: members, of: club, by: club, may: all}]}
"""
EVERYTHING = """
select string_agg(t, E'\\n' order by t) from (
    select tiers::text t from public.tiers union all select clubs::text from public.clubs
    union all select belongs::text from public.belongs union all select minutes::text from public.minutes
    union all select id || email from auth.users
) x
"""


def trigger(when: str, table: str, body: str) -> str:
    return (
        "create function public.f() returns trigger language plpgsql security definer"
        f" as $$ begin {body} end $$;"
        f"create trigger f {when} on {table} for each row execute function public.f();"
    )


def logged(columns: str, when: str, table: str, values: str) -> str:
    """A log, and a trigger that writes it."""
    body = f"insert into public.log {values}; return null;"
    return "; ".join((f"create table public.log ({columns})", trigger(when, table, body)))


def ask(dsn: str, query: str) -> object:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def run(
    dsn: str, text: str, journal: Path, seen: str = "", *, writes: bool = True
) -> tuple[Report, object]:
    report, found = Report(), None
    users = (str(uuid.uuid4()), str(uuid.uuid4()))
    with planted(dsn, parse(text), users, journal, report, writes=writes):
        found = ask(dsn, seen) if seen else None
    return report, found


def test_what_was_there_is_never_taken_for_a_planted_row(
    bare: Callable[[str], str], tmp_path: Path
) -> None:
    dsn = bare(COUNTRY_CLUB)
    before = ask(dsn, EVERYTHING)
    for _ in range(2):
        report, clubs = run(dsn, COUNTRY_CLUB_DECLARED, tmp_path / "j", "select count(*) from public.clubs")
        assert ask(dsn, EVERYTHING) == before
        assert clubs == 14  # of the sixteen short names, two of the four that are free
        assert not report.gaps
    assert not (tmp_path / "j").exists()


def test_where_nothing_is_free_nobody_elses_row_is_used(bare: Callable[[str], str], tmp_path: Path) -> None:
    dsn = bare(COUNTRY_CLUB.replace("unnest('{A,B,C}'", "unnest('{A,B,C,D}'"))
    before = ask(dsn, EVERYTHING)
    _, listed = run(dsn, COUNTRY_CLUB_DECLARED, tmp_path / "j", "select count(*) from public.minutes")
    assert listed == 16 * 80 + 2
    assert ask(dsn, EVERYTHING) == before


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (trigger("before delete", "public.letters", "return null;"), "a trigger or a rule keeps it"),
        (trigger("before delete", "public.letters", "raise exception 'kept for ever';"), "kept for ever"),
        (
            logged("what text", "after insert", "public.letters", "values ('x')"),
            "public.log has no primary key",
        ),
        (
            logged(
                "id bigserial primary key, what int", "after insert", "public.letters", "(what) values (1)"
            ),
            "rows that do not say whose they are",
        ),
        ("alter table public.letters drop constraint letters_pkey", "it has no primary key"),
    ],
    ids=["soft delete", "append only", "keyless log", "nameless log", "keyless"],
)
def test_rows_that_would_stay_are_not_planted(
    bare: Callable[[str], str], tmp_path: Path, schema: str, why: str
) -> None:
    dsn = bare(LETTERS + schema)
    report, there = run(dsn, LETTERS_DECLARED, tmp_path / "j", "select count(*) from public.letters")
    assert there == 0
    (gap,) = report.gaps
    assert gap.object == "public.letters"
    assert why in gap.reason
    assert ask(dsn, "select count(*) from auth.users") == 0


@pytest.mark.parametrize(
    "schema",
    [
        logged(
            "id bigserial primary key, what jsonb",
            "after insert or delete",
            "public.letters",
            "(what) values (to_jsonb(coalesce(new, old)))",
        ),
        logged(
            "id bigserial primary key, letter uuid references public.letters",
            "after insert",
            "public.letters",
            "(letter) values (new.id)",
        ),
        logged(
            "id bigserial primary key, person uuid",
            "after insert",
            "auth.users",
            "(person) values (new.id)",
        ),
    ],
    ids=["copies", "restricting children", "sign-up"],
)
def test_what_triggers_make_goes_too(bare: Callable[[str], str], tmp_path: Path, schema: str) -> None:
    dsn = bare(LETTERS + schema)
    report, made = run(dsn, LETTERS_DECLARED, tmp_path / "j", "select count(*) from public.log")
    assert made == 2
    assert not report.gaps
    assert ask(dsn, "select count(*) from public.log") == 0
    assert ask(dsn, "select count(*) from public.letters") == 0
    assert not (tmp_path / "j").exists()


def test_what_comes_to_stay_in_the_middle_is_named_and_stays_listed(
    bare: Callable[[str], str], tmp_path: Path
) -> None:
    dsn, journal = bare(LETTERS), tmp_path / "j"
    report, users = Report(), (str(uuid.uuid4()), str(uuid.uuid4()))
    with (
        planted(dsn, parse(LETTERS_DECLARED), users, journal, report),
        psycopg.connect(dsn) as connection,
    ):
        connection.execute(trigger("before delete", "public.letters", "return null;").encode())
    said = "\n".join(map(str, report.gaps))
    assert "it stays: public.letters where" in said
    assert "auth.users" in said  # the letters hold their senders
    assert len(json.loads(journal.read_text())) == 4
    with psycopg.connect(dsn) as connection:
        connection.execute(b"drop trigger f on public.letters")
    done = swept(dsn, journal)
    assert (done.removed, done.stays) == (4, ())
    assert ask(dsn, "select count(*) from auth.users") == 0


def test_a_row_that_stays_is_said_by_the_next_run(bare: Callable[[str], str], tmp_path: Path) -> None:
    keep = trigger("before delete", "public.letters", "return null;")
    dsn, journal = bare(LETTERS + keep), tmp_path / "j"
    with psycopg.connect(dsn) as connection:
        connection.execute(b"insert into auth.users (id) values ('00000000-0000-0000-0000-00000000000a')")
        connection.execute(b"insert into public.letters (sender) select id from auth.users")
    write(journal, [('"public"."letters"', "sender = '00000000-0000-0000-0000-00000000000a'")])
    done = swept(dsn, journal)
    assert done.removed == 0
    assert "a trigger or a rule keeps it" in str(done.stays[0])
    assert journal.exists()


def test_it_says_beforehand_what_it_writes(bare: Callable[[str], str], tmp_path: Path) -> None:
    dsn, said = bare(LETTERS), []

    def say(text: str) -> None:
        said.append((text, ask(dsn, "select count(*) from public.letters")))

    users = (str(uuid.uuid4()), str(uuid.uuid4()))
    report = Report()
    with planted(dsn, parse(LETTERS_DECLARED), users, tmp_path / "j", report, say):
        pass
    assert said == [("plants and removes again: auth.users: 2 rows; public.letters: 2 rows", 0)]
    assert report.writes == ["auth.users: 2 rows", "public.letters: 2 rows"]


def test_no_user_of_our_own(bare: Callable[[str], str], tmp_path: Path) -> None:
    dsn = bare(
        "create table public.people (id uuid primary key default gen_random_uuid(),"
        " seat int not null unique check (seat = 1)); insert into public.people (seat) values (1)"
    )
    declared: Declaration = parse(
        "users: public.people\ntables:\n  public.people: {owner: id, may: [select]}\n"
    )
    report = Report()
    with planted(dsn, declared, (str(uuid.uuid4()), str(uuid.uuid4())), tmp_path / "j", report) as prober:
        assert prober is None
    assert "no user of our own fits" in report.gaps[0].reason
    assert ask(dsn, "select count(*) from public.people") == 1
