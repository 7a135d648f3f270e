"""Values that a condition of the declaration may wish of a row, so that somebody is let in."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

from harness.database.catalogue import Column, Relation
from harness.database.mates import possible
from harness.database.oracle import literal
from harness.database.planted import Planted
from harness.database.synthesise import constants, plausible
from harness.database.wishes import documents, moments, spans, spells

__all__ = ["changes_for", "update_of"]


def changes_for(row: Planted, text: str, users: list[str], named: set[str]) -> Iterator[dict[str, Any]]:
    """Values that a condition may wish for: of one column, then of two. ``named`` columns lead to users."""
    relation = row.relation
    bound = {n for c in relation.constraints if c.kind in ("p", "f") for n in c.columns}
    wished = {
        column.name: list(_wished(relation, column, row.data.get(column.name), text))
        for column in relation.columns
        if re.search(rf"(?<!\w){re.escape(column.name)}(?!\w)", text)
        and not column.generated
        and column.name not in bound
    }
    for column in relation.columns:
        if column.name in named:
            wished[column.name] = list(users)
        elif column.name in wished and column.category == "A":
            wished[column.name] += [[user] for user in users]
    for name, values in wished.items():
        yield from ({name: value} for value in values)
    for one, other in itertools.combinations(wished, 2):
        yield from ({one: a, other: b} for a, b in itertools.product(wished[one], wished[other]))
    yield from _between(wished, users, named)


def _between(wished: dict[str, list[Any]], users: list[str], named: set[str]) -> Iterator[dict[str, Any]]:
    """Somebody and the first of ``users`` in the two parts of a row that is in another state as well."""
    parts = [name for name in wished if name in named]
    states = [(name, one) for name in wished if name not in named for one in wished[name][:3]]
    for one, other in itertools.permutations(parts, 2):
        for who, (name, state) in itertools.product(users[1:], states):
            yield {one: users[0], other: who, name: state}


def _wished(relation: Relation, column: Column, now: Any, text: str) -> Iterator[Any]:
    if column.category == "B":
        yield not now
    elif column.category == "D":
        yield from moments(column.base)
    elif column.category == "R":
        yield from (*spells(column.base), *spans(column.base), "(,)")
    elif column.category == "A":
        words = {word for one in constants(text) for word in one.strip("{}").split(",")}
        yield from ([word] for word in sorted(words) if word)
    elif column.category == "N":
        for number in constants(text):
            if re.fullmatch(r"-?\d+", number):
                yield from (int(number), int(number) + 1, int(number) - 1)
    elif column.base in ("json", "jsonb"):
        yield from _documents(column, now, text)
    elif column.category == "S" or column.labels:
        # what is not to be one value may be any other: a role that is no owner's
        known = dict.fromkeys([*constants(text), *possible(relation, column)])
        yield from (value for value in known if not column.labels or value in column.labels)
    if not column.not_null:
        yield plausible(column, "promise") if now is None else None


def _documents(column: Column, now: Any, text: str) -> Iterator[Any]:
    """What is there with the keys and values that a condition looks for."""
    for document in documents(column.name, text):
        if isinstance(document, dict):
            yield (now if isinstance(now, dict) else {}) | document


def _written(value: Any) -> str | None:
    if isinstance(value, dict):
        return json.dumps(value)
    if isinstance(value, list):
        return "{" + ",".join(map(str, value)) + "}"
    return None if value is None else str(value)


def update_of(row: Planted, change: dict[str, Any]) -> str:
    """SQL that gives a planted row other values, and answers with what it is then."""
    pairs = ", ".join(
        f"{c.sql} = {literal(_written(v))}"
        for name, v in change.items()
        if (c := row.relation.column(name))
    )
    here = f"t.tableoid = {row.table} and t.ctid = {literal(row.ctid)}"
    return (
        f"update {row.relation.sql} t set {pairs} where {here}"
        " returning to_jsonb(t.*), t.tableoid::bigint, t.ctid::text"
    )
