drop policy "owners read their files" on storage.objects;
drop policy "owners upload into their folder" on storage.objects;
drop policy "owners replace their files" on storage.objects;
drop policy "owners delete their files" on storage.objects;
drop table public.attachments;
-- Storage refuses direct deletes unless this says that one is meant.
select set_config('storage.allow_delete_query', 'true', true);
-- A bucket that still holds files stays, private as it is: a reverse migration must not lose files.
-- accept storage-delete: only a bucket without files goes, and the setting above allows it
delete from storage.buckets
where id = 'attachments' and not exists (select from storage.objects where bucket_id = 'attachments');
