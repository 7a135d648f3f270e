-- One profile for each user, made by the database itself when Auth makes the user.

create table public.profiles (
    id uuid primary key references auth.users (id) on delete cascade,
    display_name text not null default '' check (char_length(display_name) <= 80),
    created_at timestamptz not null default now()
);
comment on table public.profiles is 'What a user shows of themselves; one row a user.';

alter table public.profiles enable row level security;
revoke all on public.profiles from anon, authenticated, service_role;
grant select on public.profiles to authenticated;
grant insert (id, display_name), update (display_name) on public.profiles to authenticated;
grant select, insert, update, delete on public.profiles to service_role;

create policy "owners read their profile" on public.profiles
    for select to authenticated using (id = (select auth.uid()));
create policy "owners create their profile" on public.profiles
    for insert to authenticated with check (id = (select auth.uid()));
create policy "owners change their profile" on public.profiles
    for update to authenticated using (id = (select auth.uid())) with check (id = (select auth.uid()));

-- Security definer: Auth's own role inserts the user and has no rights on public. The function takes no
-- argument, has an empty search_path, and nobody may call it: only the trigger runs it.
create function public.create_profile() returns trigger
    language plpgsql security definer set search_path = '' as
$$
begin
    insert into public.profiles (id, display_name)
    values (new.id, left(coalesce(new.raw_user_meta_data ->> 'display_name', ''), 80))
    on conflict (id) do nothing;
    return new;
end
$$;
revoke all on function public.create_profile() from public, anon, authenticated, service_role;

create trigger create_profile after insert on auth.users
    for each row execute function public.create_profile();

-- Users who were there before this table.
insert into public.profiles (id, display_name)
select id, left(coalesce(raw_user_meta_data ->> 'display_name', ''), 80) from auth.users
on conflict (id) do nothing;
