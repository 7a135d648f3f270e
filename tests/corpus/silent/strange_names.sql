-- Quoted, unicode and reserved names.
create schema "App Data";
grant usage on schema "App Data" to anon, authenticated, service_role;
create table "App Data"."Größe ""x""" ("Id" uuid primary key default gen_random_uuid(), "user" uuid not null references auth.users, "select" text not null default '');
alter table "App Data"."Größe ""x""" enable row level security;
create policy "eigene; -- nur" on "App Data"."Größe ""x""" for all to authenticated using ("user" = auth.uid()) with check ("user" = auth.uid());
grant select, insert, update, delete on "App Data"."Größe ""x""" to authenticated;
create table public."order" (id int generated always as identity primary key, owner uuid not null references auth.users);
alter table public."order" enable row level security;
create policy own on public."order" for select to authenticated using (owner = auth.uid());
revoke all on public."order" from anon, authenticated;
grant select on public."order" to authenticated;
