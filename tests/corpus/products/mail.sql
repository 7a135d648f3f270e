-- Tickets that belong to an e-mail address.
create schema app;
grant usage on schema app to authenticated, anon;
create table public.tickets (id uuid primary key default gen_random_uuid(), email text not null, code text not null default 'x');
create table public.attendees (id uuid primary key default gen_random_uuid(), email text not null, confirmed boolean not null default false);
alter table public.tickets enable row level security;
alter table public.attendees enable row level security;
create policy a on public.tickets for select to authenticated using (lower(email) = lower(auth.jwt()->>'email'));
create policy b on public.tickets for insert to authenticated with check (lower(email) = lower(auth.jwt()->>'email'));
create policy a on public.attendees for select to authenticated using (email = auth.jwt()->>'email' and confirmed);
grant select, insert on public.tickets to authenticated; grant select on public.attendees to authenticated;
