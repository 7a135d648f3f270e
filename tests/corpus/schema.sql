-- A multi-tenant application as teams build them on Supabase: organisations, membership with roles, soft
-- delete, shared links, comments, billing, an audit trail, partitions, inheritance, views, RPC, storage.
-- It is correct: a check of it finds nothing. Every mutation of the corpus breaks one thing in it.

create type public.member_role as enum ('viewer', 'editor', 'admin');
create domain public.slug as text check (value ~ '^[a-z0-9-]{3,40}$');

-- People ----------------------------------------------------------------------------------------------

create table public.profiles (
    id uuid primary key references auth.users (id) on delete cascade,
    handle text unique not null check (char_length(handle) between 3 and 60),
    bio text,
    is_staff boolean not null default false,
    created_at timestamptz not null default now()
);

create function public.on_signup() returns trigger language plpgsql security definer set search_path = '' as $$
begin
    insert into public.profiles (id, handle) values (new.id, 'user-' || left(new.id::text, 13));
    return new;
end $$;
create trigger on_signup after insert on auth.users for each row execute function public.on_signup();

-- Organisations ---------------------------------------------------------------------------------------

create table public.organisations (
    id uuid primary key default gen_random_uuid(),
    name text not null check (name <> ''),
    slug public.slug not null unique,
    plan text not null default 'free' check (plan in ('free', 'team', 'enterprise')),
    created_by uuid not null default auth.uid() references auth.users (id)
);
create table public.members (
    org_id uuid not null references public.organisations (id) on delete cascade,
    user_id uuid not null references auth.users (id) on delete cascade,
    role public.member_role not null default 'viewer',
    accepted boolean not null default true,
    primary key (org_id, user_id)
);
create index members_user on public.members (user_id);
create table public.join_requests (
    id uuid primary key default gen_random_uuid(),
    org_id uuid not null references public.organisations (id) on delete cascade,
    user_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
    message text not null default ''
);

-- Helpers that policies use: they read membership past its own policies, and answer only for the caller.
create function public.is_member(org uuid) returns boolean
    language sql stable security definer set search_path = '' as
$$ select exists (select from public.members m where m.org_id = org and m.user_id = auth.uid() and m.accepted) $$;
create function public.has_role(org uuid, wanted public.member_role[]) returns boolean
    language sql stable security definer set search_path = '' as
$$ select exists (
    select from public.members m
    where m.org_id = org and m.user_id = auth.uid() and m.accepted and m.role = any (wanted)) $$;

-- Content ---------------------------------------------------------------------------------------------

create table public.projects (
    id uuid primary key default gen_random_uuid(),
    org_id uuid not null references public.organisations (id) on delete cascade,
    title text not null,
    archived boolean not null default false,
    budget numeric(12, 2) check (budget >= 0),
    tags text[] not null default '{}',
    unique (id, org_id)
);
create table public.documents (
    id uuid primary key default gen_random_uuid(),
    org_id uuid not null,
    project_id uuid not null,
    owner_id uuid not null default auth.uid() references auth.users (id),
    title text not null,
    body text not null default '',
    status text not null default 'draft' check (status in ('draft', 'review', 'published')),
    deleted_at timestamptz,
    words integer generated always as (char_length(body)) stored,
    foreign key (project_id, org_id) references public.projects (id, org_id) on delete cascade
);
create table public.shared_links (
    token uuid primary key default gen_random_uuid(),
    document_id uuid not null references public.documents (id) on delete cascade,
    created_by uuid not null default auth.uid() references auth.users (id),
    expires_at timestamptz not null default now() + interval '7 days'
);
create table public.comments (
    id bigint generated always as identity primary key,
    document_id uuid not null references public.documents (id) on delete cascade,
    parent_id bigint references public.comments (id),
    author_id uuid not null default auth.uid() references auth.users (id),
    text text not null check (char_length(text) between 1 and 5000)
);
create table public.notes (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
    title text not null default '',
    body text not null default '',
    pinned boolean not null default false,
    visible_during tstzrange
);

-- Reference data, billing, trails -----------------------------------------------------------------------

