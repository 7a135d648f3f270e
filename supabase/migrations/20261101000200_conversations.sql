-- Conversations: each belongs to one user, and nobody else sees it.

create table public.conversations (
    id uuid primary key default gen_random_uuid(),
    owner_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
    title text not null default '' check (char_length(title) <= 200),
    mode text not null default 'instant' check (mode in ('instant', 'thinking')),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (id, owner_id) -- lets messages and attachments prove that they have the same owner
);
comment on table public.conversations is 'A chat of one user.';
create index conversations_owner_id_updated_at on public.conversations (owner_id, updated_at desc);

alter table public.conversations enable row level security;
revoke all on public.conversations from anon, authenticated, service_role;
grant select, insert, update, delete on public.conversations to authenticated, service_role;

create policy "owners read their conversations" on public.conversations
    for select to authenticated using (owner_id = (select auth.uid()));
create policy "owners begin conversations" on public.conversations
    for insert to authenticated with check (owner_id = (select auth.uid()));
create policy "owners change their conversations" on public.conversations
    for update to authenticated
    using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));
create policy "owners delete their conversations" on public.conversations
    for delete to authenticated using (owner_id = (select auth.uid()));

create function public.touch_updated_at() returns trigger
    language plpgsql security invoker set search_path = '' as
$$
begin
    new.updated_at := pg_catalog.now();
    return new;
end
$$;
revoke all on function public.touch_updated_at() from public, anon, authenticated, service_role;

create trigger touch_updated_at before update on public.conversations
    for each row execute function public.touch_updated_at();
