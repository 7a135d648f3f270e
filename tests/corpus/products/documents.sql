-- Documents that say in themselves who owns and reads them.
create schema app;
grant usage on schema app to authenticated, anon;
create table public.docs (id uuid primary key default gen_random_uuid(), data jsonb not null check (data ? 'owner'));
create table public.profiles (id uuid primary key references auth.users, nick text, prefs jsonb not null default '{}', credit int not null default 0);
alter table public.docs enable row level security;
alter table public.profiles enable row level security;
create policy r on public.docs for select to authenticated using (data->>'owner' = auth.uid()::text or (data->'readers') ? auth.uid()::text or (data->'public') = 'true');
create policy i on public.docs for insert to authenticated with check (data->>'owner' = auth.uid()::text);
create policy u on public.docs for update to authenticated using (data->>'owner' = auth.uid()::text);
create policy d on public.docs for delete to authenticated using (data->>'owner' = auth.uid()::text);
create policy p1 on public.profiles for select to authenticated using (id = auth.uid() or (prefs->>'visible')::boolean);
create policy p2 on public.profiles for update to authenticated using (id = auth.uid());
grant select, insert, update, delete on public.docs to authenticated; grant select, update (nick, prefs) on public.profiles to authenticated;
