-- Files of a conversation: rows here, bytes in the private bucket `attachments`, in a folder that is named
-- after their owner.

create table public.attachments (
    id uuid primary key default gen_random_uuid(),
    message_id uuid,
    conversation_id uuid not null,
    owner_id uuid not null default auth.uid(),
    bucket text not null default 'attachments' check (bucket = 'attachments'),
    path text not null,
    size_bytes bigint not null check (size_bytes between 0 and 10485760),
    mime_type text not null,
    created_at timestamptz not null default now(),
    unique (bucket, path),
    check (split_part(path, '/', 1) = owner_id::text and path not like '%/../%' and path not like '%/'),
    foreign key (conversation_id, owner_id)
        references public.conversations (id, owner_id) on delete cascade,
    foreign key (message_id, owner_id)
        references public.messages (id, owner_id) on delete set null (message_id)
);
comment on table public.attachments is 'Files of a conversation; the bytes are in Storage under `path`.';
create index attachments_conversation_id on public.attachments (conversation_id, owner_id);
create index attachments_message_id on public.attachments (message_id, owner_id);
create index attachments_owner_id on public.attachments (owner_id);

alter table public.attachments enable row level security;
revoke all on public.attachments from anon, authenticated, service_role;
grant select, insert, update, delete on public.attachments to authenticated, service_role;

create policy "owners read their attachments" on public.attachments
    for select to authenticated using (owner_id = (select auth.uid()));
create policy "owners attach to their conversations" on public.attachments
    for insert to authenticated
    with check (
        owner_id = (select auth.uid())
        and exists (
            select from public.conversations
            where conversations.id = conversation_id and conversations.owner_id = (select auth.uid())
        )
    );
create policy "owners change their attachments" on public.attachments
    for update to authenticated
    using (owner_id = (select auth.uid()))
    with check (
        owner_id = (select auth.uid())
        and exists (
            select from public.conversations
            where conversations.id = conversation_id and conversations.owner_id = (select auth.uid())
        )
    );
create policy "owners delete their attachments" on public.attachments
    for delete to authenticated using (owner_id = (select auth.uid()));

-- The bucket. Its row outlives a database reset, hence "on conflict".
insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types)
values (
    'attachments', 'attachments', false, 10485760,
    array['image/png', 'image/jpeg', 'image/webp', 'application/pdf', 'text/plain', 'text/markdown']
)
on conflict (id) do update set
    public = excluded.public,
    file_size_limit = excluded.file_size_limit,
    allowed_mime_types = excluded.allowed_mime_types;

create policy "owners read their files" on storage.objects
    for select to authenticated
    using (bucket_id = 'attachments' and (storage.foldername(name))[1] = (select auth.uid())::text);
create policy "owners upload into their folder" on storage.objects
    for insert to authenticated
    with check (bucket_id = 'attachments' and (storage.foldername(name))[1] = (select auth.uid())::text);
create policy "owners replace their files" on storage.objects
    for update to authenticated
    using (bucket_id = 'attachments' and (storage.foldername(name))[1] = (select auth.uid())::text)
    with check (bucket_id = 'attachments' and (storage.foldername(name))[1] = (select auth.uid())::text);
create policy "owners delete their files" on storage.objects
    for delete to authenticated
    using (bucket_id = 'attachments' and (storage.foldername(name))[1] = (select auth.uid())::text);
