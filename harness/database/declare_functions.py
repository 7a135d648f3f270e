"""What the functions of a first declaration give away, and to whom: found out by trying."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from harness.database.catalogue import Catalogue, Function
from harness.database.check import FUNCTIONS
from harness.database.declare_tried import Try
from harness.database.findings import Report
from harness.database.trigger_texts import names_written

__all__ = ["opened"]

_STEPS = 5
"""How many things may open a function: each costs a check of all functions."""


def opened(catalogue: Catalogue, data: dict[str, Any], tried: Try, only: frozenset[str] | None) -> Report:
    """Say of functions that give rows away to whom they do: found out by trying, the fewest first.

    Returns what is said in the end of what is tried ``only``.
    """
    functions = {f"function {f.title}": f for f in catalogue.functions}
    report = first = tried(data, only)
    known = {f.object for f in first.found}
    for step in range(_STEPS):
        leaking = [f.object for f in report.found if f.rule == "function-leaks" and f.object in known]
        if not leaking:
            break
        for name in leaking:
            if entry := data.get("functions", {}).get(functions[name].title):
                for key in ("adds", "reveals", "unlocked_by"):
                    entry.pop(key, None)
                ways = list(_ways(catalogue, data, functions[name]))
                entry |= ways[min(step, len(ways) - 1)]
        report = tried(data, frozenset({FUNCTIONS}))
    return tried(data, only) if report is not first and only is None else report


def _ways(catalogue: Catalogue, data: dict[str, Any], function: Function) -> Iterator[dict[str, Any]]:
    """What opens a function: rows that it adds, a group, a secret that it asks for, either, or nothing."""
    secrets = list(dict.fromkeys(_secrets(catalogue, function)))
    written = names_written(" ".join(f.body for f in catalogue.called([function.oid])))
    known = (catalogue.by_title.get(title) for title in data.get("tables", {}))
    added = [relation.title for relation in known if relation and ("insert", relation.name) in written]
    adds = {"adds": added} if added else {}
    if added:
        yield adds
    yield adds | {"reveals": "group"}
    if secrets:
        yield adds | {"unlocked_by": secrets}
        yield adds | {"unlocked_by": secrets, "reveals": "group"}
    yield {"reveals": "anything"}


def _secrets(catalogue: Catalogue, function: Function) -> Iterator[str]:
    """Columns that a function compares with what it is given, and that are no reference to other rows."""
    for relation in catalogue.relations:
        if not relation.table or relation.title not in function.body:
            continue
        linked = {name for c in relation.constraints if c.kind == "f" for name in c.columns}
        yield from (
            f"{relation.title}.{column.name}"
            for column in relation.columns
            for given in function.inputs
            if given["name"]
            and column.name not in linked
            and re.search(
                rf"\b{re.escape(column.name)}\s*=\s*(?:{re.escape(function.name)}\.)?"
                rf"{re.escape(given['name'])}\b",
                function.body,
            )
        )
