"""`harness db declare`: what decides is written out as it is; whatever shows more contradicts it."""

from __future__ import annotations

from collections.abc import Callable

from harness.database.declare import declared_text
from tests.negative.test_database_declare import TEAMS, refuted
from tests.negative.test_database_proof import told

Bare = Callable[[str], str]
SEATS = """
create schema app; grant usage on schema app to authenticated;
create table public.places (id int primary key, name text not null);
create table public.seats (
    place int not null references public.places, person uuid not null references auth.users,
    active boolean not null default true, primary key (place, person));
create table public.rooms (id int primary key, place int not null references public.places);
create table public.bookings (
    id bigint generated always as identity primary key, room int not null references public.rooms);
create function app.place_of(r int) returns int language sql stable security definer set search_path = ''
    as $$ select place from public.rooms where id = r $$;
create function app.sits(p int) returns boolean language sql stable security definer set search_path = ''
    as $$ select exists (select from public.seats where place = p and person = auth.uid() and active) $$;
create function app.places() returns setof int language sql stable security definer set search_path = ''
    as $$ select place from public.seats where person = auth.uid() and active $$;
create function app.of_room(r int) returns boolean language plpgsql stable security definer
    set search_path = '' as $$ begin return app.sits(app.place_of(r)); end $$;
alter table public.places enable row level security; alter table public.seats enable row level security;
alter table public.rooms enable row level security; alter table public.bookings enable row level security;
create policy p on public.places for select to authenticated using (id in (select app.places()));
create policy s on public.seats for select to authenticated using (app.sits(place));
create policy r on public.rooms for select to authenticated using (app.of_room(id));
create policy b on public.bookings for select to authenticated using (app.sits(app.place_of(room)));
grant select on public.places, public.seats, public.rooms, public.bookings to authenticated;
"""
TENANTS = """
create schema app; grant usage on schema app to authenticated;
create table public.slips (
    id bigint generated always as identity primary key, tenant uuid not null,
    person uuid not null references auth.users, gross int not null default 0);
create function app.tenant() returns uuid language sql stable set search_path = ''
    as $$ select (auth.jwt() -> 'app_metadata' ->> 'tenant')::uuid $$;
create function app.staff() returns boolean language sql stable set search_path = ''
    as $$ select coalesce(auth.jwt() -> 'app_metadata' ->> 'role', '') = 'staff' $$;
alter table public.slips enable row level security;
create policy own on public.slips for select to authenticated using (
    tenant = (select app.tenant()) and person = auth.uid());
create policy staff on public.slips for select to authenticated using (
    tenant = (select app.tenant()) and (select app.staff()));
grant select on public.slips to authenticated;
insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types)
    values ('slips', 'slips', false, 1000000, '{application/pdf}');
create policy f on storage.objects for select to authenticated using (
    bucket_id = 'slips' and (storage.foldername(name))[1] = (select app.tenant())::text
    and (storage.foldername(name))[2] = auth.uid()::text);
"""

ORDERS = """
create schema app; grant usage on schema app to authenticated;
create table public.orders (
    id bigint generated always as identity primary key, seller uuid not null references auth.users,
    state text not null default 'placed' check (state in ('placed', 'paid', 'sent', 'closed')));
create table public.sellers (
    id uuid primary key references auth.users, active boolean not null default true);
create function app.sells() returns uuid language sql stable security definer set search_path = ''
    as $$ select id from public.sellers where id = auth.uid() and active $$;
alter table public.orders enable row level security; alter table public.sellers enable row level security;
create policy s on public.orders for select to authenticated using (seller = app.sells());
create policy u on public.orders for update to authenticated using (seller = auth.uid() and state = 'paid')
    with check (seller = auth.uid() and state = 'sent');
grant select, update (state) on public.orders to authenticated;
"""


def test_what_only_a_row_in_another_state_may_become(bare: Bare) -> None:
    """A row as it is planted may not be changed at all; what is paid may be sent, and no more."""
    text = declared_text(bare(ORDERS))
    report, said = told(bare(ORDERS), text)
    assert report.holds, said
    anything = "alter policy u on public.orders with check (seller = auth.uid());"
    refuted(bare, ORDERS, text, anything, 'policy "u" on public.orders')


def test_the_helper_that_has_changed_is_named_and_not_the_policy_that_calls_it(bare: Bare) -> None:
    text = declared_text(bare(ORDERS))
    retired = """create or replace function app.sells() returns uuid
        language sql stable security definer set search_path = ''
        as $$ select id from public.sellers where id = auth.uid() $$;"""
    report, said = told(bare(ORDERS + retired), text)
    assert {one.object for one in report.found} == {"function app.sells()"}, said


