"""`harness db declare`: what it writes is kept by the database it was written of, and by no worse one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import yaml

from harness.database.declare import declared_text
from tests.negative.test_database_beneath import BENEATH
from tests.negative.test_database_proof import told

Bare = Callable[[str], str]
TEAMS = """
create schema app; grant usage on schema app to authenticated;
create table public.teams (id uuid primary key default gen_random_uuid(), name text not null);
create table public.members (
    team uuid not null references public.teams, person uuid not null references auth.users,
    role text not null default 'reader' check (role in ('reader', 'writer')), primary key (team, person));
create table public.plans (
    id bigint generated always as identity primary key, team uuid not null references public.teams,
    draft boolean not null default false, person uuid not null default auth.uid() references auth.users,
    body text not null default '');
create table public.steps (
    id bigint generated always as identity primary key, plan bigint not null references public.plans);
create function app.role_in(wanted text) returns text language sql stable security definer
    set search_path = '' as $$
    select m.role from public.members m where m.team::text = wanted and m.person = auth.uid() $$;
alter table public.teams enable row level security; alter table public.members enable row level security;
alter table public.plans enable row level security; alter table public.steps enable row level security;
create policy t on public.teams for select to authenticated using (app.role_in(id::text) is not null);
create policy m on public.members for select to authenticated using (person = auth.uid());
create policy p on public.plans for select to authenticated using (
    app.role_in(team::text) = 'writer' or app.role_in(team::text) is not null and not draft);
create policy s on public.steps for select to authenticated using (
    exists (select from public.plans where plans.id = steps.plan));
grant select on public.teams, public.members, public.plans, public.steps to authenticated;
"""
ACCEPTED = """
alter table public.members add column joined timestamptz, add column state text not null default 'asked'
    check (state in ('asked', 'in', 'out'));
create or replace function app.role_in(wanted text) returns text language sql stable security definer
    set search_path = '' as $$ select m.role from public.members m where m.team::text = wanted
    and m.person = auth.uid() and m.joined is not null and m.state in ('in') $$;
create policy w on public.plans for update to authenticated using (app.role_in(team::text) = 'writer');
grant update on public.plans to authenticated;
"""
VIEWS = """
create view public.own_plans with (security_barrier) as
    select id, person, body from public.plans where person = auth.uid();
create view public.team_plans with (security_barrier) as
    select p.team, count(*) as plans from public.plans p
    where app.role_in(p.team::text) is not null group by 1;
create view public.own_bodies with (security_barrier) as
    select body from public.plans where person = auth.uid();
create view public.team_names as select id, name from public.teams;
grant execute on function app.role_in to authenticated;
grant select on public.own_plans, public.own_bodies, public.team_plans, public.team_names to authenticated;
"""
FILES = """
insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types)
    values ('plans', 'plans', false, 1000000, '{image/png}');
create policy f_read on storage.objects for select to authenticated using (
    bucket_id = 'plans' and app.role_in((storage.foldername(name))[1]) is not null);
create policy f_write on storage.objects for insert to authenticated with check (
    bucket_id = 'plans' and app.role_in((storage.foldername(name))[1]) = 'writer');
