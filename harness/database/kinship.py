"""How a row of A's may lie to somebody else: who is named in it beside A, whose it lies under."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from harness.database.mentions import spoken_of
from harness.database.oracle import Actor
from harness.database.parts import standing_in
from harness.database.planted import Planted
from harness.database.prober_base import ProberBase

__all__ = ["beside", "collisions", "in_documents", "kin", "named"]

_KEYS = re.compile(r"(?:->>?|\?)\s*'(\w+)'")
_MOST_KEYS = 8
_MAIL = re.compile(r"(^|_)e?mail(_address)?$")
_PREFIX = re.compile(r"~~|\blike\b|starts_with|\|\||\bleft\(|substr|position\(|split_part|@>|<@|~", re.I)


def named(prober: ProberBase, planted: Planted, actor: Actor) -> Iterator[dict[str, Any]]:
    """Changes that put ``actor`` into a row of A's: alone, facing A, and by their address."""
    single = list(standing_in(prober, planted, actor))
    yield from single
    user = prober.worlds["A"].user
    places = [name for change in single for name, value in change.items() if value == actor.user]
    for name in places:
        others = {other: user for other in places if other != name}
        if others and any(planted.data.get(n) != user for n in others):
            yield {name: actor.user, **others}
    address = actor.claims.get("email")
    for column in planted.relation.columns if address is not None else ():
        if column.category == "S" and not column.generated and _MAIL.search(column.name):
            yield {column.name: address}


def in_documents(planted: Planted, actor: Actor, text: str) -> Iterator[dict[str, Any]]:
    """Changes that put ``actor`` into a document of A's, under each key that ``text`` looks for."""
    keys = list(dict.fromkeys([*_KEYS.findall(text), "probe"]))[:_MOST_KEYS]
    for column in planted.relation.columns:
        there = planted.data.get(column.name)
        if column.base not in ("json", "jsonb") or column.generated or not isinstance(there, dict):
            continue
        if not spoken_of(column.name, text):
            continue
        for key in (key for key in keys if key not in there):
            yield {column.name: there | {key: actor.user}}
            yield {column.name: there | {key: [actor.user]}}


def kin(prober: ProberBase, planted: Planted, text: str) -> Iterator[dict[str, Any]]:
    """Changes that make a row of A's a child of B's (or B's one of A's), or what is named like one."""
    place = (planted.relation.oid, "")
    own = planted.match() == rows.match() if (rows := prober.worlds["A"].rows.get(place)) else False
    theirs = prober.worlds["B" if own else "A"].rows.get(place)
    if theirs is None:
        return
    for constraint in planted.relation.constraints:
        if constraint.kind == "f" and constraint.target == planted.relation.oid:
            pairs = zip(constraint.columns, constraint.target_columns, strict=True)
            yield {name: theirs.data.get(there) for name, there in pairs}
    yield from beside(planted, theirs.data, text)


def collisions(prober: ProberBase, planted: Planted) -> Iterator[dict[str, Any]]:
    """A's row with a number that is the key of another row of B's: ids of tables are easily mixed up."""
    key = [c for c in planted.relation.columns if c.name in planted.relation.key]
    if len(key) != 1 or key[0].category != "N":
        return
    for row in prober.worlds["B"].rows.values():
        for name in row.relation.key:
            if row.relation.oid != planted.relation.oid and isinstance(row.data.get(name), int):
                yield {key[0].name: row.data[name]}


def beside(planted: Planted, theirs: dict[str, Any], text: str) -> Iterator[dict[str, Any]]:
    """Names that begin like another's: a neighbour, what lies beneath it, and what it lies in.

    Only where ``text`` compares the beginnings of names.
    """
    linked = {n for c in planted.relation.constraints if c.kind == "f" for n in c.columns}
    if not _PREFIX.search(text):
        return
    for column in planted.relation.columns:
        value = theirs.get(column.name)
        if column.base not in ("text", "varchar", "ltree", "bpchar") or column.generated:
            continue
        if column.name in linked or not isinstance(value, str) or not value:
            continue
        if not spoken_of(column.name, text):
            continue
        above = [value.rpartition(sign)[0] for sign in "./-_" if sign in value]
        for made in (f"{value}2", f"{value}.2", f"{value}/2", f"{value}x", *above, value[:-1]):
            if made and made != planted.data.get(column.name):
                yield {column.name: made}
