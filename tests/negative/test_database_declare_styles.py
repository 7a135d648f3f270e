"""`harness db declare` of schemas of many styles: helpers, one group for each user, folders of rows."""

from __future__ import annotations

from collections.abc import Callable

import yaml

from harness.database.declare import declared_text
from tests.negative.test_database_declare import refuted, rules
from tests.negative.test_database_proof import told

Bare = Callable[[str], str]
KEEPERS = """
create table public.barns (id uuid primary key default gen_random_uuid(), name text not null);
create table public.keepers (
    id uuid primary key references auth.users, barn uuid not null references public.barns,
    role text not null default 'hand' check (role in ('hand', 'head')));
create table public.visits (
    id bigint generated always as identity primary key, barn uuid not null references public.barns,
    keeper uuid not null references public.keepers, unique (barn, keeper));
create table public.herds (
    id bigint generated always as identity primary key, barn uuid not null references public.barns,
    note text);
create function public.my_barn() returns uuid language plpgsql stable security definer
    set search_path = public as $$
    begin
        if auth.uid() is null then return null; end if; -- guests; they have none
        return (select k.barn from keepers k where k.id = auth.uid());
    end $$;
create function public.barns_of_mine() returns setof uuid language sql stable security definer
    set search_path = '' as $$ select barn from public.keepers where id = (select auth.uid()) $$;
create function public.works_at(there uuid) returns boolean language sql stable security definer
    set search_path = public as $$ select exists (
        select 1 from keepers where barn = there and id = auth.uid()) $$;
create function public.leads(there uuid) returns boolean language sql stable security definer
    set search_path = public as $$ select exists (
        select 1 from keepers where barn = there and id = auth.uid() and role in ('head')) $$;
alter table public.barns enable row level security; alter table public.keepers enable row level security;
alter table public.visits enable row level security; alter table public.herds enable row level security;
create policy b on public.barns for select to authenticated using (id in (select public.barns_of_mine()));
create policy k on public.keepers for select to authenticated using (public.works_at(barn));
create policy v on public.visits for select to authenticated using (keeper = auth.uid());
create policy h on public.herds for select to authenticated using (barn = public.my_barn());
create policy d on public.herds for delete to authenticated using (public.leads(barn));
grant select on public.barns, public.keepers, public.visits, public.herds to authenticated;
grant delete on public.herds to authenticated;
"""
WIDER = {
    "my_barn()": "returns uuid language sql stable security definer set search_path = ''"
    " as $$ select barn from public.keepers order by id = auth.uid() limit 1 $$;",
    "barns_of_mine()": "returns setof uuid language sql stable security definer set search_path = ''"
    " as $$ select barn from public.keepers $$;",
    "works_at(there uuid)": "returns boolean language sql stable security definer set search_path = ''"
    " as $$ select exists (select from public.keepers where barn = there) $$;",
}


def test_helpers_of_any_style_are_written_out(bare: Bare) -> None:
    """What called them would keep every promise of a helper that says yes to everybody."""
    text = declared_text(bare(KEEPERS))
    assert rules(text, "tables", "public.keepers") == [
        {"who": "members", "of": "keepers", "by": "barn", "may": ["select"]}
    ]
    [led] = [rule for rule in rules(text, "tables", "public.herds") if rule["may"] == ["delete"]]
    assert (led["of"], led["roles"]) == ("keepers", ["head"])
    report, said = told(bare(KEEPERS), text)
    assert report.holds, said
    for name, body in WIDER.items():
        wider = f"create or replace function public.{name} {body}"
        refuted(bare, KEEPERS, text, wider, f"function public.{name.partition('(')[0]}(")


def test_an_administrator_by_token_is_somebody_and_a_deal_has_two_sides(bare: Bare) -> None:
    schema = """
    create table public.people (id uuid primary key references auth.users, name text not null);
    alter table public.people enable row level security;
    create table public.deals (
        id bigint generated always as identity primary key, buyer uuid not null references public.people,
        seller uuid not null references public.people, check (buyer <> seller));
    alter table public.deals enable row level security;
    create policy s on public.deals for select to authenticated using (
        buyer = auth.uid() or seller = auth.uid()
        or coalesce((select auth.jwt() -> 'app_metadata' ->> 'duty'), 'none') = 'clerk');
    create policy d on public.deals for delete to authenticated using (
        coalesce((select auth.jwt() -> 'app_metadata' ->> 'duty'), 'none') in ('clerk', 'judge'));
    grant select, delete on public.deals to authenticated;
    """
    dsn = bare(schema)
    report, said = told(dsn, declared_text(dsn))
    assert report.holds, said