create table public.countries (code char(2) primary key, name text not null);
insert into public.countries values ('DE', 'Germany'), ('FR', 'France');
create table public.invoices (
    id bigint generated by default as identity primary key,
    org_id uuid not null references public.organisations (id),
    number text not null unique,
    total numeric(10, 2) not null check (total > 0),
    issued date not null default current_date
);
create table public.api_keys (
    id uuid primary key default gen_random_uuid(),
    org_id uuid not null references public.organisations (id) on delete cascade,
    digest text not null
);
create table public.events (
    id bigint generated always as identity,
    user_id uuid not null default auth.uid(),
    at timestamptz not null default now(),
    kind text not null,
    primary key (id, at)
) partition by range (at);
create table public.events_2026 partition of public.events for values from ('2026-01-01') to ('2027-01-01');
create table public.events_later partition of public.events default;
create table public.tickets (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
    subject text not null
);
create table public.urgent_tickets (deadline timestamptz not null default now()) inherits (public.tickets);

-- Parts that others play in a row; states that a row goes through ----------------------------------------

create table public.messages (
    id bigint generated always as identity primary key,
    sender_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
    recipient_id uuid not null references auth.users (id) on delete cascade,
    body text not null default '',
    flags jsonb not null default '{}'
);
create table public.orders (
    id uuid primary key default gen_random_uuid(),
    customer_id uuid not null default auth.uid() references auth.users (id),
    state text not null default 'draft' check (state in ('draft', 'submitted', 'paid', 'shipped')),
    discount integer not null default 0,
    total numeric(10, 2) not null default 25 check (total > 0)
);
create table public.hand_overs (
    id bigint generated always as identity primary key,
    note_id uuid not null references public.notes (id) on delete cascade,
    from_user uuid not null default auth.uid() references auth.users (id),
    to_user uuid not null references auth.users (id)
);
create function public.hand_over() returns trigger language plpgsql security definer set search_path = '' as $$
begin
    update public.notes set user_id = new.to_user where id = new.note_id and user_id = new.from_user;
    return null;
end $$;
create trigger hand_over after insert on public.hand_overs for each row execute function public.hand_over();

-- Row level security ------------------------------------------------------------------------------------

alter table public.profiles enable row level security;
alter table public.organisations enable row level security;
alter table public.members enable row level security;
alter table public.join_requests enable row level security;
alter table public.projects enable row level security;
alter table public.documents enable row level security;
alter table public.shared_links enable row level security;
alter table public.comments enable row level security;
alter table public.notes enable row level security;
alter table public.countries enable row level security;
alter table public.invoices enable row level security;
alter table public.api_keys enable row level security;
alter table public.events enable row level security;
alter table public.events_2026 enable row level security;
alter table public.events_later enable row level security;
alter table public.tickets enable row level security;
alter table public.urgent_tickets enable row level security;

alter table public.messages enable row level security;
alter table public.orders enable row level security;
alter table public.hand_overs enable row level security;

create policy profiles_read on public.profiles for select to authenticated using (true);
create policy profiles_own on public.profiles for update to authenticated
    using (id = (select auth.uid())) with check (id = (select auth.uid()));

create policy orgs_read on public.organisations for select to authenticated using (public.is_member(id));
create policy orgs_edit on public.organisations for update to authenticated
    using (public.has_role(id, array['admin']::public.member_role[]))
    with check (public.has_role(id, array['admin']::public.member_role[]));

create policy members_read on public.members for select to authenticated using (public.is_member(org_id));
create policy members_add on public.members for insert to authenticated
    with check (public.has_role(org_id, array['admin']::public.member_role[]));
create policy members_change on public.members for update to authenticated
    using (public.has_role(org_id, array['admin']::public.member_role[]))
    with check (public.has_role(org_id, array['admin']::public.member_role[]));
create policy members_remove on public.members for delete to authenticated
    using (public.has_role(org_id, array['admin']::public.member_role[]));

create policy requests_own on public.join_requests for all to authenticated
    using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));

create policy projects_read on public.projects for select to authenticated using (public.is_member(org_id));
create policy projects_write on public.projects for all to authenticated
    using (public.has_role(org_id, array['editor', 'admin']::public.member_role[]))
    with check (public.has_role(org_id, array['editor', 'admin']::public.member_role[]));

create policy documents_read on public.documents for select to authenticated
    using (deleted_at is null and public.is_member(org_id));
create policy documents_add on public.documents for insert to authenticated
    with check (owner_id = (select auth.uid()) and public.has_role(org_id, array['editor', 'admin']::public.member_role[]));
create policy documents_edit on public.documents for update to authenticated
    using (owner_id = (select auth.uid()) and public.is_member(org_id))
    with check (owner_id = (select auth.uid()) and public.is_member(org_id));