"""


def rules(text: str, kind: str, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(text)[kind][name]["rules"]
    return found


def refuted(bare: Bare, schema: str, text: str, mistake: str, named: str) -> None:
    assert named in told(bare(schema + mistake), text)[1]


def test_views_are_declared_as_narrow_as_they_are(bare: Bare) -> None:
    text = declared_text(bare(TEAMS + VIEWS))
    whose = {
        name: [{k: v for k, v in rule.items() if k != "where"} for rule in rules(text, "tables", name)]
        for name in ("public.own_plans", "public.own_bodies", "public.team_plans")
    }
    assert whose == {
        "public.own_plans": [{"who": "owner", "by": "person", "may": ["select"]}],
        "public.own_bodies": [{"who": "own", "may": ["select"]}],
        "public.team_plans": [{"who": "members", "of": "members", "by": "team", "may": ["select"]}],
    }
    report, said = told(bare(TEAMS + VIEWS), text)
    assert report.holds, said
    wider = "create or replace view public.own_plans as select id, person, body from public.plans;"
    refuted(bare, TEAMS + VIEWS, text, wider, "public.own_plans")


def test_a_view_that_everybody_reads_is_held_to_its_columns(bare: Bare) -> None:
    text = declared_text(bare(TEAMS + VIEWS))
    shown = yaml.safe_load(text)["tables"]["public.team_names"]
    assert shown["columns"] == {"authenticated": {"select": ["id", "name"]}}
    wider = "create or replace view public.team_names as select id, name, 'x' as secret from public.teams;"
    refuted(bare, TEAMS + VIEWS, text, wider, "public.team_names")


def test_a_view_over_a_hidden_table_is_declared_with_its_owner(bare: Bare) -> None:
    text = declared_text(bare(BENEATH), ("api",))
    every = ["select", "insert", "update", "delete"]
    [rule] = rules(text, "tables", "api.jobs")
    assert (rule["who"], rule["by"], sorted(rule["may"])) == ("owner", "boss", sorted(every))
    assert "say whose" not in text


def test_a_subquery_shows_what_its_reader_may_see(bare: Bare) -> None:
    """Taken literally, the policy on steps would promise a reader the steps of drafts."""
    text = declared_text(bare(TEAMS))
    report, said = told(bare(TEAMS), text)
    assert report.holds, said
    loose = "alter policy s on public.steps using (exists (select from public.plans where id = plans.id));"
    refuted(bare, TEAMS, text, loose, 'policy "s" on public.steps')


def test_conditions_about_a_membership_are_declared_as_rules_of_its_members(bare: Bare) -> None:
    schema = TEAMS + ACCEPTED
    text = declared_text(bare(schema))
    assert rules(text, "tables", "public.teams") == [
        {"who": "members", "of": "members", "by": "id", "may": ["select"]}
    ]
    assert (
        yaml.safe_load(text)["memberships"]["members"]["where"] == "joined is not null and state in ('in')"
    )
    [written] = [rule for rule in rules(text, "tables", "public.plans") if rule["may"] == ["update"]]
    assert (written["by"], written["roles"]) == ("team", ["writer"])
    report, said = told(bare(schema), text)
    assert report.holds, said
    former = "alter policy t on public.teams using (exists (select from public.members m where m.team = id"
    refuted(bare, schema, text, f"{former} and m.person = auth.uid()));", 'policy "t" on public.teams')


def test_files_in_folders_of_a_team_are_declared_by_role(bare: Bare) -> None:
    text = declared_text(bare(TEAMS + FILES))
    assert sorted(rules(text, "buckets", "plans"), key=lambda rule: rule["may"]) == [
        {"who": "members", "of": "members", "by": "folder", "may": ["insert"], "roles": ["writer"]},
        {"who": "members", "of": "members", "by": "folder", "may": ["select"]},
    ]
    report, said = told(bare(TEAMS + FILES), text)
    assert report.holds, said
    loose = """alter policy f_write on storage.objects with check (
        bucket_id = 'plans' and app.role_in((storage.foldername(name))[1]) is not null);"""
    refuted(bare, TEAMS + FILES, text, loose, 'policy "f_write" on storage.objects')


def test_guests_are_declared_without_the_roles_that_are_no_guests(bare: Bare) -> None:
    schema = """
    create role declared_clerk; grant declared_clerk to postgres with inherit false, set true;
    grant declared_clerk to authenticator; grant usage on schema public to declared_clerk;
    create table public.news (id int primary key, shown boolean not null default true);
    alter table public.news enable row level security;
    create policy n on public.news for select to anon, authenticated using (shown);
    grant select on public.news to anon, authenticated;
    """
    dsn = bare(schema)
    try:
        text = declared_text(dsn)
        assert [rule["who"] for rule in rules(text, "tables", "public.news")] == ["anon", "signed-in"]
        report, said = told(dsn, text)
        assert report.holds, said
    finally:
        with psycopg.connect(dsn) as connection:
            connection.execute(
                "revoke usage on schema public from declared_clerk; drop role declared_clerk"
            )


def test_declare_correlates_quoted_columns(bare: Bare) -> None:
    schema = """
    create table public."Team Members" (
        "Team" int, "Who" uuid references auth.users, primary key ("Team", "Who"));
    create table public."Plans" (id int generated always as identity primary key, "Team" int not null);
    create schema app; grant usage on schema app to authenticated;
    create function app.mine(t int) returns boolean language sql stable security definer
        set search_path = '' as $$ select exists (select from public."Team Members" m
        where m."Team" = t and m."Who" = auth.uid()) $$;
    alter table public."Plans" enable row level security;
    alter table public."Team Members" enable row level security;
    create policy a on public."Plans" for select to authenticated using (app.mine("Team"));
    grant select on public."Plans" to authenticated;
    """
    assert '= ("Plans"."Team")' in declared_text(bare(schema)).replace("\\", "")


SHARES = """
create table public.notes (id uuid primary key default gen_random_uuid(),
    owner uuid not null default auth.uid() references auth.users, body text not null,
    secret text unique, until timestamptz, state text not null default 'draft'
    check (state in ('draft', 'public')));
