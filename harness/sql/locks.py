"""Rules against what holds others up: long exclusive locks on tables that are in use.

The Supabase CLI applies each file in one transaction, so a lock is held until the whole file is done.
"""

from __future__ import annotations

from collections.abc import Iterator

from pglast import ast, enums

from harness.sql.destructive import narrows, rewrites
from harness.sql.known import Known, Table, shown, sql_type, table_of
from harness.sql.objections import Objection, Rules

__all__ = ["LOCKS", "outside_transaction"]

LOCKS = Rules(
    {
        "index-lock": "nobody can write to the table while the index is built, dropped or rebuilt",
        "table-rewrite": "every row is written anew while nobody can read or write the table",
        "unvalidated-first": "every row is read under a lock that keeps writers out",
        "validate-apart": "in one transaction with the constraint, its lock is held while rows are read",
        "unique-by-index": "the index is built while nobody can read or write the table",
        "concurrently-alone": "it runs outside the file's transaction: if one fails later, half stays",
        "explicit-lock": "whoever uses the table waits until the migration is over",
        "refresh-lock": "nobody can read the view while it is made anew",
    }
)

_Alter = enums.AlterTableType
_REWRITES = {
    _Alter.AT_SetLogged: "set logged",
    _Alter.AT_SetUnLogged: "set unlogged",
    _Alter.AT_SetTableSpace: "set tablespace",
    _Alter.AT_SetAccessMethod: "set access method",
    _Alter.AT_SetExpression: "set expression",
}
_STABLE = {"now", "current_timestamp", "statement_timestamp", "transaction_timestamp", "uid", "jwt"}
"""Functions whose value is one for the whole statement: as a default they rewrite nothing."""


@LOCKS.on(ast.IndexStmt)
def _index(node: ast.IndexStmt, known: Known) -> Iterator[Objection]:
    table = table_of(node.relation)
    if node.concurrent or known.is_fresh(table):
        return
    unique = "unique " if node.unique else ""
    safer = (
        f"create {unique}index concurrently {node.idxname or '…'} on {shown(table)} …, alone in its file"
    )
    yield Objection("index-lock", f"builds an index on {shown(table)} while writers wait", safer)


@LOCKS.on(ast.DropStmt)
def _drop_index(node: ast.DropStmt, _: Known) -> Iterator[Objection]:
    if node.removeType == enums.ObjectType.OBJECT_INDEX and not node.concurrent:
        name = ".".join(part.sval for part in node.objects[0])
        what = f"drops the index {name} while readers and writers of its table wait"
        yield Objection("index-lock", what, f"drop index concurrently {name}, alone in its file")


def outside_transaction(node: ast.Node) -> bool:
    """Whether PostgreSQL refuses ``node`` inside a transaction; the CLI then runs it by itself."""
    if isinstance(node, ast.IndexStmt | ast.DropStmt):
        return bool(node.concurrent)
    if isinstance(node, ast.ReindexStmt):
        return _concurrent(node)
    return isinstance(node, ast.VacuumStmt) and bool(node.is_vacuumcmd)


def _concurrent(node: ast.ReindexStmt) -> bool:
    return any(option.defname == "concurrently" for option in node.params or ())


@LOCKS.on(ast.ReindexStmt)
def _reindex(node: ast.ReindexStmt, _: Known) -> Iterator[Objection]:
    if not _concurrent(node):
        yield Objection("index-lock", "rebuilds an index while writers wait", "reindex … concurrently")


@LOCKS.on(ast.ClusterStmt)
def _cluster(_: ast.ClusterStmt, __: Known) -> Iterator[Objection]:
    yield Objection("table-rewrite", "cluster rewrites the table", "leave it out")


@LOCKS.on(ast.VacuumStmt)
def _vacuum(node: ast.VacuumStmt, _: Known) -> Iterator[Objection]:
    if any(option.defname == "full" for option in node.options or ()):
        yield Objection("table-rewrite", "vacuum full rewrites the table", "vacuum, or pg_repack")


@LOCKS.on(ast.LockStmt)
def _lock(node: ast.LockStmt, known: Known) -> Iterator[Objection]:
    for table in map(table_of, node.relations):
        if not known.is_fresh(table):
            safer = "leave it out: each statement takes the weakest lock that it needs"
            yield Objection("explicit-lock", f"locks {shown(table)} until the migration is over", safer)


@LOCKS.on(ast.RefreshMatViewStmt)
def _refresh(node: ast.RefreshMatViewStmt, known: Known) -> Iterator[Objection]:
    table = table_of(node.relation)
    if not (node.concurrent or node.skipData or known.is_fresh(table)):
        safer = f"refresh materialized view concurrently {shown(table)} (it needs a unique index)"
        yield Objection("refresh-lock", f"{shown(table)} cannot be read meanwhile", safer)


