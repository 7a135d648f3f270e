-- Rows that are hard to make up: cycles, composite keys, domains, checks, ranges, enums, generated columns.
create domain public.email as text check (value ~ '^[^@ ]+@[^@ ]+\.[a-z]+$');
create type public.level as enum ('low', 'high');
create type public.place as (street text, city text);
create table public.companies (
    id int generated always as identity primary key, boss_id int, contact public.email not null,
    vat text not null check (vat ~ '^[A-Z]{2}[0-9]{8}$'), share numeric(4, 3) not null check (share > 0 and share < 1)
);
create table public.staff (
    company_id int not null references public.companies, no smallint not null, user_id uuid not null unique references auth.users,
    level public.level not null, home public.place, shift int4range not null default '[1,5)', langs text[] not null default '{en}',
    start date not null, finish date, code text not null generated always as (company_id::text || '-' || no::text) stored,
    primary key (company_id, no), check (finish > start), check (no between 100 and 200),
    exclude using gist (shift with &&) where (false)
);
alter table public.companies add column boss_no smallint;
alter table public.companies add foreign key (boss_id, boss_no) references public.staff (company_id, no);
alter table public.companies enable row level security;
alter table public.staff enable row level security;
create policy own on public.staff for select to authenticated using (user_id = auth.uid());
revoke all on public.companies, public.staff from anon, authenticated;
grant select on public.staff to authenticated;
