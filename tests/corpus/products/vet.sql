create schema private;
grant usage on schema private to authenticated;
create type public.clinic_role as enum ('owner', 'vet', 'nurse', 'reception');
create table public.clinics (id uuid primary key default gen_random_uuid(), name text not null, phone text);
create table public.staff (
  clinic_id uuid not null references public.clinics on delete cascade,
  user_id uuid not null references auth.users on delete cascade,
  role public.clinic_role not null default 'reception', left_at timestamptz,
  primary key (clinic_id, user_id));
create table public.pets (
  id bigint generated always as identity primary key,
  clinic_id uuid not null references public.clinics on delete cascade,
  owner_id uuid not null default auth.uid() references auth.users on delete cascade,
  name text not null, species text not null default 'dog' check (species in ('dog', 'cat', 'bird')),
  deleted_at timestamptz, unique (id, clinic_id));
create table public.visits (
  id bigint generated always as identity primary key,
  pet_id bigint not null, clinic_id uuid not null, vet_id uuid references auth.users,
  internal_notes text, happened_at timestamptz not null default now(),
  foreign key (pet_id, clinic_id) references public.pets (id, clinic_id) on delete cascade);
create table public.visit_summaries (
  visit_id bigint primary key references public.visits on delete cascade,
  summary text not null, released boolean not null default false);
create function private.works_at(clinic uuid, needed public.clinic_role[] default null) returns boolean
  language sql stable security definer set search_path = '' as
$$ select exists (select from public.staff s where s.clinic_id = clinic and s.user_id = (select auth.uid())
     and s.left_at is null and (needed is null or s.role = any (needed))) $$;
revoke execute on function private.works_at from public;
grant execute on function private.works_at to authenticated;
alter table public.clinics enable row level security;
alter table public.staff enable row level security;
alter table public.pets enable row level security;
alter table public.visits enable row level security;
alter table public.visit_summaries enable row level security;
grant select, update on public.clinics to authenticated;
grant select, insert, update, delete on public.staff, public.visits, public.visit_summaries to authenticated;
grant select, insert, delete on public.pets to authenticated;
grant update (name, species, deleted_at) on public.pets to authenticated;
create policy clinics_read on public.clinics for select to authenticated using (private.works_at(id));
create policy clinics_write on public.clinics for update to authenticated using (private.works_at(id, '{owner}')) with check (private.works_at(id, '{owner}'));
create policy staff_read on public.staff for select to authenticated using (private.works_at(clinic_id) or user_id = (select auth.uid()));
create policy staff_manage on public.staff for insert to authenticated with check (private.works_at(clinic_id, '{owner}'));
create policy staff_change on public.staff for update to authenticated using (private.works_at(clinic_id, '{owner}')) with check (private.works_at(clinic_id, '{owner}'));
create policy staff_remove on public.staff for delete to authenticated using (private.works_at(clinic_id, '{owner}'));
create policy pets_owner_read on public.pets for select to authenticated using (owner_id = (select auth.uid()) and deleted_at is null);
create policy pets_clinic_read on public.pets for select to authenticated using (private.works_at(clinic_id) and deleted_at is null);
create policy pets_register on public.pets for insert to authenticated with check (owner_id = (select auth.uid()));
create policy pets_edit on public.pets for update to authenticated using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));
create policy pets_purge on public.pets for delete to authenticated using (private.works_at(clinic_id, '{owner}'));
create policy visits_staff on public.visits for all to authenticated using (private.works_at(clinic_id, '{owner,vet,nurse}')) with check (private.works_at(clinic_id, '{owner,vet,nurse}'));
create policy summaries_staff on public.visit_summaries for all to authenticated
  using (exists (select from public.visits v where v.id = visit_id and private.works_at(v.clinic_id, '{owner,vet}')))
  with check (exists (select from public.visits v where v.id = visit_id and private.works_at(v.clinic_id, '{owner,vet}')));
create function private.owns_visit(visit bigint) returns boolean language sql stable security definer set search_path = '' as
$$ select exists (select from public.visits v join public.pets p on p.id = v.pet_id where v.id = visit and p.owner_id = (select auth.uid())) $$;
revoke execute on function private.owns_visit from public;
grant execute on function private.owns_visit to authenticated;
create policy summaries_owner on public.visit_summaries for select to authenticated using (released and private.owns_visit(visit_id));
create view public.my_pets with (security_invoker = true) as select id, name, species, clinic_id from public.pets where owner_id = auth.uid();
grant select on public.my_pets to authenticated;
create function public.transfer_pet(pet bigint, clinic uuid) returns void language plpgsql security definer set search_path = '' as $$
begin
  if not exists (select from public.pets p where p.id = pet and p.owner_id = auth.uid()) then
    raise exception 'not your pet' using errcode = '42501';
  end if;
  delete from public.visits v where v.pet_id = pet and v.clinic_id <> clinic;
  update public.pets set clinic_id = clinic where id = pet;
end $$;
revoke execute on function public.transfer_pet from public;
grant execute on function public.transfer_pet to authenticated;
