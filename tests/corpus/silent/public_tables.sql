-- Reference data that everybody may read; one table has no row level security, and says so.
create table public.plans (id int primary key, name text not null);
insert into public.plans values (1, 'free');
alter table public.plans enable row level security;
create policy read on public.plans for select using (true);
create table public.currencies (code text primary key);
revoke all on public.plans, public.currencies from anon, authenticated;
grant select on public.plans, public.currencies to anon, authenticated;
