"""Rules for what a hosted project refuses although a database of one's own allows it.

On a hosted project the role `postgres`, which migrations run as, is no superuser, and it does not own the
schemas that Supabase manages. The extensions are those that Supabase's images let it create
(`supautils.privileged_extensions` in github.com/supabase/postgres, ansible/files/postgresql_config).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pglast import ast, enums

from harness.sql.known import Known, shown, table_of
from harness.sql.objections import Objection, Rules

__all__ = ["EXTENSIONS", "HOSTED", "MANAGED"]

HOSTED = Rules(
    {
        "managed-schema": "a hosted project refuses it (must be owner of …): Supabase manages that schema",
        "storage-delete": "Storage refuses direct deletes: the row would go and the file stay",
        "superuser": "a hosted project refuses it: only a superuser may, and postgres is none there",
        "bypass-rls": "a role that bypasses row level security sees every user's rows",
        "event-trigger": "it runs at every change of the schema, by whomever; older projects refuse it",
        "extension-not-offered": "a hosted project does not offer the extension",
        "transaction-control": "the file is one transaction: it could no longer be rolled back whole",
        "password": "a password in a migration is in the repository and in every log of statements",
    }
)

MANAGED = frozenset({"auth", "storage", "realtime", "vault", "graphql", "graphql_public", "pgbouncer"})
"""Schemas that belong to Supabase; policies and triggers on their tables are the exception."""

_OFFERED = """
    address_standardizer address_standardizer_data_us autoinc bloom btree_gin btree_gist citext
    cube dblink dict_int dict_xsyn earthdistance fuzzystrmatch hstore http hypopg index_advisor
    insert_username intarray isn ltree moddatetime orioledb pg_buffercache pg_cron pg_graphql
    pg_hashids pg_jsonschema pg_net pg_prewarm pg_repack pg_stat_monitor pg_stat_statements
    pg_tle pg_trgm pg_walinspect pgaudit pgcrypto pgjwt pgmq pgroonga pgroonga_database
    pgrouting pgrowlocks pgsodium pgstattuple pgtap plcoffee pljava plls plpgsql plpgsql_check
    plv8 postgis postgis_raster postgis_sfcgal postgis_tiger_geocoder postgis_topology
    postgres_fdw refint rum seg sslinfo supabase_vault supautils tablefunc tcn timescaledb
    tsm_system_rows tsm_system_time unaccent uuid-ossp vector wrappers
