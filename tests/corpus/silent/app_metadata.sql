-- Staff are known by app_metadata, which only the service can set.
create table public.cases (id uuid primary key default gen_random_uuid(), client uuid not null references auth.users, summary text not null);
alter table public.cases enable row level security;
create policy own on public.cases for select to authenticated using (client = auth.uid());
create policy staff on public.cases for all to authenticated
    using ((auth.jwt() -> 'app_metadata' ->> 'role') = 'staff') with check ((auth.jwt() -> 'app_metadata' ->> 'role') = 'staff');
revoke all on public.cases from anon, authenticated;
grant select, insert, update, delete on public.cases to authenticated;
