"""`harness db declare`: helpers are written out, and rows and users are found wherever they are named."""

from __future__ import annotations

import yaml

from harness.database.declare import declared_text
from tests.negative.test_database_declare import TEAMS, Bare, refuted, rules
from tests.negative.test_database_proof import told

CREWS = """
create schema app; grant usage on schema app to authenticated;
create type public.rank as enum ('captain', 'mate', 'hand');
create table public.ships (id bigint generated always as identity primary key, name text not null);
create table public.crews (ship bigint not null references public.ships,
    sailor uuid not null references auth.users,
    rank public.rank not null default 'hand', primary key (ship, sailor));
create table public.logs (id bigint generated always as identity primary key,
    ship bigint not null references public.ships, body text not null default '');
create table public.notes (id bigint generated always as identity primary key,
    log bigint not null references public.logs, body text not null default '');
create function app.rank(ship bigint) returns public.rank language sql stable security definer
    set search_path = public as $$ -- the caller's
    select rank from crews where crews.ship = rank.ship and sailor = auth.uid() $$;
create function app.aboard(ship bigint, lowest public.rank default 'hand') returns boolean
    language plpgsql stable security definer set search_path = '' as $$
    begin return exists (select from public.crews c where c.ship = aboard.ship and c.sailor = auth.uid()
        and c.rank <= lowest); end $$;
create function app.ship_of(bigint) returns bigint language sql stable security definer set search_path = ''
    as $$ select ship from public.logs where id = $1 $$;
create function app.mine() returns setof bigint language sql stable security definer set search_path = ''
    as $$ select ship from public.crews where sailor = auth.uid() and rank = 'captain' $$;
alter table public.ships enable row level security; alter table public.crews enable row level security;
alter table public.logs enable row level security; alter table public.notes enable row level security;
create policy s on public.ships for select to authenticated using (app.rank(id) is not null);
create policy c on public.crews for select to authenticated using (app.rank(ship) is not null);
create policy d on public.crews for delete to authenticated using (
    app.rank(ship) < 'hand' and rank = 'hand' and ship in (select app.mine()));
create policy l on public.logs for select to authenticated using (app.aboard(ship));
create policy w on public.logs for update to authenticated using (
    app.aboard(lowest => 'mate', ship => ship));
create policy n on public.notes for select to authenticated using (app.aboard(app.ship_of(log), 'mate'));
grant select on public.ships, public.crews, public.logs, public.notes to authenticated;
grant delete on public.crews to authenticated; grant update on public.logs to authenticated;
"""
TOKENS = """
create table public.orgs (id bigint generated always as identity primary key, name text not null);
create table public.assets (id bigint generated always as identity primary key,
    org bigint not null references public.orgs, name text not null);
create table public.papers (id bigint generated always as identity primary key,
    data jsonb not null default '{}', words text);
alter table public.orgs enable row level security; alter table public.assets enable row level security;
alter table public.papers enable row level security;
create policy o on public.orgs for select to authenticated using (
    id = (select ((auth.jwt() -> 'app_metadata') ->> 'org')::bigint));
create policy a on public.assets for select to authenticated using (
    org = (current_setting('request.jwt.claims', true)::json -> 'app_metadata' ->> 'org')::bigint);
create policy w on public.assets for update to authenticated using (
    org = (auth.jwt() -> 'app_metadata' ->> 'org')::bigint and auth.jwt() ->> 'kind' = 'admin');
create policy p on public.papers to authenticated using ((data -> 'by' ->> 'id') = auth.uid()::text);
grant select on public.orgs, public.assets, public.papers to authenticated;
grant update on public.assets, public.papers to authenticated;
"""
HELPERS = {
    "create or replace function app.aboard(ship bigint, lowest public.rank default 'hand') returns boolean"
    " language sql stable security definer set search_path = '' as $$ select exists (select from"
    " public.crews c where c.ship = aboard.ship and c.sailor = auth.uid()) $$;": "function app.aboard",
    "create or replace function app.mine() returns setof bigint language sql stable security definer"
    " set search_path = '' as $$ select ship from public.crews where sailor = auth.uid() $$;": 'policy "d"',
    "create or replace function app.ship_of(bigint) returns bigint language sql stable security definer"
    " set search_path = '' as $$ select max(ship) from public.logs $$;": "public.notes",
}


def test_what_helpers_answer_is_declared_whatever_they_are_called_with(bare: Bare) -> None:
    """Defaults, named arguments, names that columns have too, the table that the policy is on, sets."""
    text = declared_text(bare(CREWS))
    assert yaml.safe_load(text)["memberships"]["crews"]["role"] == "rank"
    assert rules(text, "tables", "public.crews")[0] == {
        "who": "members", "of": "crews", "by": "ship", "may": ["select"]
    }  # fmt: skip
    assert "app." not in text.partition("written_from")[0]
    report, said = told(bare(CREWS), text)
    assert report.holds, said
    for mistake, named in HELPERS.items():
        refuted(bare, CREWS, text, mistake, named)


