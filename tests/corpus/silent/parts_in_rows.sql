-- Senders, recipients, assignees; states that end; members who are no longer, or not yet.
create type public.seat as enum ('observer', 'worker', 'lead');
create table public.crews (id uuid primary key default gen_random_uuid(), name text not null);
create table public.crew_seats (id bigint generated always as identity primary key, crew uuid not null references public.crews on delete cascade, person uuid not null references auth.users on delete cascade, seat public.seat not null default 'observer', until timestamptz not null default now() + interval '1 year', state text not null default 'invited' check (state in ('invited', 'active', 'left')), unique (crew, person));
create table public.jobs (id bigint generated always as identity primary key, crew uuid not null references public.crews, assignee uuid references auth.users, title text not null default '', state text not null default 'open' check (state in ('open', 'done', 'locked')));
create table public.letters (id bigint generated always as identity primary key, sender uuid not null default auth.uid() references auth.users, recipient uuid references auth.users, body text not null default '', sealed boolean not null default false, gone_at timestamptz);
alter table public.crews enable row level security;
alter table public.crew_seats enable row level security;
alter table public.jobs enable row level security;
alter table public.letters enable row level security;
create schema inside;
grant usage on schema inside to authenticated;
create function inside.seat_in(c uuid) returns public.seat language sql stable security definer set search_path = '' as
$$ select s.seat from public.crew_seats s where s.crew = c and s.person = auth.uid() and s.state = 'active' and s.until > now() $$;
revoke all on function inside.seat_in(uuid) from public;
grant execute on function inside.seat_in(uuid) to authenticated;
create policy see on public.crews for select to authenticated using (inside.seat_in(id) is not null);
create policy see on public.crew_seats for select to authenticated using (inside.seat_in(crew) is not null);
create policy see on public.jobs for select to authenticated using (inside.seat_in(crew) is not null or assignee = auth.uid());
create policy add on public.jobs for insert to authenticated with check (inside.seat_in(crew) = 'lead' and state = 'open');
create policy work on public.jobs for update to authenticated
    using (state <> 'locked' and (inside.seat_in(crew) = 'lead' or (inside.seat_in(crew) = 'worker' and assignee = auth.uid())))
    with check (inside.seat_in(crew) = 'lead' or (inside.seat_in(crew) = 'worker' and assignee = auth.uid() and state in ('open', 'done')));
create policy see on public.letters for select to authenticated using (sender = auth.uid() and gone_at is null or recipient = auth.uid() and not sealed);
create policy send on public.letters for insert to authenticated with check (sender = auth.uid() and not sealed and gone_at is null);
create policy edit on public.letters for update to authenticated using (sender = auth.uid() and not sealed) with check (sender = auth.uid());
revoke all on all tables in schema public from anon, authenticated;
grant select on public.crews, public.crew_seats to authenticated;
grant select, insert, update on public.jobs, public.letters to authenticated;
