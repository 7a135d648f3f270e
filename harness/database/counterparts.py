"""Columns that conditions join by although no foreign key does: whoever is let in has the same in both.

`classes_taught c join pupils p on c.school = p.school and c.class = p.class`: made-up classes would never
be the same, and nobody would teach a pupil.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pglast import ast, enums, parse_sql
from pglast.parser import ParseError

from harness.database.catalogue import Catalogue, Relation
from harness.database.oracle import Subject

__all__ = ["counterparts_of"]

Place = tuple[int, str]
"""A relation, by its oid, and a column of it."""


@dataclass
class _Comparisons:
    """Which tables a text reads, by what it calls them, and which columns it holds to be the same."""

    tables: dict[str, list[tuple[str | None, str]]] = field(default_factory=dict)
    equal: list[tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=list)

    def look(self, node: Any) -> None:
        """Gather what stands in ``node``, however deep."""
        if isinstance(node, tuple | list):
            for one in node:
                self.look(one)
        if not isinstance(node, ast.Node):
            return
        if isinstance(node, ast.RangeVar):
            called = node.alias.aliasname if node.alias else node.relname
            self.tables.setdefault(called, []).append((node.schemaname, node.relname))
        if isinstance(node, ast.A_Expr) and _says_equal(node):
            self.equal.append((_column(node.lexpr), _column(node.rexpr)))
        for name in node:
            self.look(getattr(node, name))


def _says_equal(node: ast.A_Expr) -> bool:
    plain = node.kind == enums.A_Expr_Kind.AEXPR_OP and [name.sval for name in node.name] == ["="]
    return plain and bool(_column(node.lexpr)) and bool(_column(node.rexpr))


def _column(node: Any) -> tuple[str, ...]:
    """The parts of a column's name, where its table is said."""
    if not isinstance(node, ast.ColumnRef):
        return ()
    parts = tuple(part.sval for part in node.fields if isinstance(part, ast.String))
    return parts if len(parts) == len(node.fields) and len(parts) > 1 else ()


def counterparts_of(catalogue: Catalogue, subjects: Sequence[Subject]) -> dict[Place, list[Place]]:
    """By each column, those of other tables that rules, policies, functions and views compare it with."""
    found: dict[Place, list[Place]] = {}
    texts = {
        (relation.oid if relation else 0, text): relation for relation, text in _texts(catalogue, subjects)
    }
    for (_, text), relation in texts.items():
        for one, other in _pairs(catalogue, relation, text):
            if one[0] != other[0]:
                found.setdefault(one, []).append(other)
                found.setdefault(other, []).append(one)
    return found


def _texts(catalogue: Catalogue, subjects: Sequence[Subject]) -> Iterator[tuple[Relation | None, str]]:
    for subject in subjects:
        for rule in subject.rules:
            yield from ((subject.relation, f"select ({text})") for text in (rule.where, rule.check) if text)
        for policy in catalogue.policies_of(subject.relation):
            clauses = (policy.using, policy.check)
            yield from ((subject.relation, f"select ({text})") for text in clauses if text)
            yield from ((None, f.body) for f in catalogue.called(policy.functions) if f.language == "sql")
        if subject.relation.definition:
            yield None, subject.relation.definition


def _pairs(catalogue: Catalogue, relation: Relation | None, text: str) -> Iterator[tuple[Place, Place]]:
    seen = _Comparisons()
    try:
        seen.look([raw.stmt for raw in parse_sql(text)])
    except ParseError:  # what cannot be read joins nothing that we know of
        return
    for one, other in seen.equal:
        places = [_place(catalogue, seen, relation, name) for name in (one, other)]
        if places[0] and places[1]:
            yield places[0], places[1]


def _place(
    catalogue: Catalogue, seen: _Comparisons, relation: Relation | None, name: tuple[str, ...]
) -> Place | None:
    """Where a column is; None for one of a table that is not there, or that might be one of several."""
    tables = seen.tables.get(name[-2], [])
    found = [r for r in catalogue.relations if any(_is(r, schema, called) for schema, called in tables)]
    if relation is not None and name[-2] == relation.name and not found:
        found = [relation]
    if len(found) != 1 or found[0].column(name[-1]) is None:
        return None
    return found[0].oid, name[-1]


def _is(relation: Relation, schema: str | None, name: str) -> bool:
    return relation.name == name and schema in (None, relation.schema)
