-- A wide permissive policy, narrowed by restrictive ones.
create table public.files (
    id uuid primary key default gen_random_uuid(),
    owner uuid not null references auth.users,
    locked boolean not null default false
);
alter table public.files enable row level security;
create policy base on public.files for all to authenticated using (true) with check (true);
create policy only_own on public.files as restrictive for all to authenticated using (owner = auth.uid());
create policy not_locked on public.files as restrictive for delete to authenticated using (not locked);
revoke all on public.files from anon, authenticated;
grant select, insert, update, delete on public.files to authenticated;
