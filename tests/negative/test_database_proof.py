"""What proves nothing is no pass: worlds that are one, vain denials, refusals for other reasons, errors."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from harness.database.check import Options, check
from harness.database.declaration import parse
from harness.database.findings import Report
from tests.pg_fixture import Cluster

Bare = Callable[[str], str]
PETS = """
create table public.pets (
    id uuid primary key default gen_random_uuid(),
    keeper uuid not null default auth.uid() references auth.users,
    name text not null default 'Rex'
);
alter table public.pets enable row level security;
create schema app; grant usage on schema app to anon, authenticated;
create function app.caller() returns uuid language plpgsql stable as 'begin return auth.uid(); end';
create policy own on public.pets for all to authenticated using (keeper = app.caller());
grant select, insert, update, delete on public.pets to authenticated;
"""
PETS_DECLARED = "tables:\n  public.pets: {owner: keeper, may: all}\n"
OPEN = """
create table public.toys (id serial primary key, pet uuid not null references public.pets);
alter table public.toys enable row level security;
create policy everybody on public.toys for select to authenticated using (true);
grant select on public.toys to authenticated;
"""
TRIGGER = (
    "create function app.f() returns trigger language plpgsql security definer set search_path = ''"
    " as $$ begin {} end $$;"
    "create trigger f before {} on public.pets for each row execute function app.f();"
)
SHIPS = """
create table public.fleets (id int generated always as identity primary key,
    sign text not null unique check (sign ~ '^[A-Z]{2}[0-9]$'));
create table public.crew (fleet int not null references public.fleets,
    sailor uuid not null references auth.users, primary key (fleet, sailor));
create table public.ships (id int generated always as identity primary key,
    fleet int not null references public.fleets, name text not null);
alter table public.fleets enable row level security; alter table public.crew enable row level security;
alter table public.ships enable row level security;
create policy a on public.crew for select to authenticated using (sailor = auth.uid());
create policy a on public.fleets for select to authenticated
    using (id in (select fleet from public.crew where sailor = auth.uid()));
create policy a on public.ships for all to authenticated
    using (fleet in (select fleet from public.crew where sailor = auth.uid()));
grant select on public.fleets, public.crew to authenticated;
grant select, insert, update, delete on public.ships to authenticated;
"""
SHIPS_DECLARED = """
memberships:
  crew: {table: public.crew, user: sailor, group: fleet}
tables:
  public.fleets: {rules: [{who: members, of: crew, by: id, may: [select]}]}
  public.crew: {owner: sailor, may: [select]}
  public.ships: {rules: [{who: members, of: crew, by: fleet, may: all}]}
