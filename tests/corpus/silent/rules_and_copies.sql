-- Rewrite rules and triggers that copy, done right: what they copy is read by those who may read its source.
create table public.diaries (
    id bigint generated always as identity primary key,
    user_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
    body text not null default ''
);
-- A history that only its owner reads, an audit trail for the service alone, and a total that tells nothing.
create table public.diary_history (
    id bigint generated always as identity primary key,
    user_id uuid not null references auth.users (id) on delete cascade,
    body text not null
);
create table public.diary_audit (
    id bigint generated always as identity primary key,
    body text not null
);
create table public.posts (
    id bigint generated always as identity primary key,
    user_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
    title text not null
);
create table public.feed (id bigint generated always as identity primary key, title text not null);
-- Nobody deletes a receipt, and a rule keeps even the service from it.
create table public.receipts (
    id bigint generated always as identity primary key,
    user_id uuid not null references auth.users (id),
    amount numeric not null default 1
);
create rule keep as on delete to public.receipts do instead nothing;

alter table public.diaries enable row level security;
alter table public.diary_history enable row level security;
alter table public.diary_audit enable row level security;
alter table public.posts enable row level security;
alter table public.feed enable row level security;
alter table public.receipts enable row level security;
create policy own on public.diaries for all to authenticated using (user_id = (select auth.uid()));
create policy own on public.diary_history for select to authenticated using (user_id = (select auth.uid()));
create policy read on public.posts for select to authenticated using (true);
create policy add on public.posts for insert to authenticated with check (user_id = (select auth.uid()));
create policy read on public.feed for select to authenticated using (true);
create policy own on public.receipts for select to authenticated using (user_id = (select auth.uid()));

create function public.keep_history() returns trigger language plpgsql security definer set search_path = '' as $$
begin
    insert into public.diary_history (user_id, body) values (new.user_id, new.body);
    return null;
end $$;
create trigger keep_history after insert or update on public.diaries
    for each row execute function public.keep_history();
create rule audit as on insert to public.diaries do also insert into public.diary_audit (body) values (new.body);
create function public.announce() returns trigger language plpgsql security definer set search_path = '' as $$
begin
    insert into public.feed (title) values (new.title);
    return null;
end $$;
create trigger announce after insert on public.posts for each row execute function public.announce();

revoke execute on all functions in schema public from public, anon, authenticated;
revoke all on all tables in schema public from anon, authenticated;
grant select, insert, update, delete on public.diaries to authenticated;
grant select on public.diary_history, public.feed, public.receipts to authenticated;
grant select, insert on public.posts to authenticated;
grant all on all tables in schema public to service_role;
revoke update, delete on public.diary_audit from service_role;
