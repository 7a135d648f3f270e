-- A public bucket that anybody lists, and a private one by owner_id instead of the folder.
insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types) values
    ('site', 'site', true, 1000000, array['image/png']), ('inbox', 'inbox', false, 1000000, array['message/rfc822']);
create policy site on storage.objects for select using (bucket_id = 'site');
create policy inbox on storage.objects for all to authenticated
    using (bucket_id = 'inbox' and owner_id = (select auth.uid())::text)
    with check (bucket_id = 'inbox' and owner_id = (select auth.uid())::text);