@LOCKS.on(ast.AlterTableStmt)
def _alter(node: ast.AlterTableStmt, known: Known) -> Iterator[Objection]:
    table = table_of(node.relation)
    if known.is_fresh(table):
        return
    for command in node.cmds:
        kind, made = command.subtype, command.def_
        if kind in _REWRITES:
            yield _rewrite(table, f"{_REWRITES[kind]} rewrites {shown(table)}")
        elif kind == _Alter.AT_AlterColumnType:
            yield from _type_change(table, command, known)
        elif kind == _Alter.AT_AddColumn:
            yield from _new_column(table, made)
        elif kind == _Alter.AT_AddConstraint:
            yield from _constraint(table, made)
        elif kind == _Alter.AT_AddIdentity:
            yield _rewrite(table, f"{shown(table)}.{command.name} becomes an identity column")
        elif kind == _Alter.AT_ValidateConstraint and (table, command.name) in known.new_unvalidated:
            what = f"adds and validates {command.name} of {shown(table)} in one transaction"
            yield Objection("validate-apart", what, "validate it in a migration of its own")


def _rewrite(table: Table, what: str) -> Objection:
    safer = f"add a column (or table) beside {shown(table)}, fill it in portions, then switch over"
    return Objection("table-rewrite", what, safer)


def _type_change(table: Table, command: ast.AlterTableCmd, known: Known) -> Iterator[Objection]:
    old, new = known.columns.get(table, {}).get(command.name), sql_type(command.def_.typeName)
    column = f"{shown(table)}.{command.name}"
    if old is None:
        yield _rewrite(table, f"{column} becomes {new}; what it was before, no migration says")
    elif not narrows(old, new) and (rewrites(old, new) or command.def_.raw_default):
        yield _rewrite(table, f"{column} goes from {old} to {new}")


def _new_column(table: Table, column: ast.ColumnDef) -> Iterator[Objection]:
    name = f"{shown(table)}.{column.colname}"
    if column.typeName and "serial" in sql_type(column.typeName).name:
        yield _rewrite(table, f"{name} is numbered in every row")
    for constraint in column.constraints or ():
        kind = constraint.contype
        if kind == enums.ConstrType.CONSTR_IDENTITY:
            yield _rewrite(table, f"{name} is numbered in every row")
        elif kind == enums.ConstrType.CONSTR_GENERATED and constraint.generated_kind != "v":
            yield _rewrite(table, f"{name} is computed for every row")
        elif kind == enums.ConstrType.CONSTR_DEFAULT and _volatile(constraint.raw_expr):
            yield Objection(
                "table-rewrite",
                f"the default of {name} is computed for every row",
                "add the column without a default, set the default next, fill the rows in portions",
            )
        elif kind == enums.ConstrType.CONSTR_CHECK:
            yield _unvalidated(table, f"the check of {name} reads every row", "check")
        elif kind in (enums.ConstrType.CONSTR_UNIQUE, enums.ConstrType.CONSTR_PRIMARY):
            yield _by_index(table, f"builds the index of {name} under lock")


def _constraint(table: Table, constraint: ast.Constraint) -> Iterator[Objection]:
    kind, name = constraint.contype, constraint.conname or "the constraint"
    if kind in (enums.ConstrType.CONSTR_FOREIGN, enums.ConstrType.CONSTR_CHECK):
        if not constraint.skip_validation:
            what = "foreign key" if kind == enums.ConstrType.CONSTR_FOREIGN else "check"
            yield _unvalidated(table, f"{name} ({what}) reads every row of {shown(table)}", what)
    elif kind in (enums.ConstrType.CONSTR_UNIQUE, enums.ConstrType.CONSTR_PRIMARY):
        if not constraint.indexname:
            yield _by_index(table, f"builds the index of {name} on {shown(table)} under lock")
    elif kind == enums.ConstrType.CONSTR_EXCLUSION:
        yield Objection("unique-by-index", f"builds the index of {name} under lock", "in a quiet hour")


def _unvalidated(table: Table, what: str, kind: str) -> Objection:
    add = f"alter table {shown(table)} add constraint … {kind} … not valid"
    safer = f"{add}; in the next migration: validate constraint …"
    return Objection("unvalidated-first", what, safer)


def _by_index(table: Table, what: str) -> Objection:
    safer = (
        f"create unique index concurrently … on {shown(table)}, alone in its file;"
        " then: add constraint … using index …"
    )
    return Objection("unique-by-index", what, safer)


def _volatile(expression: ast.Node) -> bool:
    """Whether a default calls a function that may answer differently for each row."""
    if isinstance(expression, ast.FuncCall):
        name = expression.funcname[-1].sval
        return name not in _STABLE or any(map(_volatile, expression.args or ()))
    inner = [getattr(expression, name, None) for name in ("arg", "lexpr", "rexpr", "args")]
    parts = [part for item in inner for part in (item if isinstance(item, tuple) else (item,))]
    return any(_volatile(part) for part in parts if isinstance(part, ast.Node))