def test_rows_that_tokens_and_documents_lead_to_are_planted(bare: Bare) -> None:
    """Each user's token names an organisation, each document its owner, without a word about that."""
    dsn = bare(TOKENS)
    text = declared_text(dsn)
    report, said = told(dsn, text)
    assert report.holds, said
    any_org = "alter policy w on public.assets using (auth.jwt() ->> 'kind' = 'admin');"
    refuted(bare, TOKENS, text, any_org, 'policy "w" on public.assets')
    any_key = "alter policy p on public.papers using (data ->> 'by' is not null);"
    refuted(bare, TOKENS, text, any_key, 'policy "p" on public.papers')


ASKING = """
create function app.writes(asked uuid) returns boolean language sql stable security definer
    set search_path = '' as $$ select exists (select from public.members m
    where m.team = asked and m.person = auth.uid() and m.role = 'writer') $$;
create policy u on public.plans for update to authenticated using (app.writes(team) and not draft);
grant update on public.plans to authenticated;
"""


def test_who_asks_too_little_is_named_not_the_helper_that_is_right(bare: Bare) -> None:
    text = declared_text(bare(TEAMS + ASKING))
    drafts = "alter policy u on public.plans using (app.writes(team));"
    refuted(bare, TEAMS + ASKING, text, drafts, 'foreign-update policy "u" on public.plans')


PROFILES = """
create schema app; grant usage on schema app to authenticated;
create table public.clubs (id uuid primary key default gen_random_uuid(), pin text,
    keeper uuid not null default auth.uid() references auth.users);
create table public.people (id uuid primary key references auth.users, club uuid references public.clubs);
create table public.members (club uuid references public.clubs, person uuid references public.people,
    primary key (club, person));
create table public.games (id bigint generated always as identity primary key,
    club uuid not null references public.clubs, score int not null default 3);
create table public.log (id bigint generated always as identity primary key, game bigint not null);
create function app.log() returns trigger language plpgsql security definer set search_path = '' as $$
    begin insert into public.log (game) values (new.id); return new; end $$;
create trigger log after insert on public.games for each row execute function app.log();
create function app.plays(asked uuid) returns boolean language sql stable security definer
    set search_path = '' as $$ select exists (
    select from public.members m where m.club = asked and m.person = auth.uid()) $$;
create function public.total(asked uuid) returns bigint language plpgsql stable security definer
    set search_path = '' as $$ begin
    if not app.plays(asked) then return null; end if;
    return (select sum(g.score) from public.games g where g.club = asked); end $$;
create function public.move(game bigint, into_ uuid) returns void language sql security definer
    set search_path = '' as $$ update public.games g set club = into_
    where g.id = game and app.plays(g.club) and app.plays(into_) $$;
create function public.pin(asked uuid) returns text language sql stable security definer
    set search_path = '' as $$
    select c.pin from public.clubs c where c.id = asked and c.keeper = auth.uid() $$;
revoke execute on all functions in schema app, public from public;
grant execute on function app.plays, public.total, public.move, public.pin to authenticated;
create policy c on public.clubs for select to authenticated using (app.plays(id));
grant select (id, keeper) on public.clubs to authenticated;
alter table public.clubs enable row level security; alter table public.people enable row level security;
alter table public.members enable row level security; alter table public.games enable row level security;
alter table public.log enable row level security;
create policy p on public.people for select to authenticated using (id = auth.uid());
create policy m on public.members for select to authenticated using (person = auth.uid());
grant select on public.people, public.members to authenticated;
grant select on all tables in schema public to service_role;
grant insert on public.clubs, public.games to service_role;
"""


def test_a_function_for_the_members_of_a_group_is_declared_as_one(bare: Bare) -> None:
    """Members are made of people, and a log that a trigger fills needs nobody else who may write it."""
    text = declared_text(bare(PROFILES))
    function = yaml.safe_load(text)["functions"]["public.total(uuid)"]
    assert (function["callers"], function["reveals"]) == (["authenticated"], "group")
    report, said = told(bare(PROFILES), text)
    assert report.holds, said
    unchecked = """create or replace function public.total(asked uuid) returns bigint language sql stable
        security definer set search_path = '' as $$
        select sum(g.score) from public.games g where g.club = asked $$;"""
    refuted(bare, PROFILES, text, unchecked, "function-leaks function public.total(uuid)")
    stolen = """create or replace function public.move(game bigint, into_ uuid) returns void language sql
        security definer set search_path = '' as $$
        update public.games g set club = into_ where g.id = game and app.plays(into_) $$;"""
    refuted(bare, PROFILES, text, stolen, "function-leaks function public.move(bigint, uuid)")
    told_all = """create or replace function public.pin(asked uuid) returns text language sql stable
        security definer set search_path = '' as $$
        select c.pin from public.clubs c where c.id = asked and app.plays(c.id) $$;"""
    refuted(bare, PROFILES, text, told_all, "function-leaks function public.pin(uuid)")


