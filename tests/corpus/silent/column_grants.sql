-- Columns are granted one by one; some can be read, fewer written.
create table public.accounts (
    id uuid primary key references auth.users, nickname text, balance numeric not null default 0, risk text
);
alter table public.accounts enable row level security;
create policy own on public.accounts for all to authenticated using (id = auth.uid()) with check (id = auth.uid());
revoke all on public.accounts from anon, authenticated;
grant select (id, nickname, balance), update (nickname), insert (id, nickname) on public.accounts to authenticated;