DEALS = """
create table public.deals (
    id bigint generated always as identity primary key, buyer uuid not null references auth.users,
    seller uuid not null references auth.users, state text not null default 'open'
    check (state in ('open', 'sent', 'done')));
alter table public.deals enable row level security;
create policy d on public.deals for select to authenticated using (auth.uid() in (buyer, seller));
grant select on public.deals to authenticated;
"""
DONE = """
create or replace function public.done(deal bigint) returns void language plpgsql security definer
    set search_path = '' as $$ begin
    update public.deals set state = 'done' where id = deal and {};
    if not found then raise exception 'no such deal'; end if; end $$;
revoke execute on function public.done from public; grant execute on function public.done to authenticated;
"""


def test_a_function_does_for_nobody_more_than_it_did(bare: Bare) -> None:
    """A seller is somebody with the deal as well: that only the buyer ends it, no policy says."""
    text = declared_text(bare(DEALS + DONE.format("buyer = auth.uid() and state = 'sent'")))
    again = DONE.format("id in (select id from public.deals where auth.uid() = buyer and state = 'sent')")
    report, said = told(bare(DEALS + again), text)
    assert report.holds, said
    seller = DONE.format("auth.uid() in (buyer, seller) and state = 'sent'")
    early = DONE.format("buyer = auth.uid() and state <> 'done'")
    for mistake in (seller, early):
        refuted(bare, DEALS, text, mistake, "function public.done(bigint)")


def test_a_view_is_held_to_the_query_that_it_was(bare: Bare) -> None:
    """Whose rows those are is the same before and after: what changes is which of them are shown."""
    view = """
    create view public.shown with (security_barrier) as select id, team from public.plans where not draft;
    grant select on public.shown to authenticated;
    """
    text = declared_text(bare(TEAMS + view))
    report, said = told(bare(TEAMS + view), text)
    assert report.holds, said
    wider = (
        "create or replace view public.shown with (security_barrier) as select id, team from public.plans;"
    )
    refuted(bare, TEAMS + view, text, wider, "public.shown")


def test_helpers_within_helpers_are_written_out_with_what_their_names_mean(bare: Bare) -> None:
    """`id` of a room is none of a booking; the seats that a helper looks at are not the one asked about."""
    text = declared_text(bare(SEATS))
    report, said = told(bare(SEATS), text)
    assert report.holds, said
    assert "app." not in text.partition("written_from")[0]
    sits = """create or replace function app.sits(p int) returns boolean
        language sql stable security definer set search_path = '' as $$
        select exists (select from public.seats where place = p and person = auth.uid()) $$;"""
    places = """create or replace function app.places() returns setof int
        language sql stable security definer set search_path = '' as $$
        select place from public.seats where person = auth.uid() $$;"""
    for mistake, named in ((sits, "public.bookings"), (places, "public.places")):
        refuted(bare, SEATS, text, mistake, named)


def test_whose_tenant_a_user_is_may_stand_in_the_token_alone(bare: Bare) -> None:
    """Nobody may do anything without such a claim: each user is given one, and a folder beneath it."""
    text = declared_text(bare(TENANTS))
    report, said = told(bare(TENANTS), text)
    assert report.holds, said
    colleague = """alter policy f on storage.objects using (
        bucket_id = 'slips' and (storage.foldername(name))[1] = (select app.tenant())::text);"""
    anywhere = "alter policy staff on public.slips using ((select app.staff()));"
    refuted(bare, TENANTS, text, colleague, 'policy "f" on storage.objects')
    refuted(bare, TENANTS, text, anywhere, 'policy "staff" on public.slips')


COUNTED = """
create schema app;
create table public.papers (
    id bigint generated always as identity primary key, owner uuid not null references auth.users,
    readers int not null default 0);
create table public.readers (
    paper bigint not null references public.papers, person uuid not null references auth.users,
    note text, primary key (paper, person));
create function app.count() returns trigger language plpgsql security definer set search_path = '' as $$
    begin update public.papers set readers = readers + 1 where id = new.paper; return null; end $$;
create trigger count after insert on public.readers for each row execute function app.count();
alter table public.papers enable row level security; alter table public.readers enable row level security;
create policy p on public.papers for select to authenticated using (true);
create policy r on public.readers for select to authenticated using (person = auth.uid());
create policy i on public.readers for insert to authenticated with check (person = auth.uid());
grant select on public.papers to authenticated; grant select, insert on public.readers to authenticated;
"""


def test_what_a_trigger_counts_when_declared_is_meant(bare: Bare) -> None:
    text = declared_text(bare(COUNTED))
    report, said = told(bare(COUNTED), text)
    assert report.holds, said
    taken = """create or replace function app.count() returns trigger language plpgsql security definer
        set search_path = '' as $$ begin
        update public.papers set owner = new.person where id = new.paper; return null; end $$;"""
    refuted(bare, COUNTED, text, taken, "function app.count()")