alter table public.notes enable row level security;
create policy o on public.notes to authenticated using (owner = auth.uid()) with check (owner = auth.uid());
grant select, insert, update, delete on public.notes to authenticated;
create view public.published with (security_barrier) as
    select id, body from public.notes where state = 'public';
create function public.opened(secret text) returns jsonb language sql stable security definer
    set search_path = '' as $$ select jsonb_build_object('body', n.body) from public.notes n
    where n.secret = opened.secret and n.until > now() $$;
revoke execute on function public.opened from public;
grant execute on function public.opened to anon, authenticated;
grant select on public.published to anon, authenticated;
"""
SHOWN_AGAIN = {
    """create or replace view public.published with (security_barrier) as
    select id, body from public.notes;""": "view-bypasses-rls public.published",
    """create or replace function public.opened(secret text) returns jsonb language sql stable
    security definer set search_path = '' as $$ select jsonb_build_object('body', n.body)
    from public.notes n where n.secret = opened.secret $$;""": (
        "function-leaks function public.opened(text)"
    ),
}


def test_what_hides_rows_from_whoever_asks_is_declared(bare: Bare) -> None:
    """A share that expired and a draft: no policy says how views and functions filter by themselves."""
    text = declared_text(bare(SHARES))
    declared = yaml.safe_load(text)
    assert declared["functions"]["public.opened(text)"]["unlocked_by"] == ["public.notes.secret"]
    assert declared["tables"]["public.published"]["hidden_when"] == {"public.notes.state": ["draft"]}
    report, said = told(bare(SHARES), text)
    assert report.holds, said
    for mistake, named in SHOWN_AGAIN.items():
        refuted(bare, SHARES, text, mistake, named)


LISTED = """
create schema app; grant usage on schema app to authenticated;
create table public.crews (id uuid primary key default gen_random_uuid());
create table public.hands (crew uuid references public.crews, person uuid references auth.users,
    roles text[] not null default '{hand}', primary key (crew, person));
create function app.leads(asked uuid) returns boolean language sql stable security definer
    set search_path = '' as $$ select exists (select from public.hands h
    where h.crew = asked and h.person = auth.uid() and h.roles && '{mate,captain}') $$;
