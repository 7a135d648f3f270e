-- Functions that answer a member with the group's rows, search what one may read anyway, count, and let one leave.
create table public.clubs (id uuid primary key default gen_random_uuid(), name text not null);
create table public.club_people (club uuid not null references public.clubs on delete cascade, person uuid not null references auth.users on delete cascade, rank text not null default 'guest' check (rank in ('guest', 'player', 'captain')), primary key (club, person));
create table public.matches (id uuid primary key default gen_random_uuid(), club uuid not null references public.clubs, report text not null, announced boolean not null default true);
alter table public.clubs enable row level security;
alter table public.club_people enable row level security;
alter table public.matches enable row level security;
create function public.rank_in(c uuid) returns text language sql stable security definer set search_path = '' as
$$ select p.rank from public.club_people p where p.club = c and p.person = auth.uid() $$;
create policy see on public.clubs for select to authenticated using (public.rank_in(id) is not null);
create policy see on public.club_people for select to authenticated using (public.rank_in(club) is not null);
create policy see on public.matches for select to authenticated using (public.rank_in(club) in ('player', 'captain'));
create policy news on public.matches for select to anon, authenticated using (announced);
create policy write on public.matches for update to authenticated using (public.rank_in(club) = 'captain') with check (public.rank_in(club) = 'captain');
create function public.matches_of(c uuid) returns setof public.matches language sql stable security definer set search_path = '' as
$$ select * from public.matches m where m.club = c and public.rank_in(m.club) in ('player', 'captain') $$;
create function public.search_matches(wanted text) returns setof public.matches language sql stable security invoker set search_path = '' as
$$ select * from public.matches m where m.report ilike '%' || wanted || '%' $$;
create function public.people_in(c uuid) returns bigint language sql stable security definer set search_path = '' as
$$ select count(*) from public.club_people p where p.club = c and public.rank_in(c) is not null $$;
create function public.leave_club(c uuid) returns void language sql security definer set search_path = '' as
$$ delete from public.club_people where club = c and person = auth.uid() $$;
create function public.rename_club(c uuid, n text) returns void language plpgsql security definer set search_path = '' as
$$ begin
    if coalesce(public.rank_in(c), '') <> 'captain' then raise exception 'captains only' using errcode = '42501'; end if;
    execute format('update public.clubs set name = %L where id = $1', n) using c;
end $$;
revoke all on all tables in schema public from anon, authenticated;
revoke all on all functions in schema public from public, anon;
grant execute on all functions in schema public to authenticated;
grant execute on function public.search_matches(text) to anon;
grant select on public.clubs, public.club_people to authenticated;
grant select on public.matches to anon, authenticated;
grant update on public.matches to authenticated;
