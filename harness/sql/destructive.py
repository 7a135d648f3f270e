"""Rules against losing data, and against taking away what the running release still uses."""

from __future__ import annotations

from collections.abc import Iterator

from pglast import ast, enums

from harness.sql.known import Known, SqlType, Table, shown, sql_type, table_of
from harness.sql.objections import Objection, Rules

__all__ = ["DESTRUCTIVE", "narrows", "rewrites"]

DESTRUCTIVE = Rules(
    {
        "drop-table": "the rows are gone; a reverse migration cannot bring them back",
        "drop-column": "the values are gone, and the release that still runs may read the column",
        "drop-schema": "everything in it is gone",
        "drop-database": "everything is gone",
        "drop-cascade": "what goes with it is not written down, so nobody has agreed to it",
        "truncate": "every row is gone",
        "delete-all": "without a condition every row is gone",
        "update-all": "without a condition every row's former value is gone, and every row is locked",
        "type-narrowing": "values that do not fit are cut or make it fail, and the table is rewritten",
        "set-not-null": "it fails when a row has none, and reads the whole table under an exclusive lock",
        "required-column": "it fails when the table has rows, for they have no value",
        "rename": "the release that still runs uses the old name",
        "disable-rls": "everybody with a grant sees every row",
        "dynamic-sql": "what it runs is put together at run time: nobody can read it beforehand",
    }
)

_Types = enums.ObjectType
_HOLD_ROWS = {
    _Types.OBJECT_TABLE: "table",
    _Types.OBJECT_FOREIGN_TABLE: "foreign table",
    _Types.OBJECT_MATVIEW: "materialized view",
    _Types.OBJECT_SEQUENCE: "sequence",
}


@DESTRUCTIVE.on(ast.DropStmt)
def _drop(node: ast.DropStmt, known: Known) -> Iterator[Objection]:
    dumped = "back the rows up, stop using it in one release, drop it in the next"
    for named in node.objects:
        parts = [part.sval for part in named] if isinstance(named, tuple) else []
        if node.removeType in _HOLD_ROWS and parts:
            table: Table = (parts[-2] if len(parts) > 1 else "public", parts[-1])
            if not known.is_fresh(table):
                what = f"drops the {_HOLD_ROWS[node.removeType]} {shown(table)} and its rows"
                yield Objection("drop-table", what, dumped)
    if node.removeType == _Types.OBJECT_SCHEMA:
        for name in (named.sval for named in node.objects):
            if name not in known.fresh_schemas:
                yield Objection("drop-schema", f"drops the schema {name}", dumped)
    if node.behavior == enums.DropBehavior.DROP_CASCADE:
        what = "cascade also drops whatever depends on it"
        yield Objection("drop-cascade", what, "name what goes: one drop for each object, without cascade")


@DESTRUCTIVE.on(ast.DropdbStmt)
def _drop_database(node: ast.DropdbStmt, _: Known) -> Iterator[Objection]:
    yield Objection("drop-database", f"drops the database {node.dbname}", "never in a migration")


@DESTRUCTIVE.on(ast.DropOwnedStmt)
def _drop_owned(_: ast.DropOwnedStmt, __: Known) -> Iterator[Objection]:
    what = "drops whatever the role owns"
    yield Objection("drop-cascade", what, "name what goes: one drop for each object")


@DESTRUCTIVE.on(ast.TruncateStmt)
def _truncate(node: ast.TruncateStmt, known: Known) -> Iterator[Objection]:
    for table in map(table_of, node.relations):
        if not known.is_fresh(table):
            what = f"removes every row of {shown(table)}"
            if node.behavior == enums.DropBehavior.DROP_CASCADE:
                what += " and of every table that refers to it"
            yield Objection(
                "truncate", what, "delete the rows that are meant, by a condition, after a backup"
            )


