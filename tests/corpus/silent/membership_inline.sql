-- Membership looked up in the policy itself; teams and members both protected without recursion.
create table public.teams (id uuid primary key default gen_random_uuid(), name text not null);
create table public.team_members (
    team_id uuid not null references public.teams, user_id uuid not null references auth.users,
    primary key (team_id, user_id)
);
create table public.boards (
    id uuid primary key default gen_random_uuid(), team_id uuid not null references public.teams, title text not null
);
alter table public.teams enable row level security;
alter table public.team_members enable row level security;
alter table public.boards enable row level security;
create policy own on public.team_members for select to authenticated using (user_id = auth.uid());
create policy member on public.teams for select to authenticated
    using (id in (select team_id from public.team_members where user_id = auth.uid()));
create policy member on public.boards for all to authenticated
    using (team_id in (select team_id from public.team_members where user_id = auth.uid()));
revoke all on all tables in schema public from anon, authenticated;
grant select on public.teams, public.team_members to authenticated;
grant select, insert, update, delete on public.boards to authenticated;
