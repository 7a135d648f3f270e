"""What a sequence of migrations has made so far, as far as rules need it: tables, columns, checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from pglast import ast, enums

__all__ = ["Known", "SqlType", "Table", "shown", "sql_type", "table_of"]

Table = tuple[str, str]
"""Schema and name."""

_ALIASES = {"int4": "integer", "int8": "bigint", "int2": "smallint", "bool": "boolean", "bpchar": "char"}


@dataclass(frozen=True)
class SqlType:
    """A type's name and modifiers: ``varchar``, (80,)."""

    name: str
    modifiers: tuple[int, ...] = ()
    array: bool = False

    def __str__(self) -> str:
        inside = f"({', '.join(map(str, self.modifiers))})" if self.modifiers else ""
        return f"{_ALIASES.get(self.name, self.name)}{inside}{'[]' if self.array else ''}"


def sql_type(name: ast.TypeName) -> SqlType:
    """The type that is written as ``name``."""
    words = [part.sval for part in name.names if part.sval != "pg_catalog"]
    numbers = [m.val.ival for m in name.typmods or () if isinstance(getattr(m, "val", None), ast.Integer)]
    return SqlType(".".join(words), tuple(numbers), bool(name.arrayBounds))


def table_of(relation: ast.RangeVar) -> Table:
    """The table that ``relation`` names; one without a schema is in public."""
    return relation.schemaname or "public", relation.relname


def shown(table: Table) -> str:
    """As a person writes it."""
    return ".".join(table)


@dataclass
class Known:
    """``fresh`` tables were made by the file that is being read: nobody uses them, and they are empty."""

    columns: dict[Table, dict[str, SqlType]] = field(default_factory=dict)
    never_null: set[tuple[Table, str]] = field(default_factory=set)
    """Columns with a validated check that they are not null, from an earlier file."""
    fresh: set[Table] = field(default_factory=set)
    fresh_schemas: set[str] = field(default_factory=set)
    unvalidated: dict[tuple[Table, str], set[str]] = field(default_factory=dict)
    """Constraints added NOT VALID: which columns they keep from being null."""
    new_unvalidated: set[tuple[Table, str]] = field(default_factory=set)
    """Those of them that this file added."""
    _checked: set[tuple[Table, str]] = field(default_factory=set)

    def begin_file(self) -> None:
        """From here on, what was made so far is there already, with rows in it."""
        self.never_null |= self._checked
        for things in (self.fresh, self.fresh_schemas, self.new_unvalidated, self._checked):
            things.clear()

    def is_fresh(self, table: Table) -> bool:
        """Whether this file itself made ``table``."""
        return table in self.fresh or table[0] in self.fresh_schemas

    def learn(self, node: ast.Node) -> None:
        """Take in what a statement makes."""
        learn = _LEARNERS.get(type(node))
        if learn:
            learn(self, node)

    def _create(self, table: Table, exists: bool) -> None:
        if not (exists and table in self.columns):
            self.fresh.add(table)
            self.columns[table] = {}

    def _learn_table(self, node: ast.CreateStmt) -> None:
        table = table_of(node.relation)
        self._create(table, bool(node.if_not_exists))
        for element in node.tableElts or ():
            if isinstance(element, ast.ColumnDef) and element.typeName:
                self.columns[table].setdefault(element.colname, sql_type(element.typeName))

    def _learn_query(self, node: ast.CreateTableAsStmt) -> None:
        self._create(table_of(node.into.rel), bool(node.if_not_exists))

    def _learn_schema(self, node: ast.CreateSchemaStmt) -> None:
        if node.schemaname and not node.if_not_exists:
            self.fresh_schemas.add(node.schemaname)

    def _learn_change(self, node: ast.AlterTableStmt) -> None:
        table = table_of(node.relation)
        columns = self.columns.setdefault(table, {})
        for command in node.cmds:
            kind, made = command.subtype, command.def_
            if kind in (enums.AlterTableType.AT_AddColumn, enums.AlterTableType.AT_AlterColumnType):
                name = command.name or getattr(made, "colname", None)
                if name and made and made.typeName:
                    columns[name] = sql_type(made.typeName)
            elif kind == enums.AlterTableType.AT_DropColumn:
                columns.pop(command.name, None)
            elif kind == enums.AlterTableType.AT_AddConstraint:
                self._learn_constraint(table, made)
            elif kind == enums.AlterTableType.AT_ValidateConstraint:
                kept = self.unvalidated.pop((table, command.name), set())
                self._checked |= {(table, column) for column in kept}

    def _learn_constraint(self, table: Table, constraint: ast.Constraint) -> None:
        kept = _not_null_columns(constraint.raw_expr)
        if constraint.skip_validation:
            self.unvalidated[table, constraint.conname or ""] = kept
            self.new_unvalidated.add((table, constraint.conname or ""))
        else:
            self._checked |= {(table, column) for column in kept}

    def _learn_rename(self, node: ast.RenameStmt) -> None:
        if node.renameType == enums.ObjectType.OBJECT_TABLE and node.relation:
            old = table_of(node.relation)
            new = (old[0], node.newname)
            self.columns[new] = self.columns.pop(old, {})
            if old in self.fresh:
                self.fresh.add(new)
        elif node.renameType == enums.ObjectType.OBJECT_COLUMN and node.relation:
            columns = self.columns.get(table_of(node.relation), {})
            if node.subname in columns:
                columns[node.newname] = columns.pop(node.subname)


_LEARNERS: dict[type, Callable[[Known, Any], None]] = {
    ast.CreateStmt: Known._learn_table,
    ast.CreateTableAsStmt: Known._learn_query,
    ast.CreateSchemaStmt: Known._learn_schema,
    ast.AlterTableStmt: Known._learn_change,
    ast.RenameStmt: Known._learn_rename,
}


def _not_null_columns(expression: Any) -> set[str]:
    """Columns that a check keeps from being null: `a is not null and b is not null`."""
    if isinstance(expression, ast.NullTest):
        negated = expression.nulltesttype == enums.NullTestType.IS_NOT_NULL
        if negated and isinstance(expression.arg, ast.ColumnRef):
            return {_last(expression.arg.fields)}
    if isinstance(expression, ast.BoolExpr) and expression.boolop == enums.BoolExprType.AND_EXPR:
        return {name for part in expression.args for name in _not_null_columns(part)}
    return set()


def _last(fields: Iterable[Any]) -> str:
    return str(getattr(list(fields)[-1], "sval", "*"))