"""


def told(dsn: str, declared: str, **options: float) -> tuple[Report, str]:
    """The report, and everything that it says."""
    report = check(dsn, parse(declared), Options(**options))
    return report, "\n".join(
        [*map(str, report.gaps), *(f"{f.rule} {f.object} {f.what}" for f in report.found)]
    )


# --- worlds that must differ ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mistake", "named"),
    [
        ("alter policy a on public.ships using (true)", 'foreign-read policy "a" on public.ships'),
        (
            "alter policy a on public.fleets using (sign like '%')",
            'foreign-read policy "a" on public.fleets',
        ),
    ],
)
def test_a_pattern_does_not_make_two_worlds_one(bare: Bare, mistake: str, named: str) -> None:
    report, said = told(bare(SHIPS), SHIPS_DECLARED)
    assert report.holds, said
    assert named in told(bare(SHIPS + mistake), SHIPS_DECLARED)[1]


def test_worlds_that_cannot_differ_are_no_pass(bare: Bare) -> None:
    only_one = SHIPS.replace("sign ~ '^[A-Z]{2}[0-9]$'", "sign = 'AA1'")
    report, said = told(bare(only_one), SHIPS_DECLARED)
    assert not report.holds
    assert "public.fleets: not proven: user A and user B have no row of their own" in said
    assert "public.ships: not proven: the rows of user A and user B have the same fleet" in said


def test_seeded_rows_of_a_public_table_do(bare: Bare) -> None:
    dsn = bare(
        "create table public.sizes (size text primary key check (size in ('S', 'L')));"
        "insert into public.sizes values ('S'), ('L'); alter table public.sizes enable row level security;"
        "create policy a on public.sizes for select to anon, authenticated using (true);"
        "grant select on public.sizes to anon, authenticated"
    )
    report, said = told(dsn, "tables:\n  public.sizes: {public: true}\n")
    assert report.holds, said


# --- refusals that prove nothing -----------------------------------------------------------------------


def test_a_role_that_the_connection_may_not_become(bare: Bare, cluster: Cluster) -> None:
    dsn = bare(PETS)
    with psycopg.connect(cluster.dsn("supabase_admin"), autocommit=True) as owner:
        owner.execute(b"drop role if exists inspector; create role inspector login bypassrls password 'x'")
        owner.execute(b"grant anon, authenticated, service_role to inspector with set false")
        try:
            report, said = told(make_conninfo(dsn, user="inspector", password="x"), PETS_DECLARED)
        finally:
            owner.execute(b"drop role inspector")
    assert not report.holds
    assert "inspector may not become" in said
    assert "with set true" in said
    assert report.probes == 0


def test_a_role_that_does_not_exist_is_no_broken_policy(bare: Bare) -> None:
    declared = "roles: [vet]\n" + PETS_DECLARED
    report, said = told(bare(PETS), declared)
    assert "role vet: not proven: the declaration speaks of it, and it does not exist" in said
    assert "policy-error" not in said
    assert report.probes == 0


@pytest.mark.parametrize(
    "policy", ["auth.uid() is null", "keeper is not distinct from coalesce(auth.uid(), keeper)"]
)
def test_settings_of_signed_in_callers_are_not_those_of_anonymous_ones(bare: Bare, policy: str) -> None:
    declared = (
        """settings: {request.jwt.claims: '{"role":"authenticated","sub":"{user}"}'}\n""" + PETS_DECLARED
    )
    report, said = told(bare(PETS), declared)
    assert report.holds, said
    hole = f"create policy hole on public.pets for select using ({policy});"
    hole += "grant select on public.pets to anon"
    report, said = told(bare(PETS + hole), declared)
    assert 'foreign-read policy "hole" on public.pets' in said
    assert any("anon" in found.roles for found in report.found if found.rule == "foreign-read")


# --- denials that nobody could have passed -------------------------------------------------------------


def test_a_rule_that_nobody_satisfies_is_no_pass(bare: Bare) -> None:
    declared = PETS_DECLARED.replace(
        "{owner: keeper, may: all}",
        "{rules: [{who: owner, by: keeper, may: all, where: \"md5(name) = 'x'\"}]}",
    )
    closed = "alter policy own on public.pets using (keeper = auth.uid() and md5(name) = 'x')"
    report, said = told(bare(PETS + closed), declared)
    assert not report.holds
    assert "no planted user satisfies the rule for owner where md5(name) = 'x'" in said
    assert "select, insert, update, delete was never seen to work" in said


def test_rows_are_given_what_a_rule_asks_for(bare: Bare) -> None:
    shown = "alter table public.pets add shown boolean not null default false;"
    policy = "create policy shown on public.pets for select to authenticated using (shown);"
    declared = "tables:\n  public.pets:\n    owner: keeper\n    may: all\n    rules:\n"
    declared += "      - {who: signed-in, may: [select], where: shown}\n"
    report, said = told(bare(PETS + shown + policy), declared)
    assert report.holds, said
    report, said = told(bare(PETS + shown), declared)  # nobody wrote the policy
    assert "missing-access public.pets, SELECT" in said


@pytest.mark.parametrize(
    "lost", ["drop policy b on public.talks", "revoke select on public.talks from authenticated"]
)
def test_a_subscription_lasts_and_its_end_ends_it(bare: Bare, lost: str) -> None:
    schema = """
    create table public.passes (event int not null, guest uuid not null references auth.users,
        valid_until timestamptz not null, primary key (event, guest));
    create table public.talks (id int generated always as identity primary key, event int not null);
    alter table public.passes enable row level security; alter table public.talks enable row level security;
    create policy a on public.passes for select to authenticated using (guest = auth.uid());
    create policy b on public.talks for select to authenticated using (exists (select from public.passes p
        where p.event = talks.event and p.guest = auth.uid() and p.valid_until > now()));
    grant select on public.passes, public.talks to authenticated;
    """
    declared = """
memberships:
  guests: {table: public.passes, user: guest, group: event, where: valid_until > now()}
tables:
  public.passes: {owner: guest, may: [select]}
  public.talks: {rules: [{who: members, of: guests, by: event, may: [select]}], plant: {event: "{number}"}}