@DESTRUCTIVE.on(ast.DeleteStmt, ast.UpdateStmt)
def _every_row(node: ast.DeleteStmt | ast.UpdateStmt, known: Known) -> Iterator[Objection]:
    table = table_of(node.relation)
    if known.is_fresh(table) or not _always(node.whereClause):
        return
    if isinstance(node, ast.DeleteStmt):
        yield Objection("delete-all", f"deletes every row of {shown(table)}", "say which rows: where …")
    else:
        safer = "change the rows in portions, outside the migration, with a condition: where …"
        yield Objection("update-all", f"overwrites every row of {shown(table)}", safer)


def _always(condition: ast.Node | None) -> bool:
    """Whether a WHERE clause is none, or a constant."""
    if condition is None:
        return True
    return isinstance(condition, ast.A_Const) or (
        isinstance(condition, ast.TypeCast) and isinstance(condition.arg, ast.A_Const)
    )


@DESTRUCTIVE.on(ast.AlterTableStmt)
def _alter(node: ast.AlterTableStmt, known: Known) -> Iterator[Objection]:
    table = table_of(node.relation)
    if known.is_fresh(table):
        return
    for command in node.cmds:
        if command.subtype == enums.AlterTableType.AT_DisableRowSecurity:
            what = f"switches row level security of {shown(table)} off"
            yield Objection("disable-rls", what, "keep it on, and write a policy for what is missing")
        elif command.subtype == enums.AlterTableType.AT_DropColumn:
            safer = "stop using it in one release, drop it in the next, after a backup"
            yield Objection("drop-column", f"drops {shown(table)}.{command.name} and its values", safer)
        elif command.subtype == enums.AlterTableType.AT_SetNotNull:
            yield from _not_null(table, command.name, known)
        elif command.subtype == enums.AlterTableType.AT_AddColumn:
            yield from _required(table, command.def_)
        elif command.subtype == enums.AlterTableType.AT_AlterColumnType:
            yield from _narrowing(table, command, known)
        if command.behavior == enums.DropBehavior.DROP_CASCADE:
            what = f"cascade also drops whatever depends on {command.name}"
            yield Objection("drop-cascade", what, "drop what depends on it by name first")


def _not_null(table: Table, column: str, known: Known) -> Iterator[Objection]:
    if (table, column) in known.never_null:
        return  # PostgreSQL trusts the validated check and reads no row
    yield Objection(
        "set-not-null",
        f"{shown(table)}.{column} becomes not null while rows exist",
        f"fill the rows; alter table {shown(table)} add constraint {column}_set check"
        f" ({column} is not null) not valid; validate it in the next migration; set not null in a third",
    )


def _required(table: Table, column: ast.ColumnDef) -> Iterator[Objection]:
    kinds = {constraint.contype for constraint in column.constraints or ()}
    given = {
        enums.ConstrType.CONSTR_DEFAULT,
        enums.ConstrType.CONSTR_IDENTITY,
        enums.ConstrType.CONSTR_GENERATED,
    }
    demands = {enums.ConstrType.CONSTR_NOTNULL, enums.ConstrType.CONSTR_PRIMARY}
    serial = column.typeName and "serial" in sql_type(column.typeName).name
    if kinds & demands and not kinds & given and not serial:
        yield Objection(
            "required-column",
            f"{shown(table)}.{column.colname} is not null and has no default",
            "give it a default, or add it without not null and fill it first",
        )


def _narrowing(table: Table, command: ast.AlterTableCmd, known: Known) -> Iterator[Objection]:
    old, new = known.columns.get(table, {}).get(command.name), sql_type(command.def_.typeName)
    if old is not None and narrows(old, new):
        what = f"{shown(table)}.{command.name} goes from {old} to {new}, which does not hold every value"
        safer = f"add a column of type {new}, copy what fits, change the readers, drop the old one later"
        yield Objection("type-narrowing", what, safer)


@DESTRUCTIVE.on(ast.RenameStmt)
def _rename(node: ast.RenameStmt, known: Known) -> Iterator[Objection]:
    if node.renameType not in (_Types.OBJECT_TABLE, _Types.OBJECT_COLUMN, _Types.OBJECT_VIEW):
        return
    table = table_of(node.relation)
    if known.is_fresh(table):
        return
    old = f"{shown(table)}.{node.subname}" if node.subname else shown(table)
    safer = (
        "add the new name beside the old one (a column and a trigger, or a view), drop the old one later"
    )
    yield Objection("rename", f"{old} becomes {node.newname}", safer)


