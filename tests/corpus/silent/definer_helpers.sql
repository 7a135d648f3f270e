-- Security definer helpers done right, in a schema that is not exposed.
create schema private;
create table public.groups (id bigint generated always as identity primary key, name text not null);
create table private.membership (group_id bigint references public.groups, user_id uuid references auth.users, primary key (group_id, user_id));
create table public.messages (
    id bigint generated always as identity primary key, group_id bigint not null references public.groups,
    sender uuid not null default auth.uid() references auth.users, body text not null
);
create function private.my_groups() returns setof bigint language sql stable security definer set search_path = '' as
$$ select m.group_id from private.membership m where m.user_id = auth.uid() $$;
grant usage on schema private to authenticated;
revoke all on function private.my_groups() from public;
grant execute on function private.my_groups() to authenticated;
alter table public.groups enable row level security;
alter table public.messages enable row level security;
create policy mine on public.groups for select to authenticated using (id in (select private.my_groups()));
create policy read on public.messages for select to authenticated using (group_id in (select private.my_groups()));
create policy send on public.messages for insert to authenticated
    with check (sender = auth.uid() and group_id in (select private.my_groups()));
revoke all on all tables in schema public from anon, authenticated;
grant select on public.groups to authenticated;
grant select, insert on public.messages to authenticated;
