create schema authz;
grant usage on schema authz to anon, authenticated;
create table public.orgs (id uuid primary key default gen_random_uuid(), name text not null, plan text not null default 'free' check (plan in ('free', 'pro')));
create table public.org_users (org_id uuid not null references public.orgs on delete cascade, user_id uuid not null references auth.users on delete cascade, roles text[] not null default '{member}', primary key (org_id, user_id));
create table public.chats (id uuid primary key default gen_random_uuid(), org_id uuid not null references public.orgs on delete cascade, user_id uuid not null default auth.uid() references auth.users on delete cascade, title text, share_token text unique, shared_until timestamptz, deleted_at timestamptz);
create table public.messages (id bigint generated always as identity primary key, chat_id uuid not null references public.chats on delete cascade, role text not null default 'user' check (role in ('user', 'assistant', 'system')), content text not null, tokens integer not null default 0);
create table public.prompts (id uuid primary key default gen_random_uuid(), org_id uuid references public.orgs on delete cascade, author_id uuid not null default auth.uid() references auth.users, body text not null, scope text not null default 'private' check (scope in ('private', 'org', 'global')));
create table public.attachments (id uuid primary key default gen_random_uuid(), message_id bigint not null references public.messages on delete cascade, object_path text not null, bytes bigint not null default 0);
create table public.api_keys (id uuid primary key default gen_random_uuid(), org_id uuid not null references public.orgs on delete cascade, name text not null, secret_hash text not null, last_used timestamptz);
create function authz.member(org uuid) returns boolean language sql stable security definer set search_path = '' as
$$ select exists (select from public.org_users u where u.org_id = org and u.user_id = auth.uid()) $$;
create function authz.admin(org uuid) returns boolean language sql stable security definer set search_path = '' as
$$ select exists (select from public.org_users u where u.org_id = org and u.user_id = auth.uid() and u.roles && '{admin,owner}') $$;
create function authz.my_chat(chat uuid) returns boolean language sql stable security definer set search_path = '' as
$$ select exists (select from public.chats c where c.id = chat and c.user_id = auth.uid() and c.deleted_at is null) $$;
create function authz.my_message(message bigint) returns boolean language sql stable security definer set search_path = '' as
$$ select exists (select from public.messages m where m.id = message and authz.my_chat(m.chat_id)) $$;
revoke execute on all functions in schema authz from public;
grant execute on all functions in schema authz to authenticated;
alter table public.orgs enable row level security;
alter table public.org_users enable row level security;
alter table public.chats enable row level security;
alter table public.messages enable row level security;
alter table public.prompts enable row level security;
alter table public.attachments enable row level security;
alter table public.api_keys enable row level security;
grant select on public.orgs to authenticated;
grant update (name) on public.orgs to authenticated;
grant select, insert, update, delete on public.org_users to authenticated;
grant select, insert, delete on public.chats to authenticated;
grant update (title, share_token, shared_until, deleted_at) on public.chats to authenticated;
grant select, insert (chat_id, role, content) on public.messages to authenticated;
grant select, insert, update, delete on public.prompts to authenticated;
grant select, insert, delete on public.attachments to authenticated;
grant select (id, org_id, name, last_used), delete on public.api_keys to authenticated;
grant select, insert, update, delete on all tables in schema public to service_role;
create policy orgs_read on public.orgs for select to authenticated using (authz.member(id));
create policy orgs_edit on public.orgs for update to authenticated using (authz.admin(id)) with check (authz.admin(id));
create policy ou_read on public.org_users for select to authenticated using (authz.member(org_id));
create policy ou_add on public.org_users for insert to authenticated with check (authz.admin(org_id));
create policy ou_edit on public.org_users for update to authenticated using (authz.admin(org_id)) with check (authz.admin(org_id));
create policy ou_drop on public.org_users for delete to authenticated using (authz.admin(org_id) or user_id = (select auth.uid()));
create policy chats_read on public.chats for select to authenticated using (user_id = (select auth.uid()) and deleted_at is null);
create policy chats_new on public.chats for insert to authenticated with check (user_id = (select auth.uid()) and authz.member(org_id));
create policy chats_edit on public.chats for update to authenticated using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()) and authz.member(org_id));
create policy chats_drop on public.chats for delete to authenticated using (user_id = (select auth.uid()));
create policy messages_read on public.messages for select to authenticated using (authz.my_chat(chat_id) and role <> 'system');
create policy messages_add on public.messages for insert to authenticated with check (authz.my_chat(chat_id) and role = 'user');
create policy prompts_own on public.prompts for all to authenticated using (author_id = (select auth.uid())) with check (author_id = (select auth.uid()) and scope <> 'global' and (org_id is null or authz.member(org_id)));
create policy prompts_org on public.prompts for select to authenticated using (scope = 'org' and authz.member(org_id));
create policy prompts_global on public.prompts for select to authenticated using (scope = 'global');
create policy prompts_moderate on public.prompts for delete to authenticated using (scope = 'org' and authz.admin(org_id));
create policy att_read on public.attachments for select to authenticated using (authz.my_message(message_id));
create policy att_add on public.attachments for insert to authenticated with check (authz.my_message(message_id));
create policy att_drop on public.attachments for delete to authenticated using (authz.my_message(message_id));
create policy keys_read on public.api_keys for select to authenticated using (authz.admin(org_id));
create policy keys_drop on public.api_keys for delete to authenticated using (authz.admin(org_id));
create function public.shared_chat(token text) returns jsonb language sql stable security definer set search_path = '' as
$$ select jsonb_build_object('title', c.title, 'messages', (select jsonb_agg(m.content order by m.id) from public.messages m where m.chat_id = c.id and m.role <> 'system')) from public.chats c where c.share_token = token and c.shared_until > now() and c.deleted_at is null $$;
create function public.create_key(org uuid, name text) returns text language plpgsql security definer set search_path = '' as $$
declare secret text := replace(gen_random_uuid()::text, '-', '');
begin
  if not authz.admin(org) then raise exception 'admins only' using errcode = '42501'; end if;
  insert into public.api_keys (org_id, name, secret_hash) values (org, create_key.name, md5(secret));
  return secret;