"""
EXTENSIONS = frozenset(_OFFERED.split())
"""Those that a hosted project lets `postgres` create."""

_BESIDE = "keep your own objects in a schema of your own; managed tables take only policies and triggers"
_NO_SUPERUSER = "leave it out, or set it in the project's dashboard"


def _managed(schema: str | None, what: str) -> Iterator[Objection]:
    if schema in MANAGED:
        yield Objection("managed-schema", f"{what} in the schema {schema}", _BESIDE)


@HOSTED.on(ast.CreateStmt, ast.IndexStmt, ast.CreateSeqStmt)
def _create(node: ast.CreateStmt | ast.IndexStmt | ast.CreateSeqStmt, _: Known) -> Iterator[Objection]:
    relation = node.sequence if isinstance(node, ast.CreateSeqStmt) else node.relation
    yield from _managed(relation.schemaname, f"DDL on {shown(table_of(relation))}")


@HOSTED.on(ast.AlterTableStmt)
def _alter(node: ast.AlterTableStmt, _: Known) -> Iterator[Objection]:
    yield from _managed(node.relation.schemaname, f"alters {shown(table_of(node.relation))}")


@HOSTED.on(ast.ViewStmt)
def _view(node: ast.ViewStmt, _: Known) -> Iterator[Objection]:
    yield from _managed(node.view.schemaname, f"makes the view {shown(table_of(node.view))}")


@HOSTED.on(ast.CreateTableAsStmt)
def _query(node: ast.CreateTableAsStmt, _: Known) -> Iterator[Objection]:
    yield from _managed(node.into.rel.schemaname, f"makes {shown(table_of(node.into.rel))}")


@HOSTED.on(ast.CreateFunctionStmt)
def _function(node: ast.CreateFunctionStmt, _: Known) -> Iterator[Objection]:
    yield from _managed(_schema_of(node.funcname), f"makes the function {_dotted(node.funcname)}")
    for option in node.options or ():
        if option.defname == "language" and option.arg.sval.lower() in ("c", "internal"):
            what = f"a function in the language {option.arg.sval}"
            yield Objection("superuser", what, "write it in SQL or PL/pgSQL")


@HOSTED.on(ast.DropStmt)
def _drop(node: ast.DropStmt, _: Known) -> Iterator[Objection]:
    allowed = (enums.ObjectType.OBJECT_POLICY, enums.ObjectType.OBJECT_TRIGGER)
    if node.removeType in allowed:
        return
    for named in node.objects:
        if node.removeType == enums.ObjectType.OBJECT_SCHEMA:
            yield from _managed(named.sval, f"drops {named.sval}")
            continue
        parts = named if isinstance(named, tuple) else getattr(named, "objname", None) or ()
        yield from _managed(_schema_of(parts), f"drops {_dotted(parts)}")


@HOSTED.on(ast.RenameStmt, ast.AlterObjectSchemaStmt)
def _rename(node: ast.RenameStmt | ast.AlterObjectSchemaStmt, _: Known) -> Iterator[Objection]:
    policy = getattr(node, "renameType", None) in (
        enums.ObjectType.OBJECT_POLICY,
        enums.ObjectType.OBJECT_TRIGGER,
    )
    if node.relation and not policy:
        yield from _managed(node.relation.schemaname, f"renames {shown(table_of(node.relation))}")


@HOSTED.on(ast.CreateSchemaStmt)
def _schema(node: ast.CreateSchemaStmt, _: Known) -> Iterator[Objection]:
    if not node.if_not_exists:
        yield from _managed(node.schemaname, "makes a schema of a managed name")


@HOSTED.on(ast.DeleteStmt, ast.TruncateStmt)
def _delete(node: ast.DeleteStmt | ast.TruncateStmt, _: Known) -> Iterator[Objection]:
    relations = node.relations if isinstance(node, ast.TruncateStmt) else (node.relation,)
    for table in map(table_of, relations):
        if table in (("storage", "objects"), ("storage", "buckets")):
            yield Objection("storage-delete", f"deletes from {shown(table)}", "use the Storage API")


@HOSTED.on(ast.CreateRoleStmt, ast.AlterRoleStmt)
def _role(node: ast.CreateRoleStmt | ast.AlterRoleStmt, _: Known) -> Iterator[Objection]:
    for option in node.options or ():
        if option.defname == "superuser" and _on(option):
            yield Objection("superuser", "makes a superuser", "grant what the role needs")
        elif option.defname == "bypassrls" and _on(option):
            what = "the role bypasses row level security"
            yield Objection("bypass-rls", what, "write policies for the role, or use service_role")
        elif option.defname == "password" and option.arg is not None:
            safer = "make the role nologin; the deploy sets its password"
            yield Objection("password", "a password stands in the migration", safer)


def _on(option: ast.DefElem) -> bool:
    return bool(getattr(option.arg, "boolval", True))


@HOSTED.on(ast.CreateEventTrigStmt)
def _event_trigger(node: ast.CreateEventTrigStmt, _: Known) -> Iterator[Objection]:
    yield Objection("event-trigger", f"makes the event trigger {node.trigname}", _NO_SUPERUSER)


@HOSTED.on(ast.CreateExtensionStmt)
def _extension(node: ast.CreateExtensionStmt, _: Known) -> Iterator[Objection]:
    if node.extname not in EXTENSIONS:
        what = f"asks for the extension {node.extname}"
        yield Objection("extension-not-offered", what, "see the list in the project's dashboard")


_SAVEPOINTS = (
    enums.TransactionStmtKind.TRANS_STMT_SAVEPOINT,
    enums.TransactionStmtKind.TRANS_STMT_RELEASE,
    enums.TransactionStmtKind.TRANS_STMT_ROLLBACK_TO,
)


@HOSTED.on(ast.TransactionStmt)
def _transaction(node: ast.TransactionStmt, _: Known) -> Iterator[Objection]:
    if node.kind not in _SAVEPOINTS:
        word = node.kind.name.removeprefix("TRANS_STMT_").lower()
        yield Objection("transaction-control", f"{word} inside a migration", "leave it out")


@HOSTED.on(ast.CopyStmt)
def _copy(node: ast.CopyStmt, _: Known) -> Iterator[Objection]:
    if node.filename:
        place = "a program" if node.is_program else "a file"
        what = f"copies {'from' if node.is_from else 'to'} {place} of the server"
        yield Objection("superuser", what, "insert the rows, or copy through the client")


_SUPERUSER_ONLY: dict[type[ast.Node], str] = {
    ast.AlterSystemStmt: "alter system",
    ast.CreateTableSpaceStmt: "create tablespace",
    ast.CreatedbStmt: "create database",
    ast.CreatePLangStmt: "create language",
    ast.CreateFdwStmt: "create foreign data wrapper",
    ast.CreateAmStmt: "create access method",
    ast.CreateOpClassStmt: "create operator class",
    ast.CreateOpFamilyStmt: "create operator family",
    ast.CreateSubscriptionStmt: "create subscription",
    ast.LoadStmt: "load",
    ast.SecLabelStmt: "security label",
}


@HOSTED.on(*_SUPERUSER_ONLY)
def _superuser(node: ast.Node, _: Known) -> Iterator[Objection]:
    yield Objection("superuser", _SUPERUSER_ONLY[type(node)], _NO_SUPERUSER)


def _dotted(parts: Iterable[Any]) -> str:
    return ".".join(str(getattr(part, "sval", "")) for part in parts)


def _schema_of(parts: Iterable[Any]) -> str | None:
    names = [str(getattr(part, "sval", "")) for part in parts]
    return names[0] if len(names) > 1 else None
