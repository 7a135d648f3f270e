"""pgTAP for one transaction, on any server: its own extension where there is one, else its plain SQL.

pgTAP is nothing but functions in SQL and PL/pgSQL, so no server needs to have it installed: they are made
inside the transaction of a test and are gone when it is rolled back.
"""

from __future__ import annotations

import functools
import tarfile
from pathlib import Path

import psycopg

from harness.errors import DeployError

__all__ = ["lay_pgtap"]

_ARCHIVE = "tools/node_modules/@electric-sql/pglite-pgtap/dist/pgtap.tar.gz"
_FILE = "share/postgresql/extension/pgtap--1.3.5.sql"
_SCHEMA = "pgtap_of_this_test"
_ITS_SCHEMA = " from pg_extension e join pg_namespace n on n.oid = e.extnamespace where extname = 'pgtap'"
_OFFERED = "select exists (select from pg_available_extensions where name = 'pgtap')"


def lay_pgtap(connection: psycopg.Connection, root: Path) -> str:
    """Make pgTAP's functions callable until ``connection``'s transaction ends; where they came from.

    Raises:
        DeployError: when neither the server nor `tools/` of ``root`` has it.
        psycopg.errors.InsufficientPrivilege: when the role may not make functions.
    """
    path = str((connection.execute("select current_setting('search_path')").fetchone() or ("",))[0])
    if (connection.execute(_OFFERED).fetchone() or (False,))[0]:
        connection.execute("create extension if not exists pgtap with schema extensions")
        connection.execute(
            "select set_config('search_path', %s || ', ' || quote_ident(nspname), true)" + _ITS_SCHEMA,
            [path],
        )
        return "the server's extension"
    connection.execute(f"create schema {_SCHEMA}")
    connection.execute(f"grant usage on schema {_SCHEMA} to public")
    connection.execute("select set_config('search_path', %s, true)", [f"{_SCHEMA}, {path}"])
    connection.execute(_sql(root).encode())
    connection.execute("select set_config('search_path', %s, true)", [f"{path}, {_SCHEMA}"])
    return "the package's SQL"


@functools.cache
def _sql(root: Path) -> str:
    try:
        with tarfile.open(root / _ARCHIVE) as archive:
            member = archive.extractfile(_FILE)
            if member is None:
                raise KeyError(_FILE)
            return member.read().decode()
    except (OSError, KeyError, tarfile.TarError) as error:
        raise DeployError("supabase", f"pgTAP is not installed: {error}", "make setup") from None
