-- Schemas, extensions and guards of a Supabase project's database. Run as supabase_admin; idempotent.

create schema if not exists extensions authorization postgres;
create schema if not exists auth authorization supabase_auth_admin;
create schema if not exists storage authorization supabase_storage_admin;

create extension if not exists pgcrypto with schema extensions;
create extension if not exists pg_stat_statements with schema extensions;

grant usage on schema public, extensions, auth, storage to postgres, anon, authenticated, service_role;
grant all on schema public to postgres;
grant usage on schema auth to supabase_storage_admin;
grant usage on schema extensions to supabase_auth_admin, supabase_storage_admin;

-- Projects made since 2026 grant the API roles nothing on new tables of public: a migration says it itself.
-- (PostgreSQL's own default lets everybody execute a new function; a migration revokes that itself too.)

-- Stand-in for supautils, see roles.sql: postgres may write policies and triggers on the tables of auth
-- and storage, and nothing else there.
create or replace function extensions.guard_managed_schemas() returns event_trigger
    language plpgsql security invoker set search_path = '' as
$$
declare
    touched record;
begin
    if current_user <> 'postgres' then
        return;
    end if;
    if tg_event = 'ddl_command_end' then
        for touched in
            select object_identity from pg_catalog.pg_event_trigger_ddl_commands()
            where schema_name in ('auth', 'storage')
              and command_tag not in ('CREATE POLICY', 'ALTER POLICY', 'CREATE TRIGGER', 'GRANT', 'REVOKE')
        loop
            raise exception 'must be owner of %', touched.object_identity using errcode = '42501',
                hint = 'hosted projects refuse DDL in the schemas auth and storage; only policies and triggers may be added';
        end loop;
    else
        for touched in
            select object_identity from pg_catalog.pg_event_trigger_dropped_objects()
            where original and object_type not in ('policy', 'trigger')
              and (schema_name in ('auth', 'storage')
                   or (object_type = 'schema' and object_name in ('auth', 'storage')))
        loop
            raise exception 'must be owner of %', touched.object_identity using errcode = '42501';
        end loop;
    end if;
end
$$;
drop event trigger if exists guard_managed_schemas_ddl;
create event trigger guard_managed_schemas_ddl on ddl_command_end
    execute function extensions.guard_managed_schemas();
drop event trigger if exists guard_managed_schemas_drop;
create event trigger guard_managed_schemas_drop on sql_drop
    execute function extensions.guard_managed_schemas();

-- The Data API keeps a copy of the schema; every DDL tells it to read it anew (as on a hosted project).
create or replace function extensions.pgrst_ddl_watch() returns event_trigger
    language plpgsql security invoker set search_path = '' as
$$
begin
    perform pg_catalog.pg_notify('pgrst', 'reload schema');
end
$$;
drop event trigger if exists pgrst_ddl_watch;
create event trigger pgrst_ddl_watch on ddl_command_end execute function extensions.pgrst_ddl_watch();
drop event trigger if exists pgrst_drop_watch;
create event trigger pgrst_drop_watch on sql_drop execute function extensions.pgrst_ddl_watch();
