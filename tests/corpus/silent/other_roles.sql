-- A role of one's own for a worker, with policies of its own.
do $$ begin if not exists (select from pg_roles where rolname = 'corpus_worker') then create role corpus_worker nologin; end if; end $$;
grant corpus_worker to postgres with inherit false, set true;
grant usage on schema public to corpus_worker;
create table public.tasks (id bigint generated always as identity primary key, owner uuid not null references auth.users, state text not null default 'new');
alter table public.tasks enable row level security;
create policy own on public.tasks for select to authenticated using (owner = auth.uid());
create policy work on public.tasks for all to corpus_worker using (true) with check (true);
revoke all on public.tasks from anon, authenticated;
grant select on public.tasks to authenticated;
grant select, update on public.tasks to corpus_worker;
