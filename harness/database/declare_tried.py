"""Parts of a first declaration that nothing in the catalogue says: found out by trying, the best first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import psycopg

from harness.database.catalogue import Relation, quoted
from harness.database.findings import Report
from harness.database.session import raise_if_lost

__all__ = ["Part", "Try", "evaluable", "settle"]

Part = tuple[str, str]
"""Where an entry of the declaration stands: (``tables`` or ``buckets``, its name)."""


class Try(Protocol):
    """Checks the database against a declaration, or what is named ``only`` (see check.Options)."""

    def __call__(self, attempted: dict[str, Any], only: frozenset[str] | None = None) -> Report:
        """What is said of it."""


_ROUNDS = 12
"""The first, and each after one in which all settled, costs a check of the whole database."""


def settle(
    data: dict[str, Any], candidates: Mapping[Part, Iterable[dict[str, Any]]], tried: Try, known: Report
) -> None:
    """Replace each part by the first of its candidates that ``tried`` has nothing new to say of.

    What stands in ``data`` is the last candidate of each part, and stays where no other is kept: ``known``
    is what is said of it.
    """
    widest = {(kind, name): data[kind][name] for kind, name in candidates}
    left = {part: iter(narrower) for part, narrower in candidates.items()}
    for (kind, name), entries in left.items():
        data[kind][name] = next(entries, widest[kind, name])
    failed: list[Part] = []
    only: frozenset[str] | None = None
    for _ in range(_ROUNDS if left else 0):
        report = _news(tried(data, only), known)
        failed = [part for part in left if _concerned(report, part)]
        if not failed and only is None:
            return
        only = frozenset(_title(part) for part in failed) or None  # at last, all together once more
        for kind, name in failed:
            if (entry := next(left[kind, name], None)) is None:
                del left[kind, name]
            data[kind][name] = entry or widest[kind, name]
    for kind, name in failed:  # what was to be tried next was not
        data[kind][name] = widest[kind, name]


def _news(report: Report, known: Report) -> Report:
    """What ``report`` says beyond ``known``."""
    there = {one.key for one in known.found}
    return Report([one for one in report.found if one.key not in there], report.gaps)


def _concerned(report: Report, part: Part) -> bool:
    """Whether something is said of it: found, or not proven."""
    said = [f"{one.object} {one.table} {one.what}" for one in report.found] + [str(g) for g in report.gaps]
    return any(_title(part) in text for text in said)


def _title(part: Part) -> str:
    """What findings call it."""
    return f"bucket {part[1]}" if part[0] == "buckets" else part[1]


def evaluable(
    connection: psycopg.Connection[Any], schemas: tuple[str, ...]
) -> Callable[[Relation, str], bool]:
    """Whether the database takes a condition of a relation, as the check would ask it; nothing is run.

    Changes the search path of the open transaction, which the caller rolls back.
    """
    path = ", ".join(quoted(name) for name in (*schemas, "extensions"))
    connection.execute(f"set local search_path = {path}".encode())
    known: dict[tuple[int, str], bool] = {}

    def taken(relation: Relation, condition: str) -> bool:
        if (relation.oid, condition) not in known:
            alias = '"' + relation.name.replace('"', '""') + '"'
            query = f"explain select from {relation.sql} as {alias} where {condition}"
            try:
                with connection.transaction():
                    connection.execute(query.encode())
                known[relation.oid, condition] = True
            except psycopg.Error as error:
                raise_if_lost(error)
                known[relation.oid, condition] = False
        return known[relation.oid, condition]

    return taken