alter table public.crews enable row level security; alter table public.hands enable row level security;
create policy h on public.hands for select to authenticated using (person = auth.uid());
create policy p on public.crews for select to authenticated using (app.leads(id));
grant select on public.crews, public.hands to authenticated;
"""


def test_roles_in_a_list_are_planted(bare: Bare) -> None:
    """Whoever leads another crew is tried: somebody with such a role, of a group that is not A's."""
    text = declared_text(bare(LISTED))
    report, said = told(bare(LISTED), text)
    assert report.holds, said
    any_crew = """create or replace function app.leads(asked uuid) returns boolean language sql stable
        security definer set search_path = '' as $$ select exists (select from public.hands h
        where h.crew = h.crew and h.person = auth.uid() and h.roles && '{mate,captain}') $$;"""
    refuted(bare, LISTED, text, any_crew, "foreign-read function app.leads(uuid)")


INVITED = """
create table public.crews (id uuid primary key default gen_random_uuid());
create table public.hands (id uuid primary key default gen_random_uuid(),
    crew uuid not null references public.crews, person uuid not null references auth.users,
    state text not null default 'in' check (state in ('asked', 'in')), unique (crew, person));
create table public.letters (id bigint generated always as identity primary key,
    sender uuid not null default auth.uid() references auth.users, email text not null,
    until timestamptz not null default now() + interval '1 day');
create table public.seats (person uuid references auth.users, crew uuid references public.crews,
    tier text not null default 'free' check (tier in ('free', 'paid')), primary key (person, crew));
create function public.accept(asked uuid) returns void language sql security definer set search_path = ''
    as $$ update public.hands set state = 'in'
    where id = asked and person = auth.uid() and state = 'asked' $$;
alter table public.crews enable row level security; alter table public.hands enable row level security;
alter table public.letters enable row level security; alter table public.seats enable row level security;
create policy h on public.hands for select to authenticated using (person = auth.uid());
create policy s on public.letters for select to authenticated using (sender = auth.uid());
create policy r on public.letters for select to authenticated using (
    email = (auth.jwt() ->> 'email') and until > now());
create policy f on public.seats for select to authenticated using (person = auth.uid());
create policy i on public.seats for insert to authenticated with check (
    person = auth.uid() and tier = 'free');
create policy p on public.crews for select to authenticated using (exists (
    select from public.seats m where m.crew = crews.id and m.person = auth.uid() and m.tier = 'paid'));
grant select on public.crews, public.hands, public.letters, public.seats to authenticated;
grant insert (person, crew) on public.seats to authenticated;
"""


def test_invitations_by_mail_and_seats_of_a_default_tier(bare: Bare) -> None:
    """What a caller may not fill has its default; letters are somebody else's by their address."""
    text = declared_text(bare(INVITED))
    report, said = told(bare(INVITED), text)
    assert report.holds, said
    late = "alter policy r on public.letters using (email = (auth.jwt() ->> 'email'));"
    refuted(bare, INVITED, text, late, 'foreign-read policy "r" on public.letters')
    anybody = """create or replace function public.accept(asked uuid) returns void language sql
        security definer set search_path = '' as $$ update public.hands
        set state = 'in', person = auth.uid() where id = asked and state = 'asked' $$;"""
    refuted(bare, INVITED, text, anybody, "function-leaks function public.accept(uuid)")


COACHES = """
create table public.people (id uuid primary key references auth.users, name text not null);
create table public.coaching (coach uuid references public.people, client uuid references public.people,
    state text not null default 'asked' check (state in ('asked', 'agreed')),
    primary key (coach, client), check (coach <> client));
create table public.weights (id bigint generated always as identity primary key,
    person uuid not null default auth.uid() references public.people, kilos int not null default 70);
alter table public.people enable row level security; alter table public.weights enable row level security;
alter table public.coaching enable row level security;
create policy c on public.coaching for select to authenticated using (auth.uid() in (coach, client));
create policy w on public.weights for select to authenticated using (exists (select from public.coaching c
    where c.coach = auth.uid() and c.client = weights.person and c.state = 'agreed'));
grant select on public.coaching, public.weights to authenticated;
"""


def test_two_parts_of_a_row_in_another_state_prove_a_rule(bare: Bare) -> None:
    dsn = bare(COACHES)
    report, said = told(dsn, declared_text(dsn))
    assert report.holds, said