end $$;
create function public.usage(org uuid) returns bigint language plpgsql stable security definer set search_path = '' as $$
begin
  if not authz.member(org) then return 0; end if;
  return (select coalesce(sum(m.tokens), 0) from public.messages m join public.chats c on c.id = m.chat_id where c.org_id = org);
end $$;
create function public.append_messages(chat uuid, items jsonb) returns integer language sql set search_path = '' as
$$ with made as (insert into public.messages (chat_id, role, content) select chat, 'user', i ->> 'content' from jsonb_array_elements(items) i returning 1) select count(*)::integer from made $$;
revoke execute on function public.shared_chat, public.create_key, public.usage, public.append_messages from public;
grant execute on function public.shared_chat to anon, authenticated;
grant execute on function public.create_key, public.usage, public.append_messages to authenticated;
insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types) values ('attachments', 'attachments', false, 20971520, '{image/png,application/pdf}');
create policy att_files_read on storage.objects for select to authenticated using (bucket_id = 'attachments' and authz.member(((storage.foldername(name))[1])::uuid) and (storage.foldername(name))[2] = (select auth.uid())::text);
create policy att_files_add on storage.objects for insert to authenticated with check (bucket_id = 'attachments' and authz.member(((storage.foldername(name))[1])::uuid) and (storage.foldername(name))[2] = (select auth.uid())::text);
create policy att_files_drop on storage.objects for delete to authenticated using (bucket_id = 'attachments' and authz.member(((storage.foldername(name))[1])::uuid) and (storage.foldername(name))[2] = (select auth.uid())::text);
create publication supabase_realtime for table public.messages;
