-- Messages of a conversation. The owner is the conversation's owner: the foreign key over both columns
-- says so for every role, the policies say so for users.

create table public.messages (
    id uuid primary key default gen_random_uuid(),
    conversation_id uuid not null,
    owner_id uuid not null default auth.uid(),
    role text not null check (role in ('user', 'assistant', 'system')),
    content text not null check (char_length(content) <= 200000),
    tokens integer check (tokens >= 0),
    created_at timestamptz not null default now(),
    unique (id, owner_id),
    foreign key (conversation_id, owner_id)
        references public.conversations (id, owner_id) on delete cascade
);
comment on table public.messages is 'What was said in a conversation, oldest first by created_at.';
create index messages_conversation_id_created_at
    on public.messages (conversation_id, owner_id, created_at);
create index messages_owner_id on public.messages (owner_id);

alter table public.messages enable row level security;
revoke all on public.messages from anon, authenticated, service_role;
grant select, insert, update, delete on public.messages to authenticated, service_role;

create policy "owners read their messages" on public.messages
    for select to authenticated using (owner_id = (select auth.uid()));
create policy "owners write into their conversations" on public.messages
    for insert to authenticated
    with check (
        owner_id = (select auth.uid())
        and exists (
            select from public.conversations
            where conversations.id = conversation_id and conversations.owner_id = (select auth.uid())
        )
    );
create policy "owners change their messages" on public.messages
    for update to authenticated
    using (owner_id = (select auth.uid()))
    with check (
        owner_id = (select auth.uid())
        and exists (
            select from public.conversations
            where conversations.id = conversation_id and conversations.owner_id = (select auth.uid())
        )
    );
create policy "owners delete their messages" on public.messages
    for delete to authenticated using (owner_id = (select auth.uid()));

-- A new message makes its conversation the latest. Runs with the rights of whoever writes the message.
create function public.touch_conversation() returns trigger
    language plpgsql security invoker set search_path = '' as
$$
begin
    update public.conversations set updated_at = pg_catalog.now() where id = new.conversation_id;
    return null;
end
$$;
revoke all on function public.touch_conversation() from public, anon, authenticated, service_role;

create trigger touch_conversation after insert on public.messages
    for each row execute function public.touch_conversation();
