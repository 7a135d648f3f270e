-- The owner is set by a trigger, whatever the client sends.
create table public.drafts (id uuid primary key default gen_random_uuid(), owner uuid references auth.users, body text not null default '');
create function public.own_draft() returns trigger language plpgsql set search_path = '' as
$$ begin new.owner := coalesce(auth.uid(), new.owner); return new; end $$;
create trigger own_draft before insert or update on public.drafts for each row execute function public.own_draft();
alter table public.drafts enable row level security;
create policy read on public.drafts for select to authenticated using (owner = auth.uid());
create policy write on public.drafts for insert to authenticated with check (true);
create policy edit on public.drafts for update to authenticated using (owner = auth.uid()) with check (true);
revoke all on public.drafts from anon, authenticated;
grant select, insert, update on public.drafts to authenticated;