@DESTRUCTIVE.on(ast.AlterObjectSchemaStmt)
def _move(node: ast.AlterObjectSchemaStmt, known: Known) -> Iterator[Objection]:
    if node.relation and not known.is_fresh(table_of(node.relation)):
        what = f"{shown(table_of(node.relation))} moves to the schema {node.newschema}"
        yield Objection("rename", what, "leave a view of the old name until no release uses it")


@DESTRUCTIVE.on(ast.ExecuteStmt)
def _dynamic(_: ast.ExecuteStmt, __: Known) -> Iterator[Objection]:
    what = "runs SQL that is put together at run time"
    yield Objection("dynamic-sql", what, "write the statement out")


# --- which changes of a type lose values, and which rewrite the table --------------------------------

_SIZES = {"int2": 1, "int4": 2, "int8": 3, "float4": 4, "float8": 5}
_DIGITS = {"int2": 5, "int4": 10, "int8": 19}
_TEXTS = ("text", "varchar", "bpchar", "citext", "name")


def narrows(old: SqlType, new: SqlType) -> bool:
    """Whether ``new`` cannot hold every value of ``old``."""
    if old == new or old.array != new.array:
        return old != new
    if new.name in ("text", "citext") or (new.name == "varchar" and not new.modifiers):
        return False
    if old.name in _TEXTS and new.name in _TEXTS:
        return not old.modifiers or bool(new.modifiers and new.modifiers[0] < old.modifiers[0])
    if {old.name, new.name} <= set(_SIZES) | {"numeric"}:
        return _narrows_number(old, new)
    if old.name == new.name:  # timestamps and the like, by their precision
        return bool(new.modifiers and (not old.modifiers or new.modifiers < old.modifiers))
    return (old.name, new.name) not in _WIDENING


def _narrows_number(old: SqlType, new: SqlType) -> bool:
    if new.name == "numeric":
        if not new.modifiers:
            return old.name in ("float4", "float8")  # not-a-number and infinity aside, digits are lost
        digits = _DIGITS.get(old.name, _numeric_digits(old))
        scale = 0 if old.name in _DIGITS else _scale(old)
        return _numeric_digits(new) < digits or _scale(new) < scale
    lossless = (old.name, new.name) not in (("int4", "float4"), ("int8", "float4"), ("int8", "float8"))
    return old.name == "numeric" or _SIZES[new.name] < _SIZES[old.name] or not lossless


_WIDENING = {
    ("date", "timestamp"),
    ("date", "timestamptz"),
    ("timestamp", "timestamptz"),
    ("json", "jsonb"),
    ("cidr", "inet"),
}


_SAME_BYTES = {("cidr", "inet"), ("timestamp", "timestamptz")}  # the latter where the time zone is UTC


def rewrites(old: SqlType, new: SqlType) -> bool:
    """Whether the change writes every row anew under an exclusive lock."""
    if old == new:
        return False
    if old.array or new.array:
        return True
    if old.name in ("varchar", "text") and new.name in ("varchar", "text"):
        return narrows(old, new)
    if old.name == new.name == "numeric":
        same_scale = not new.modifiers or (bool(old.modifiers) and _scale(old) == _scale(new))
        return narrows(old, new) or not same_scale
    if old.name == new.name:
        return narrows(old, new)
    return bool(new.modifiers) or (old.name, new.name) not in _SAME_BYTES


def _scale(kind: SqlType) -> int:
    return kind.modifiers[1] if len(kind.modifiers) > 1 else (0 if kind.modifiers else 10**6)


def _numeric_digits(kind: SqlType) -> int:
    """Digits before the point that a numeric can hold."""
    return kind.modifiers[0] - _scale(kind) if kind.modifiers else 10**6
