"""The schema of a database as lines of text, read from the catalog: one per object, comparable at once.

What it covers: schemas, relations (with RLS flags, options and grants), columns, constraints, indexes,
policies, triggers, functions, types, comments, default privileges, and the declaration of storage buckets.
A dump covers more and takes ten times longer; the checks that compare whole databases use that.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

__all__ = ["catalog_lines"]

_MANAGED = "managed_schemas"
_FOREIGN = f"{_MANAGED} || '{{information_schema, extensions, supabase_migrations}}'::text[]"
_IGNORED = f"n.nspname !~ '^pg_' and n.nspname <> all ({_FOREIGN})"


def _sorted(grants: str) -> str:
    """Grants in one order: it depends on the order in which they were given, and means nothing."""
    return f"(select array_agg(g order by g::text) from unnest({grants}) g)::text"  # noqa: S608


# No list means the default one: a restored database has none where the one before had it spelled out.
_KIND = """case relkind when 'S' then 's' else 'r' end::"char\""""
_RELATION_ACL = f"coalesce(relacl, acldefault({_KIND}, relowner))"
_QUERY = f"""
with all_relations as (
    select c.*, n.nspname, format('%I.%I', n.nspname, c.relname) as title, {_IGNORED} as own
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname !~ '^pg_'
), relations as (
    select * from all_relations where own
)
select format('schema %I %s', n.nspname, {_sorted("n.nspacl")})
from pg_namespace n where {_IGNORED} and (n.nspname <> 'public' or {_MANAGED} = '{{}}')
union all
select format('relation %s %s owner=%s rls=%s/%s %s %s', relkind, title, relowner::regrole, relrowsecurity,
              relforcerowsecurity, reloptions, {_sorted(_RELATION_ACL)})
       || case when relkind in ('v', 'm') then pg_get_viewdef(oid) else '' end
from relations where relkind in ('r', 'p', 'v', 'm', 'S', 'f')
union all
select format('column %s.%I %s null=%s %s %s %s %s', r.title, a.attname,
              format_type(a.atttypid, a.atttypmod), not a.attnotnull, a.attidentity, a.attgenerated,
              pg_get_expr(d.adbin, d.adrelid), {_sorted("a.attacl")})
from pg_attribute a join relations r on r.oid = a.attrelid
left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where a.attnum > 0 and not a.attisdropped and r.relkind in ('r', 'p', 'v', 'm', 'f')
union all
select format('constraint %s.%I %s', r.title, k.conname, pg_get_constraintdef(k.oid))
from pg_constraint k join relations r on r.oid = k.conrelid
union all
select format('index %s %s', title, pg_get_indexdef(oid)) from relations where relkind in ('i', 'I')
union all
select format('policy %s.%I %s %s %s using %s check %s', r.title, p.polname, p.polcmd, p.polpermissive,
              p.polroles::regrole[]::text, pg_get_expr(p.polqual, p.polrelid),
              pg_get_expr(p.polwithcheck, p.polrelid))
from pg_policy p join all_relations r on r.oid = p.polrelid where r.own or r.nspname = any ({_MANAGED})
union all
select format('trigger %s.%I %s %s', r.title, t.tgname, pg_get_triggerdef(t.oid), t.tgenabled)
from pg_trigger t join all_relations r on r.oid = t.tgrelid
join pg_proc p on p.oid = t.tgfoid join pg_namespace n on n.oid = p.pronamespace
where not t.tgisinternal and (r.own or (r.nspname = any ({_MANAGED}) and {_IGNORED}))
union all
select format('function %s owner=%s %s %s', p.oid::regprocedure, p.proowner::regrole, {_sorted("p.proacl")},
              pg_get_functiondef(p.oid))
from pg_proc p join pg_namespace n on n.oid = p.pronamespace where {_IGNORED} and p.prokind in ('f', 'p')
union all
select format('type %s.%I %s', n.nspname, t.typname,
              array(select enumlabel from pg_enum e where e.enumtypid = t.oid order by enumsortorder))
from pg_type t join pg_namespace n on n.oid = t.typnamespace
where {_IGNORED} and t.typtype in ('e', 'd', 'r')
union all
select format('comment %s %s', i.identity, d.description)
from pg_description d, lateral pg_identify_object(d.classoid, d.objoid, d.objsubid) i
where i.schema !~ '^pg_' and i.schema <> all ({_FOREIGN})
union all
select format('default privileges %s %s %s', defaclrole::regrole, defaclobjtype, {_sorted("defaclacl")})
from pg_default_acl d left join pg_namespace n on n.oid = d.defaclnamespace
where {_MANAGED} = '{{}}' or (d.defaclrole = 'postgres'::regrole and (n.oid is null or {_IGNORED}))
union all
select format('bucket %s public=%s %s %s', id, public, file_size_limit, allowed_mime_types)
from storage.buckets
"""  # noqa: S608 - made of constants


def catalog_lines(connection: psycopg.Connection, managed: Sequence[str] = ()) -> list[str]:
    """One line for each object, sorted; two databases with equal lines have the same schema.

    Of ``managed`` schemas, which somebody else makes, only what a project adds to them counts: policies,
    triggers that call its own functions, and its buckets.
    """
    names = ", ".join("'" + name.replace("'", "''") + "'" for name in managed)
    query = _QUERY.replace(_MANAGED, f"array[{names}]::text[]")
    rows = connection.execute(query.encode()).fetchall()
    return sorted(" ".join(str(row[0]).split()) for row in rows)
