-- A double: what a hosted project's database has beyond the baseline of our own, as far as it matters to
-- what reads, dumps and restores it. Run as supabase_admin, before any migration.
-- After supabase/postgres (image, roles), in words of our own.

create role dashboard_user nologin;
create role supabase_realtime_admin nologin noinherit;

-- Schemas of the platform, with tables that postgres may not read.
create schema vault;
create table vault.secrets (id uuid primary key default gen_random_uuid(), secret text not null);
insert into vault.secrets (secret) values ('of the platform');
create schema realtime authorization supabase_realtime_admin;
create table realtime.messages (id bigint generated always as identity primary key, payload jsonb);
alter table realtime.messages owner to supabase_realtime_admin;
create schema graphql_public;
create function graphql_public.graphql("operationName" text default null, query text default null)
  returns jsonb language sql as $$ select '{}'::jsonb $$;
grant usage on schema graphql_public to anon, authenticated, service_role;

-- Records of the platform's own migrations; a project's role cannot read them.
create table auth.schema_migrations (version text primary key);
insert into auth.schema_migrations values ('00');
create table storage.migrations (id int primary key, name text);
alter table auth.schema_migrations owner to supabase_auth_admin;
alter table storage.migrations owner to supabase_storage_admin;
revoke pg_read_all_data from postgres;
revoke all on auth.schema_migrations, storage.migrations from postgres;

-- The real tables are wider than the baseline's, and there are more of them.
alter table auth.users add column platform_only text default 'x';
create table auth.sessions (
  id uuid primary key, user_id uuid not null references auth.users (id) on delete cascade, aal text
);
alter table auth.sessions owner to supabase_auth_admin;
grant all on auth.sessions to postgres;
grant all on auth.users, auth.identities to postgres;
alter table storage.buckets add column type text not null default 'STANDARD';

-- What older projects grant by default.
alter default privileges for role supabase_admin in schema public grant select on tables to service_role;
