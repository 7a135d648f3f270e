-- The application names its tenant in a setting that no caller can make.
create table public.records (id uuid primary key default gen_random_uuid(), tenant text not null, body text);
alter table public.records enable row level security;
create policy tenant on public.records for all to authenticated
    using (tenant = current_setting('app.tenant', true)) with check (tenant = current_setting('app.tenant', true));
revoke all on public.records from anon, authenticated;
grant select, insert, update on public.records to authenticated;