create policy documents_remove on public.documents for delete to authenticated
    using (owner_id = (select auth.uid()) and public.is_member(org_id));
create policy documents_live on public.documents as restrictive for select to authenticated
    using (deleted_at is null);

create policy links_own on public.shared_links for all to authenticated
    using (created_by = (select auth.uid()))
    with check (
        created_by = (select auth.uid())
        and exists (select from public.documents d where d.id = document_id and d.owner_id = (select auth.uid()))
    );

create policy comments_read on public.comments for select to authenticated
    using (exists (select from public.documents d where d.id = document_id and public.is_member(d.org_id)));
create policy comments_add on public.comments for insert to authenticated
    with check (
        author_id = (select auth.uid())
        and exists (select from public.documents d where d.id = document_id and public.is_member(d.org_id))
    );
create policy comments_edit on public.comments for update to authenticated
    using (author_id = (select auth.uid()))
    with check (
        author_id = (select auth.uid())
        and exists (select from public.documents d where d.id = document_id and public.is_member(d.org_id))
    );
create policy comments_remove on public.comments for delete to authenticated using (author_id = (select auth.uid()));

create policy notes_read on public.notes for select to authenticated using (user_id = (select auth.uid()));
create policy notes_add on public.notes for insert to authenticated with check (user_id = (select auth.uid()));
create policy notes_edit on public.notes for update to authenticated
    using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
create policy notes_remove on public.notes for delete to authenticated using (user_id = (select auth.uid()));

create policy countries_read on public.countries for select to anon, authenticated using (true);

create policy invoices_read on public.invoices for select to authenticated
    using (public.has_role(org_id, array['admin']::public.member_role[]));

create policy events_own on public.events for select to authenticated using (user_id = (select auth.uid()));
create policy events_add on public.events for insert to authenticated with check (user_id = (select auth.uid()));
create policy tickets_own on public.tickets for all to authenticated
    using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
create policy urgent_own on public.urgent_tickets for all to authenticated
    using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));

create policy messages_read on public.messages for select to authenticated
    using ((select auth.uid()) in (sender_id, recipient_id));
create policy messages_send on public.messages for insert to authenticated with check (sender_id = (select auth.uid()));
create policy messages_drop on public.messages for delete to authenticated using (sender_id = (select auth.uid()));
create policy orders_read on public.orders for select to authenticated using (customer_id = (select auth.uid()));
create policy orders_add on public.orders for insert to authenticated
    with check (customer_id = (select auth.uid()) and state = 'draft' and discount = 0);
create policy orders_edit on public.orders for update to authenticated
    using (customer_id = (select auth.uid()) and state = 'draft')
    with check (customer_id = (select auth.uid()) and state in ('draft', 'submitted') and discount = 0);
create policy hand_overs_own on public.hand_overs for select to authenticated using (from_user = (select auth.uid()));
create policy hand_overs_add on public.hand_overs for insert to authenticated with check (from_user = (select auth.uid()));

-- Views and functions -------------------------------------------------------------------------------------

create view public.my_documents with (security_invoker = true) as
    select d.id, d.title, d.owner_id, d.org_id from public.documents d where d.deleted_at is null;
create view public.project_titles with (security_invoker = true) as
    select p.id, p.title, p.org_id from public.projects p where not p.archived;
create view public.own_notes with (security_barrier = true) as
    select n.id, n.user_id, n.title from public.notes n where n.user_id = auth.uid() with check option;
create materialized view public.country_list as select code, name from public.countries;

-- Whoever has the token of a link may read that one document; nothing else comes out.
create function public.open_link(link uuid) returns table (title text, body text)
    language sql stable security definer set search_path = '' as
$$ select d.title, d.body from public.shared_links l join public.documents d on d.id = l.document_id
   where l.token = link and l.expires_at > now() and d.deleted_at is null $$;
create function public.my_events(kind_wanted text) returns setof public.events
    language sql stable security definer set search_path = '' as
$$ select * from public.events e where e.user_id = auth.uid() and e.kind = kind_wanted $$;
create function public.rename_note(note uuid, new_title text) returns void
    language sql security invoker set search_path = '' as
$$ update public.notes set title = new_title where id = note $$;

create function public.spent(customer uuid) returns numeric
    language sql stable security definer set search_path = '' as
$$ select sum(o.total) from public.orders o where o.customer_id = customer and customer = auth.uid() $$;
create function public.find_profile(wanted text) returns table (id uuid, handle text)
    language sql stable security definer set search_path = '' as