def test_users_may_be_in_a_table_of_ones_own(bare: Bare) -> None:
    schema = """
    create schema api; create schema core; grant usage on schema api, core to authenticated;
    create table core.accounts (id uuid primary key, shown text, plan text not null default 'free');
    create table core.notes (id bigint generated always as identity primary key,
        account uuid not null references core.accounts, body text not null default '');
    alter table core.accounts enable row level security; alter table core.notes enable row level security;
    create policy a on core.accounts to authenticated using (id = (select auth.uid()));
    create policy n on core.notes to authenticated using (account = auth.uid());
    create view api.profile with (security_invoker) as select id, shown, plan from core.accounts;
    create view api.notes with (security_invoker) as select id, account, body from core.notes;
    grant select on core.accounts, core.notes, api.profile, api.notes to authenticated;
    grant update (shown) on core.accounts, api.profile to authenticated;
    """
    text = declared_text(bare(schema), ("api",))
    said = yaml.safe_load(text)
    assert said["users"] == "core.accounts"
    assert said["tables"]["api.profile"]["columns"] == {"authenticated": {"update": ["shown"]}}
    assert rules(text, "tables", "api.notes") == [{"who": "owner", "by": "account", "may": ["select"]}]
    refuted(
        bare, schema, text, "grant update (plan) on core.accounts, api.profile to authenticated;", "plan"
    )


def test_companions_and_members_with_a_right_are_somebody(bare: Bare) -> None:
    """Who shares a group, where a view does not say which; and one who may more, without a role."""
    schema = """
    create schema app; grant usage on schema app to authenticated;
    create table public.albums (id bigint generated always as identity primary key, title text not null);
    create table public.guests (album bigint not null references public.albums,
        guest uuid not null references auth.users, may_add boolean not null default false, nick text,
        primary key (album, guest));
    create table public.photos (id bigint generated always as identity primary key,
        album bigint not null references public.albums, deleted timestamptz);
    create function app.guest(album bigint, adding boolean default false) returns boolean
        language sql stable security definer set search_path = '' as $$
        select exists (select from public.guests g where g.album = guest.album
        and g.guest = auth.uid() and (g.may_add or not adding)) $$;
    create function app.mine() returns setof bigint language sql stable security definer
        set search_path = '' as $$ select album from public.guests where guest = auth.uid() $$;
    alter table public.albums enable row level security;
    alter table public.guests enable row level security;
    alter table public.photos enable row level security;
    create policy a on public.albums for select to authenticated using (app.guest(id));
    create policy g on public.guests for select to authenticated using (guest = auth.uid());
    create policy p on public.photos for select to authenticated using (
        app.guest(album) and deleted is null);
    create policy i on public.photos for insert to authenticated with check (
        app.guest(album, true) and deleted is null);
    create view public.fellows with (security_barrier) as
        select guest, nick from public.guests where album in (select app.mine());
    grant select on public.albums, public.guests, public.photos, public.fellows to authenticated;
    grant insert on public.photos to authenticated;
    """
    text = declared_text(bare(schema))
    assert "where" in rules(text, "tables", "public.fellows")[0]
    deleted = """alter policy p on public.photos using (
        app.guest(album) and deleted is null or app.guest(album, true));"""
    refuted(bare, schema, text, deleted, 'policy "p" on public.photos')
    everybody = "create or replace view public.fellows as select guest, nick from public.guests;"
    refuted(bare, schema, text, everybody, "public.fellows")


def test_an_heir_that_nobody_reaches_is_held_to_its_parents_rules(bare: Bare) -> None:
    schema = """
    create table public.items (id bigint, person uuid not null default auth.uid() references auth.users);
    create table public.rare_items (extra text) inherits (public.items);
    alter table public.items enable row level security;
    alter table public.rare_items enable row level security;
    create policy p on public.items for select to authenticated using (person = auth.uid());
    grant select on public.items to authenticated;
    """
    text = declared_text(bare(schema))
    opened = "grant select on public.rare_items to authenticated; create policy r on public.rare_items"
    own = f"{opened} for select to authenticated using (person = auth.uid());"
    report, said = told(bare(schema + own), text)
    assert report.holds, said
    refuted(bare, schema, text, f"{opened} for select using (true);", 'policy "r" on public.rare_items')