"""
    bound = schema.replace(
        "event int not null, guest", "event int not null references public.events, guest"
    )
    bound = bound.replace(
        "identity primary key, event int not null",
        "identity primary key, event int not null references public.events",
    )
    bound = "create table public.events (id int generated always as identity primary key);" + bound
    bound += "alter table public.events enable row level security;"
    declared = (
        declared.replace(', plant: {event: "{number}"}', "") + "  public.events: {service_only: true}\n"
    )
    report, said = told(bare(bound), declared)
    assert report.holds, said
    assert "missing-access public.talks, SELECT" in told(bare(bound + lost), declared)[1]
    forgotten = bound.replace(" and p.valid_until > now()", "")
    assert 'foreign-read policy "b" on public.talks' in told(bare(forgotten), declared)[1]


def test_the_token_has_the_planted_address(bare: Bare) -> None:
    schema = """
    create table public.invites (id serial primary key, email text not null);
    alter table public.invites enable row level security;
    create policy mine on public.invites for select to authenticated using (email = auth.jwt() ->> 'email');
    grant select on public.invites to authenticated;
    """
    rule = "{who: signed-in, may: [select], where: \"email = auth.jwt() ->> 'email'\"}"
    declared = f"tables:\n  public.invites: {{rules: [{rule}]}}\n"
    report, said = told(bare(schema), declared)
    assert report.holds, said
    closed = "alter policy mine on public.invites using (false)"
    assert "missing-access public.invites, SELECT" in told(bare(schema + closed), declared)[1]


# --- errors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ("raise exception 'come back later'", "missing-access public.pets"),
        ("raise sqlstate 'PT402' using message = 'pay first'", "missing-access public.pets"),
        ("assert false, 'never'", "policy-error public.pets a policy breaks: never [P0004]"),
        ("raise sqlstate 'XX001' using message = 'broken page'", "broken page [XX001]"),
        ("perform 1 / 0", "division by zero [22012]"),
    ],
)
def test_an_error_that_meets_the_owner_is_never_nothing(bare: Bare, body: str, named: str) -> None:
    broken = (
        "create or replace function app.caller() returns uuid language plpgsql stable"
        f" as $$ begin {body}; end $$"
    )
    assert named in told(bare(PETS + broken), PETS_DECLARED)[1]


def test_a_trigger_that_refuses_everything_is_found(bare: Bare) -> None:
    for command in ("insert", "update", "delete"):
        refuses = TRIGGER.format(
            "if current_user = 'authenticated' then raise exception 'no'; end if;"
            " if tg_op = 'DELETE' then return old; end if; return new;",
            command,
        ).replace("security definer", "security invoker")
        said = told(bare(PETS + refuses), PETS_DECLARED)[1]
        assert f"missing-access public.pets, {command.upper()}" in said


def test_a_trigger_that_refuses_what_changes_nothing_hides_no_hole(bare: Bare) -> None:
    same = TRIGGER.format(
        "if new = old then raise exception 'nothing changes'; end if; return new;", "update"
    )
    report, said = told(bare(PETS + same), PETS_DECLARED)
    assert report.holds, said
    hole = "create policy u on public.pets for update to authenticated using (true) with check (true)"
    assert 'policy "u" on public.pets' in told(bare(PETS + same + hole), PETS_DECLARED)[1]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("perform currval('app.s'); return new;", "currval"),
        ("set local statement_timeout = '200ms'; perform pg_sleep(9); return new;", "statement timeout"),
        ("set local lock_timeout = '1ms'; raise lock_not_available; return new;", "55P03"),
    ],
)
def test_a_table_that_cannot_be_planted_does_not_end_the_check(bare: Bare, body: str, why: str) -> None:
    schema = PETS + "create sequence app.s;" + TRIGGER.format(body, "insert")
    schema += OPEN.replace(
        "pet uuid not null references public.pets", "pet uuid not null references auth.users"
    )
    declared = PETS_DECLARED + "  public.toys: {owner: pet, may: [select]}\n"
    said = told(bare(schema), declared, timeout=1.0)[1]
    assert "public.pets: not proven: its rows cannot be made up" in said
    assert why in said
    assert 'foreign-read policy "everybody" on public.toys' in said


def test_a_condition_that_breaks_is_said_and_loses_nothing_of_the_rest(bare: Bare) -> None:
    """It is asked again where functions are called, which ends nothing either."""
    called = (
        "create function public.named(who uuid) returns text language sql security definer"
        " set search_path = '' as 'select name from public.pets where keeper = who limit 1';"
        "revoke all on function public.named(uuid) from public, anon;"
    )
    declared = (
        PETS_DECLARED
        + '  public.toys: {rules: [{who: owner, by: pet, may: [select], where: "1 / 0 = 1"}]}\n'
    )
    declared += "functions:\n  public.named(uuid): {callers: [authenticated]}\n"
    hole = "create policy hole on public.pets for select to authenticated using (true);"
    _, said = told(bare(PETS + OPEN + called + hole), declared)
    assert (
        "public.toys: not proven: a condition of the declaration cannot be evaluated: division by zero"
        in said
    )
    assert "functions: not proven: a condition of the declaration cannot be evaluated" in said
    assert 'foreign-read policy "hole" on public.pets' in said
