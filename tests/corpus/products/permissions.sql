-- Files with bits of permission for each grantee.
create schema app;
grant usage on schema app to authenticated, anon;
create table public.files (id uuid primary key default gen_random_uuid(), owner uuid not null default auth.uid() references auth.users, body text);
create table public.file_acl (file_id uuid not null references public.files on delete cascade, grantee uuid not null references auth.users, bits int not null default 1 check (bits between 1 and 7), primary key (file_id, grantee));
create function app.owns(f uuid) returns boolean language sql stable security definer set search_path='' as $$ select exists (select from public.files where id = f and owner = auth.uid()) $$;
create function app.can(f uuid, want int) returns boolean language sql stable security definer set search_path='' as $$ select exists (select from public.file_acl a where a.file_id = f and a.grantee = auth.uid() and a.bits & want = want) $$;
alter table public.files enable row level security;
alter table public.file_acl enable row level security;
revoke all on all functions in schema app from public;
revoke all on all functions in schema public from public, anon, authenticated;
grant execute on all functions in schema app to authenticated, anon;
create policy o on public.files for all to authenticated using (owner = auth.uid()) with check (owner = auth.uid());
create policy r on public.files for select to authenticated using (app.can(id, 1));
create policy w on public.files for update to authenticated using (app.can(id, 2)) with check (app.can(id, 2));
create policy a on public.file_acl for all to authenticated using (app.owns(file_id)) with check (app.owns(file_id));
create policy g on public.file_acl for select to authenticated using (grantee = auth.uid());
grant select, insert, delete on public.files to authenticated; grant update (body) on public.files to authenticated; grant select, insert, update, delete on public.file_acl to authenticated;
