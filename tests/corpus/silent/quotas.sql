-- One key each, and no second one; a diary that takes no entry for a day that has one.
create table public.device_keys (id uuid primary key default gen_random_uuid(), person uuid not null default auth.uid() references auth.users, label text not null);
create table public.diary (id bigint generated always as identity primary key, person uuid not null default auth.uid() references auth.users, day date not null default current_date, text text not null default '', unique (person, day));
alter table public.device_keys enable row level security;
alter table public.diary enable row level security;
create function public.has_room() returns boolean language sql stable security definer set search_path = '' as
$$ select not exists (select from public.device_keys k where k.person = auth.uid()) $$;
create policy see on public.device_keys for select to authenticated using (person = auth.uid());
create policy add on public.device_keys for insert to authenticated with check (person = auth.uid() and public.has_room());
create policy drop on public.device_keys for delete to authenticated using (person = auth.uid());
create policy own on public.diary for all to authenticated using (person = auth.uid()) with check (person = auth.uid());
revoke all on all tables in schema public from anon, authenticated;
revoke all on all functions in schema public from public, anon;
grant execute on all functions in schema public to authenticated;
grant select, insert, delete on public.device_keys to authenticated;
grant select, insert, update, delete on public.diary to authenticated;
