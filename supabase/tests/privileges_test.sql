-- Who may do what, as the catalog has it: row level security everywhere, and no grant more than needed.
begin;
select plan(39);

select ok(relrowsecurity, format('%I.%I has row level security', nspname, relname))
from pg_class c join pg_namespace n on n.oid = relnamespace
where nspname in ('public', 'usage') and relkind in ('r', 'p') order by nspname, relname;

select policies_are('public', 'profiles', array[
    'owners read their profile', 'owners create their profile', 'owners change their profile'
]);
select policies_are('public', 'conversations', array[
    'owners read their conversations', 'owners begin conversations', 'owners change their conversations',
    'owners delete their conversations'
]);
select policies_are('usage', 'totals', array['users see their own totals']);
select policies_are('usage', 'entries', array[]::text[]);
select policy_roles_are('usage', 'totals', 'users see their own totals', array['authenticated']);

select table_privs_are('public', name, 'anon', array[]::text[], format('anon has no right on %s', name))
from unnest(array['profiles', 'conversations', 'messages', 'attachments', 'my_usage']) name;
select table_privs_are('usage', name, 'anon', array[]::text[], format('anon has no right on usage.%s', name))
from unnest(array['switches', 'totals', 'reservations', 'entries']) name;
select table_privs_are('usage', name, 'gateway', array[]::text[], format('gateway reads no usage.%s', name))
from unnest(array['switches', 'totals', 'reservations', 'entries']) name;

select function_privs_are('usage', name, arguments, 'gateway', array['EXECUTE'], format('gateway calls %s', name))
from (values ('reserve', array['jsonb']), ('settle', array['jsonb']), ('renew', array['uuid[]', 'integer']),
      ('sweep', array[]::text[]), ('ping', array[]::text[])) as f (name, arguments);
select function_privs_are('usage', name, array['jsonb'], 'authenticated', array[]::text[],
                          format('no user calls %s', name))
from unnest(array['reserve', 'settle']) name;

select ok(not prosecdef or proconfig @> array['search_path=""'], format('%s keeps its search_path', proname))
from pg_proc where proname in ('create_profile', 'reserve', 'settle') order by proname;
select ok(coalesce(reloptions, '{}') @> array['security_invoker=true'], 'my_usage asks with the rights of who asks')
from pg_class where oid = 'public.my_usage'::regclass;

select is(public, false, 'the bucket is private') from storage.buckets where id = 'attachments';
select is(file_size_limit, 10485760::bigint, 'files have a limit') from storage.buckets where id = 'attachments';
select * from finish();
rollback;
