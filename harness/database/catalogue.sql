with api as (
    select r.oid, r.rolname from pg_roles r
    where r.rolname = any (%(roles)s)
       or (r.rolname <> all (%(trusted)s) and exists (
            select from pg_auth_members m join pg_roles a on a.oid = m.member
            where m.roleid = r.oid and a.rolname = 'authenticator'))
), spaces as (
    select n.oid, n.nspname, n.nspowner from pg_namespace n
    where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
), members as (
    select c.oid as extension_member from pg_depend d join pg_class c on c.oid = d.objid
    where d.classid = 'pg_class'::regclass and d.deptype = 'e'
)
select json_build_object(
'server', (select json_build_object(
    'version', current_setting('server_version_num')::int,
    'database', current_database(),
    'user', current_user,
    'bypasses', (select rolsuper or rolbypassrls from pg_roles where rolname = current_user),
    'replica', pg_is_in_recovery(),
    'exposed', (select split_part(s, '=', 2) from pg_db_role_setting d, unnest(d.setconfig) s
        where s like 'pgrst.db_schemas=%%' limit 1))),
'api_roles', (select coalesce(json_agg(rolname order by rolname), '[]') from api),
'roles', (select json_agg(json_build_object(
    'name', r.rolname, 'super', r.rolsuper, 'bypasses', r.rolbypassrls, 'login', r.rolcanlogin,
    'creates', r.rolcreaterole or r.rolcreatedb,
    'member_of', (select coalesce(json_agg(b.rolname order by b.rolname), '[]')
        from pg_auth_members m join pg_roles b on b.oid = m.roleid where m.member = r.oid)) order by r.rolname)
    from pg_roles r where r.rolname !~ '^pg_'),
'schemas', (select json_agg(json_build_object(
    'name', n.nspname, 'owner', n.nspowner::regrole::text,
    'usage', (select coalesce(json_agg(a.rolname order by 1), '[]') from api a where has_schema_privilege(a.oid, n.oid, 'USAGE')),
    'create', (select coalesce(json_agg(a.rolname order by 1), '[]') from api a where has_schema_privilege(a.oid, n.oid, 'CREATE'))
    ) order by n.nspname) from spaces n),
'relations', (select coalesce(json_agg(json_build_object(
    'oid', c.oid::bigint, 'schema', n.nspname, 'name', c.relname, 'kind', c.relkind,
    'owner', c.relowner::regrole::text,
    'owner_oid', c.relowner::bigint,
    'rls', c.relrowsecurity, 'forced', c.relforcerowsecurity, 'rows', c.reltuples::bigint,
    'options', coalesce(c.reloptions, '{}'),
    'extension', exists (select from members where extension_member = c.oid),
    'partition', c.relispartition, 'bound', pg_get_expr(c.relpartbound, c.oid),
    'partition_key', case when c.relkind = 'p' then pg_get_partkeydef(c.oid) end,
    'parents', (select coalesce(json_agg(i.inhparent::bigint), '[]') from pg_inherits i where i.inhrelid = c.oid),
    'reads', case when c.relkind in ('v', 'm') then (
        select coalesce(json_agg(distinct d.refobjid::bigint), '[]') from pg_rewrite w
        join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid
            and d.refclassid = 'pg_class'::regclass and d.refobjid <> c.oid
        where w.ev_class = c.oid) else '[]' end,
    'definition', case when c.relkind in ('v', 'm') then pg_get_viewdef(c.oid) end,
    'updatable', case when c.relkind = 'v' then pg_relation_is_updatable(c.oid, true) else 0 end,
    'privileges', (select coalesce(json_object_agg(a.rolname, (
        select coalesce(json_agg(p), '[]') from unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) p
        where has_table_privilege(a.oid, c.oid, p))), '{}') from api a),
    'trusted', (select coalesce(json_object_agg(t.rolname, (
        select coalesce(json_agg(p), '[]') from unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE']) p
        where has_table_privilege(t.oid, c.oid, p) or (p <> 'DELETE' and has_any_column_privilege(t.oid, c.oid, p)))), '{}')
        from pg_roles t where t.rolname = any (%(trusted)s) and has_schema_privilege(t.oid, n.oid, 'USAGE')),
    'public', (select coalesce(json_agg(x.privilege_type), '[]') from aclexplode(c.relacl) x where x.grantee = 0),
    'columns', (select coalesce(json_agg(json_build_object(
        'name', t.attname, 'type', format_type(t.atttypid, t.atttypmod), 'not_null', t.attnotnull or y.typnotnull,
        'generated', t.attgenerated <> '', 'identity', t.attidentity,
        'default', pg_get_expr(d.adbin, d.adrelid),
        'kind', y.typtype, 'category', b.typcategory, 'base', b.typname, 'domain', case when y.typtype = 'd' then y.oid::regtype::text end,
        'length', case when t.atttypmod > 4 and b.typname in ('varchar', 'bpchar') then t.atttypmod - 4 end,
        'labels', (select json_agg(e.enumlabel order by e.enumsortorder) from pg_enum e where e.enumtypid = b.oid),
        'grants', case when exists (select from pg_attribute g where g.attrelid = c.oid and g.attacl is not null) then (
            select json_object_agg(a.rolname, (select coalesce(json_agg(p), '[]') from unnest(array['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) p
            where has_column_privilege(a.oid, c.oid, t.attnum, p))) from api a) end)
        order by t.attnum), '[]')
        from pg_attribute t join pg_type y on y.oid = t.atttypid
        join pg_type b on b.oid = case when y.typtype = 'd' then y.typbasetype else y.oid end
        left join pg_attrdef d on d.adrelid = c.oid and d.adnum = t.attnum
        where t.attrelid = c.oid and t.attnum > 0 and not t.attisdropped),
    'constraints', (select coalesce(json_agg(json_build_object(
        'name', k.conname, 'kind', k.contype, 'deferrable', k.condeferrable,
        'columns', (select coalesce(json_agg(a.attname order by o), '[]') from unnest(k.conkey) with ordinality u (n, o)
            join pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.n),
        'target', nullif(k.confrelid, 0)::bigint,
        'target_columns', (select coalesce(json_agg(a.attname order by o), '[]') from unnest(k.confkey) with ordinality u (n, o)
            join pg_attribute a on a.attrelid = k.confrelid and a.attnum = u.n),
        'text', case when k.contype = 'c' then pg_get_constraintdef(k.oid) end) order by k.conname), '[]')
        from pg_constraint k where k.conrelid = c.oid and k.contype in ('p', 'u', 'f', 'c', 'x'))
    ) order by n.nspname, c.relname), '[]')
    from pg_class c join spaces n on n.oid = c.relnamespace where c.relkind in ('r', 'p', 'v', 'm', 'f')),
'domains', (select coalesce(json_object_agg(y.oid::regtype::text, (select json_agg(pg_get_constraintdef(k.oid)) from pg_constraint k where k.contypid = y.oid)), '{}')
    from pg_type y join spaces n on n.oid = y.typnamespace where y.typtype = 'd'),
'policies', (select coalesce(json_agg(json_build_object(
    'relation', p.polrelid::bigint, 'name', p.polname, 'permissive', p.polpermissive,
    'command', case p.polcmd when 'r' then 'SELECT' when 'a' then 'INSERT' when 'w' then 'UPDATE' when 'd' then 'DELETE' else 'ALL' end,
    'roles', (select json_agg(case when o = 0 then 'public' else o::regrole::text end) from unnest(p.polroles) o),
    'applies', (select coalesce(json_agg(a.rolname), '[]') from api a
        where exists (select from unnest(p.polroles) o where o = 0 or pg_has_role(a.oid, nullif(o, 0), 'USAGE'))),
    'using', pg_get_expr(p.polqual, p.polrelid), 'check', pg_get_expr(p.polwithcheck, p.polrelid),
    'functions', (select coalesce(json_agg(distinct d.refobjid::bigint), '[]') from pg_depend d
        where d.classid = 'pg_policy'::regclass and d.objid = p.oid and d.refclassid = 'pg_proc'::regclass),
    'relations', (select coalesce(json_agg(distinct d.refobjid::bigint), '[]') from pg_depend d
        where d.classid = 'pg_policy'::regclass and d.objid = p.oid and d.refclassid = 'pg_class'::regclass and d.refobjid <> p.polrelid)
    ) order by p.polrelid, p.polname), '[]') from pg_policy p),
'functions', (select coalesce(json_agg(json_build_object(
    'oid', f.oid::bigint, 'schema', n.nspname, 'name', f.proname, 'kind', f.prokind,
    'arguments', pg_get_function_identity_arguments(f.oid),
    'inputs', (select coalesce(json_agg(json_build_object('name', coalesce(f.proargnames[o], ''), 'type', format_type(t, null),
        'category', y.typcategory, 'optional', o > f.pronargs - f.pronargdefaults, 'default', pg_get_function_arg_default(f.oid, o::int),
        'labels', (select json_agg(e.enumlabel order by e.enumsortorder) from pg_enum e where e.enumtypid = t)) order by o), '[]')
        from unnest(f.proargtypes::oid[]) with ordinality u (t, o) join pg_type y on y.oid = t),
    'returns', format_type(f.prorettype, null), 'set', f.proretset, 'volatile', f.provolatile,
    'definer', f.prosecdef, 'leakproof', f.proleakproof, 'language', l.lanname,
    'owner', f.proowner::regrole::text,
    'owner_bypasses', (select o.rolsuper or o.rolbypassrls from pg_roles o where o.oid = f.proowner),
    'settings', coalesce(f.proconfig, '{}'),
    'body', case when l.lanname in ('sql', 'plpgsql') then coalesce(nullif(f.prosrc, ''), pg_get_function_sqlbody(f.oid)) else '' end,
    'extension', exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = f.oid and d.deptype = 'e'),
    'executors', (select coalesce(json_agg(a.rolname order by 1), '[]') from api a where has_function_privilege(a.oid, f.oid, 'EXECUTE')
        and has_schema_privilege(a.oid, n.oid, 'USAGE'))
    ) order by n.nspname, f.proname), '[]')
    from pg_proc f join spaces n on n.oid = f.pronamespace join pg_language l on l.oid = f.prolang where f.prokind in ('f', 'p')),
'triggers', (select coalesce(json_agg(json_build_object('name', t.tgname, 'relation', t.tgrelid::bigint, 'function', t.tgfoid::bigint,
    'enabled', t.tgenabled, 'type', t.tgtype, 'definition', pg_get_triggerdef(t.oid)) order by t.tgname), '[]') from pg_trigger t where not t.tgisinternal),
'rewrites', (select coalesce(json_agg(json_build_object('name', w.rulename, 'relation', w.ev_class::bigint,
    'command', case w.ev_type when '1' then 'SELECT' when '2' then 'UPDATE' when '3' then 'INSERT' else 'DELETE' end,
    'instead', w.is_instead, 'conditional', w.ev_qual <> '<>', 'enabled', w.ev_enabled <> 'D',
    'definition', pg_get_ruledef(w.oid)) order by w.rulename), '[]')
    from pg_rewrite w join pg_class c on c.oid = w.ev_class join spaces n on n.oid = c.relnamespace where w.rulename <> '_RETURN'),
'sequences', (select coalesce(json_agg(json_build_object('schema', n.nspname, 'name', c.relname,
    'identity', exists (select from pg_depend d where d.objid = c.oid and d.classid = 'pg_class'::regclass and d.deptype in ('a', 'i')),
    'privileges', (select coalesce(json_object_agg(a.rolname, (select coalesce(json_agg(p), '[]') from unnest(array['SELECT', 'UPDATE', 'USAGE']) p
        where has_sequence_privilege(a.oid, c.oid, p))), '{}') from api a)) order by 1), '[]')
    from pg_class c join spaces n on n.oid = c.relnamespace where c.relkind = 'S'),
'publications', (select coalesce(json_agg(json_build_object('name', p.pubname, 'all', p.puballtables,
    'tables', (select coalesce(json_agg(t.schemaname || '.' || t.tablename), '[]') from pg_publication_tables t where t.pubname = p.pubname))), '[]')
    from pg_publication p),
'defaults', (select coalesce(json_agg(json_build_object('by', d.defaclrole::regrole::text, 'schema', n.nspname, 'kind', d.defaclobjtype,
    'to', case when x.grantee = 0 then 'public' else x.grantee::regrole::text end, 'privilege', x.privilege_type)), '[]')
    from pg_default_acl d left join pg_namespace n on n.oid = d.defaclnamespace, aclexplode(d.defaclacl) x),
'extensions', (select coalesce(json_object_agg(e.extname, n.nspname), '{}') from pg_extension e join pg_namespace n on n.oid = e.extnamespace),
'buckets', case when exists (
    select from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'storage' and c.relname = 'buckets'
      and has_schema_privilege(n.oid, 'USAGE') and has_table_privilege(c.oid, 'SELECT')) then
    query_to_xml('select coalesce(json_agg(b order by id), ''[]'')::text as found from storage.buckets b', false, false, '')::text end
)