def test_a_folder_may_be_that_of_a_row(bare: Bare) -> None:
    """A file in its user's folder would prove nothing: the policies ask for the key of a plot of theirs."""
    schema = """
    create table public.plots (
        id uuid primary key default gen_random_uuid(), farmer uuid not null references auth.users);
    alter table public.plots enable row level security;
    create policy p on public.plots for all to authenticated using (farmer = auth.uid());
    grant select, insert, update, delete on public.plots to authenticated;
    insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types)
        values ('maps', 'maps', false, 1000000, '{image/png}');
    create policy r on storage.objects for select to authenticated using (bucket_id = 'maps'
        and (storage.foldername(name))[1] in (select id::text from public.plots where farmer = auth.uid()));
    create policy w on storage.objects for insert to authenticated with check (bucket_id = 'maps'
        and (storage.foldername(name))[1] in (select id::text from public.plots where farmer = auth.uid()));
    """
    text = declared_text(bare(schema))
    assert {rule["who"] for rule in rules(text, "buckets", "maps")} == {"signed-in"}
    report, said = told(bare(schema), text)
    assert report.holds, said
    loose = """alter policy w on storage.objects with check (bucket_id = 'maps'
        and (storage.foldername(name))[1] in (select id::text from public.plots where true));"""
    shown = "create policy q on public.plots for select to authenticated using (true);"
    refuted(bare, schema + shown, declared_text(bare(schema + shown)), loose, 'policy "w"')


def test_a_helper_is_named_when_it_alone_has_changed(bare: Bare) -> None:
    """It says yes to a member with another role, which of itself tells nothing of who is wrong."""
    text = declared_text(bare(KEEPERS))
    wider = """create or replace function public.leads(there uuid) returns boolean language sql stable
        security definer set search_path = '' as $$ select exists (
        select from public.keepers where barn = there and id = auth.uid()) $$;"""
    report, said = told(bare(KEEPERS + wider), text)
    assert {found.object for found in report.found} == {"function public.leads(uuid)"}, said


def test_who_may_be_the_first_may_be_nothing_else(bare: Bare) -> None:
    """Its insert works where nobody is yet, and only there a looser one does harm."""
    schema = """
    create table public.clubs (id uuid primary key default gen_random_uuid(), name text not null);
    create table public.seats (
        id bigint generated always as identity primary key, club uuid not null references public.clubs,
        person uuid not null references auth.users, role text not null check (role in ('chair', 'guest')),
        unique (club, person));
    create function public.taken(there uuid) returns boolean language sql stable security definer
        set search_path = '' as $$ select exists (select from public.seats where club = there) $$;
    alter table public.clubs enable row level security; alter table public.seats enable row level security;
    create policy c on public.clubs for select to authenticated using (true);
    create policy r on public.seats for select to authenticated using (person = auth.uid());
    create policy f on public.seats for insert to authenticated with check (
        person = auth.uid() and role = 'chair' and not public.taken(club));
    grant select on public.clubs, public.seats to authenticated;
    grant insert on public.seats to authenticated;
    """
    text = declared_text(bare(schema))
    report, said = told(bare(schema), text)
    assert report.holds, said
    for loose in ("person is not null and role = 'chair'", "person = auth.uid()"):
        mistake = f"alter policy f on public.seats with check ({loose} and not public.taken(club));"
        refuted(bare, schema, text, mistake, 'policy "f" on public.seats')


NOTES = """
create function public.note_down(there uuid, what text) returns void language plpgsql security definer
    set search_path = '' as $$
    begin
        if not public.works_at(there) then raise exception 'not yours'; end if;
        insert into public.herds (barn, note) values (there, what);
    end $$;
create function public.send_in(there uuid, what text) returns void language sql security definer
    set search_path = '' as $$ insert into public.herds (barn, note) values (there, what) $$;
grant execute on function public.note_down, public.send_in to authenticated;
create policy m on public.herds for select to authenticated using (public.works_at(barn));
"""


def test_a_function_puts_nothing_among_the_rows_of_another_group(bare: Bare) -> None:
    schema = KEEPERS + NOTES
    text = declared_text(bare(schema))
    functions = yaml.safe_load(text)["functions"]
    assert functions["public.send_in(uuid, text)"]["adds"] == ["public.herds"]
    assert "adds" not in functions["public.note_down(uuid, text)"]
    report, said = told(bare(schema), text)
    assert report.holds, said
    open_ = """create or replace function public.note_down(there uuid, what text) returns void language sql
        security definer set search_path = '' as $$
        insert into public.herds (barn, note) values (there, what) $$;"""
    refuted(bare, schema, text, open_, "function public.note_down(")


def test_a_group_that_is_full_is_no_membership_to_try(bare: Bare) -> None:
    """One more member for each role would be refused: all of that would end as not proven."""
    full = """
    create function public.full_up() returns trigger language plpgsql security definer
        set search_path = '' as $$
        begin
            if exists (select from public.keepers where barn = new.barn) then
                raise exception 'full';
            end if;
            return new;
        end $$;
    create trigger full_up before insert on public.keepers for each row execute function public.full_up();
    """
    text = declared_text(bare(KEEPERS + full))
    assert "keepers" not in yaml.safe_load(text).get("memberships", {})
    report, said = told(bare(KEEPERS + full), text)
    assert report.holds, said
