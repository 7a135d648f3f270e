-- The roles of a Supabase project. Run as supabase_admin (superuser); idempotent; cluster-wide.
-- Nobody gets a password here: the deploy sets the passwords of those that log in.

do $$
declare
    wanted constant text[][] := array[
        ['postgres', 'login createdb createrole replication bypassrls'],
        ['anon', 'nologin noinherit'],
        ['authenticated', 'nologin noinherit'],
        ['service_role', 'nologin noinherit bypassrls'],
        ['authenticator', 'login noinherit'],
        ['supabase_auth_admin', 'nologin noinherit createrole'],
        ['supabase_storage_admin', 'nologin noinherit createrole']
    ];
    entry text[];
begin
    foreach entry slice 1 in array wanted loop
        if not exists (select from pg_roles where rolname = entry[1]) then
            execute format('create role %I', entry[1]);
        end if;
        execute format('alter role %I nosuperuser %s', entry[1], entry[2]);
    end loop;
end
$$;

-- The Data API logs in as authenticator and becomes what the token says.
grant anon, authenticated, service_role to authenticator with inherit false, set true;
-- The owner of the schema may act as each of them (SET LOCAL ROLE), as on a hosted project.
grant anon, authenticated, service_role to postgres with inherit false, set true;
grant pg_monitor, pg_read_all_data, pg_signal_backend to postgres;
-- Hosted projects let postgres write policies and triggers on tables of auth and storage that it does not
-- own (extension supautils). Here it is a member of their owners, and the event trigger in schemas.sql
-- refuses every other DDL there: a migration that a hosted project would refuse is refused here as well.
grant supabase_auth_admin, supabase_storage_admin to postgres with inherit true, set false;

alter role postgres set search_path to "$user", public, extensions;
alter role supabase_admin set search_path to "$user", public, auth, extensions;
alter role supabase_auth_admin set search_path to auth;
alter role supabase_storage_admin set search_path to storage;
alter role anon set statement_timeout to '3s';
alter role authenticated set statement_timeout to '8s';
alter role authenticator set statement_timeout to '8s';
alter role authenticator set lock_timeout to '8s';
