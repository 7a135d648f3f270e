-- The organisation is in the token alone.
create schema app;
grant usage on schema app to authenticated, anon;
create table public.assets (id uuid primary key default gen_random_uuid(), org uuid not null, name text not null);
create table public.notices (id uuid primary key default gen_random_uuid(), org uuid, body text not null);
create function app.org() returns uuid language sql stable as $$ select (auth.jwt()->'app_metadata'->>'org')::uuid $$;
create function app.admin() returns boolean language sql stable as $$ select auth.jwt()->'app_metadata'->>'kind' = 'admin' $$;
alter table public.assets enable row level security;
alter table public.notices enable row level security;
revoke all on all functions in schema app from public;
revoke all on all functions in schema public from public, anon, authenticated;
grant execute on all functions in schema app to authenticated, anon;
create policy r on public.assets for select to authenticated using (org = app.org());
create policy w on public.assets for all to authenticated using (org = app.org() and app.admin()) with check (org = app.org() and app.admin());
create policy n on public.notices for select to authenticated using (org is null or org = app.org());
grant select, insert, update, delete on public.assets to authenticated; grant select on public.notices to authenticated;