$$ select p.id, p.handle from public.profiles p where p.handle = wanted and p.id = auth.uid() $$;
create function public.set_role(org uuid, who uuid, wanted public.member_role) returns void
    language plpgsql security definer set search_path = '' as $$
begin
    if not public.has_role(org, array['admin']::public.member_role[]) then
        raise exception 'only admins change roles' using errcode = '42501';
    end if;
    update public.members set role = wanted where org_id = org and user_id = who;
end $$;

create function public.keep_staff() returns trigger language plpgsql security invoker set search_path = '' as $$
begin
    if new.is_staff is distinct from old.is_staff and current_user in ('authenticated', 'anon') then
        raise exception 'is_staff is not yours to change' using errcode = '42501';
    end if;
    return new;
end $$;
create trigger keep_staff before update on public.profiles for each row execute function public.keep_staff();

-- Grants: what the policies are about, and nothing more ------------------------------------------------------

revoke all on all tables in schema public from public, anon, authenticated;
revoke execute on all functions in schema public from public, anon, authenticated;
grant execute on function public.is_member(uuid), public.has_role(uuid, public.member_role[]) to authenticated;
grant execute on function public.my_events(text), public.rename_note(uuid, text) to authenticated;
grant execute on function public.spent(uuid), public.find_profile(text) to authenticated;
grant execute on function public.set_role(uuid, uuid, public.member_role) to authenticated;
grant execute on function public.open_link(uuid) to anon, authenticated;
grant select on public.profiles to authenticated;
grant update (handle, bio) on public.profiles to authenticated;
grant select on public.organisations to authenticated;
grant update (name) on public.organisations to authenticated;
grant select, insert, update, delete on public.members to authenticated;
grant select, insert, update, delete on public.projects, public.documents, public.shared_links to authenticated;
grant select, insert, delete on public.join_requests to authenticated;
grant select, insert, update, delete on public.comments, public.notes to authenticated;
grant select, insert, update, delete on public.tickets, public.urgent_tickets to authenticated;
grant select on public.countries, public.country_list to anon, authenticated;
grant select on public.invoices to authenticated;
grant select, insert on public.events to authenticated;
grant select on public.my_documents, public.project_titles to authenticated;
grant select, insert, delete on public.messages to authenticated;
grant select, insert, update on public.orders to authenticated;
grant select, insert on public.hand_overs to authenticated;
grant select, insert, update, delete on public.own_notes to authenticated;
grant all on all tables in schema public to service_role;

create publication app_changes for table public.comments, public.notes;

-- Storage -------------------------------------------------------------------------------------------------

insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types) values
    ('avatars', 'avatars', true, 1048576, array['image/png', 'image/webp']),
    ('files', 'files', false, 10485760, array['application/pdf', 'text/plain']),
    ('org-assets', 'org-assets', false, 5242880, array['image/png']);

create policy avatars_read on storage.objects for select to anon, authenticated using (bucket_id = 'avatars');
create policy avatars_add on storage.objects for insert to authenticated
    with check (bucket_id = 'avatars' and (storage.foldername(name))[1] = (select auth.uid())::text);
create policy avatars_change on storage.objects for update to authenticated
    using (bucket_id = 'avatars' and (storage.foldername(name))[1] = (select auth.uid())::text)
    with check (bucket_id = 'avatars' and (storage.foldername(name))[1] = (select auth.uid())::text);
create policy files_read on storage.objects for select to authenticated
    using (bucket_id = 'files' and (storage.foldername(name))[1] = (select auth.uid())::text);
create policy files_add on storage.objects for insert to authenticated
    with check (bucket_id = 'files' and (storage.foldername(name))[1] = (select auth.uid())::text);
create policy files_change on storage.objects for update to authenticated
    using (bucket_id = 'files' and (storage.foldername(name))[1] = (select auth.uid())::text)
    with check (bucket_id = 'files' and (storage.foldername(name))[1] = (select auth.uid())::text);
create policy files_remove on storage.objects for delete to authenticated
    using (bucket_id = 'files' and (storage.foldername(name))[1] = (select auth.uid())::text);
create policy assets_read on storage.objects for select to authenticated
    using (bucket_id = 'org-assets' and public.is_member(((storage.foldername(name))[1])::uuid));
create policy assets_add on storage.objects for insert to authenticated
    with check (bucket_id = 'org-assets'
        and public.has_role(((storage.foldername(name))[1])::uuid, array['editor', 'admin']::public.member_role[]));
