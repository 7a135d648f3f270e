"""Tables beneath exposed views: a schema of views alone (`api`) over tables that nothing is declared of.

Callers reach such a table only through the view, with their own rights. Where the view shows the whole
table, what is declared of the view is what the table's policies must keep, and is tried on the table
itself. Where it does not, only the view is tried, and that is said where callers may write through it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.database.catalogue import Catalogue, Relation
from harness.database.declaration import Declaration
from harness.database.findings import Gap
from harness.database.oracle import Subject

__all__ = ["beneath", "hidden_tables", "narrows", "untried"]

_WRITES = ("INSERT", "UPDATE", "DELETE")
_NARROWS = re.compile(r"\b(WHERE|JOIN|LIMIT|GROUP|DISTINCT|UNION|HAVING)\b", re.I)


def hidden_tables(catalogue: Catalogue, declaration: Declaration, view: Relation) -> list[Relation]:
    """Tables that a view reads and that are neither declared nor in an exposed schema."""
    tables = [catalogue.by_oid[oid] for oid in sorted(catalogue.reach(view)) if oid in catalogue.by_oid]
    return [
        t
        for t in tables
        if t.table and t.title not in declaration.tables and t.schema not in declaration.schemas
    ]


def beneath(catalogue: Catalogue, declaration: Declaration, known: list[Subject]) -> Iterator[Subject]:
    """The tables that one declared view shows as they are, under the view's rules."""
    views = [s for s in known if s.relation.kind == "v"]
    readers = [oid for s in views for oid in catalogue.reach(s.relation)]
    for subject in views:
        view = subject.relation
        tables = hidden_tables(catalogue, declaration, view)
        if len(tables) != 1 or readers.count(tables[0].oid) != 1 or _owned(subject):
            continue
        table = tables[0]
        whole = {c.name for c in table.columns} == {c.name for c in view.columns}
        if whole and view.updatable and not narrows(view):
            yield Subject(table, subject.rules, table.title, subject.fixed, subject.declared)


def narrows(view: Relation) -> bool:
    """Whether a view shows less than every row of what it reads, or rows made of several."""
    return bool(_NARROWS.search(view.definition or "WHERE"))


def untried(
    catalogue: Catalogue, declaration: Declaration, known: list[Subject], tried: list[Subject]
) -> Iterator[Gap]:
    """Views that callers may write through, over tables on which nothing is tried."""
    oids = {subject.relation.oid for subject in tried}
    for subject in known:
        view = subject.relation
        writes = any(view.allows(role, command) for role in catalogue.api_roles for command in _WRITES)
        if view.kind != "v" or not view.updatable or not writes:
            continue
        for table in hidden_tables(catalogue, declaration, view):
            if table.oid not in oids:
                why = f"callers may write through it into {table.title}, of which nothing is declared"
                yield Gap(subject.title, why, f"declare {table.title} as well")


def _owned(subject: Subject) -> bool:
    return subject.declared.rights == "owner" or any(rule.who == "own" for rule in subject.rules)
