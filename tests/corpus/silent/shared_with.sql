-- Rows shared one by one through a second table, and org creation that makes its creator a member.
create table public.orgs (id uuid primary key default gen_random_uuid(), name text not null, created_by uuid not null default auth.uid() references auth.users);
create table public.org_users (org uuid references public.orgs on delete cascade, person uuid references auth.users, primary key (org, person));
create function public.first_member() returns trigger language plpgsql security definer set search_path = '' as
$$ begin insert into public.org_users values (new.id, new.created_by) on conflict do nothing; return new; end $$;
create trigger first_member after insert on public.orgs for each row execute function public.first_member();
create table public.albums (id uuid primary key default gen_random_uuid(), owner uuid not null default auth.uid() references auth.users, name text not null);
create table public.shares (album uuid references public.albums on delete cascade, person uuid references auth.users, primary key (album, person));
alter table public.orgs enable row level security;
alter table public.org_users enable row level security;
alter table public.albums enable row level security;
alter table public.shares enable row level security;
create policy make on public.orgs for insert to authenticated with check (created_by = auth.uid());
create policy see on public.orgs for select to authenticated
    using (created_by = auth.uid() or exists (select from public.org_users u where u.org = id and u.person = auth.uid()));
create policy own on public.org_users for select to authenticated using (person = auth.uid());
create function public.owns_album(a uuid) returns boolean language sql stable security definer set search_path = '' as
$$ select exists (select from public.albums where id = a and owner = auth.uid()) $$;
create policy own on public.albums for all to authenticated using (owner = auth.uid()) with check (owner = auth.uid());
create policy shared on public.albums for select to authenticated
    using (exists (select from public.shares s where s.album = albums.id and s.person = auth.uid()));
create policy see on public.shares for select to authenticated using (person = auth.uid() or public.owns_album(album));
create policy give on public.shares for insert to authenticated with check (public.owns_album(album));
revoke all on all tables in schema public from anon, authenticated;
revoke all on function public.first_member(), public.owns_album(uuid) from public;
grant execute on function public.owns_album(uuid) to authenticated;
grant select, insert on public.orgs, public.shares to authenticated;
grant select on public.org_users to authenticated;
grant select, insert, update, delete on public.albums to authenticated;
