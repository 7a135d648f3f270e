-- Partitions of partitions and by hash, some granted under policies of their own; owner's views that filter by themselves.
create table public.readings (person uuid not null default auth.uid(), region text not null, at date not null default current_date, value int, primary key (person, region, at)) partition by list (region);
create table public.readings_north partition of public.readings for values in ('north', 'arctic') partition by range (at);
create table public.readings_north_2026 partition of public.readings_north for values from ('2026-01-01') to ('2027-01-01');
create table public.readings_north_rest partition of public.readings_north default;
create table public.readings_rest partition of public.readings default;
create table public.steps (person uuid not null default auth.uid(), day int not null, count int, primary key (person, day)) partition by hash (person);
create table public.steps_0 partition of public.steps for values with (modulus 2, remainder 0);
create table public.steps_1 partition of public.steps for values with (modulus 2, remainder 1);
do $$ declare t text; begin
    for t in select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') loop
        execute format('alter table public.%I enable row level security', t);
        execute format('create policy own on public.%I for select to authenticated using (person = auth.uid())', t);
    end loop;
end $$;
create view public.my_steps with (security_barrier = true) as select person, day, count from public.steps where person = auth.uid() with check option;
revoke all on all tables in schema public from anon, authenticated;
grant select on all tables in schema public to authenticated;
