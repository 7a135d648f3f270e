"""What tables hold: counts and checksums, to compare two databases by."""

from __future__ import annotations

import psycopg
from psycopg import sql

from harness.providers.database import WHOLE, Scope

__all__ = ["Contents", "contents"]

_TABLES = """
select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and not c.relispartition
  and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_'
  and n.nspname <> all (%s) and n.nspname || '.' || c.relname <> all (%s)
order by 1, 2
"""
Contents = dict[str, tuple[int, str]]
"""Table: how many rows, and a checksum over them that does not depend on their order."""


def contents(connection: psycopg.Connection, scope: Scope = WHOLE) -> Contents:
    """Count and checksum of every table in ``scope``, as the role of ``connection`` sees it."""
    found = {}
    tables = connection.execute(_TABLES.encode(), [list(scope.foreign), list(scope.closed)]).fetchall()
    for schema, table in tables:
        query = sql.SQL(
            "select count(*), coalesce(md5(string_agg(h, '' order by h)), '')"
            " from (select md5(t::text) as h from {} t) hashes"
        ).format(sql.Identifier(schema, table))
        count, checksum = connection.execute(query).fetchone() or (0, "")
        found[f"{schema}.{table}"] = (int(count), str(checksum))
    return found
