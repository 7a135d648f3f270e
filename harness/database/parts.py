"""The part that somebody may play in another's row: recipient, assignee, one it is shared with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from harness.database.catalogue import Column, Relation
from harness.database.oracle import Actor, Subject
from harness.database.planted import Planted
from harness.database.prober_base import ProberBase
from harness.database.synthesise import constants

__all__ = ["claims", "file_names", "groups", "of", "standing_in", "standing_in_path"]

_MAIL = re.compile(r"(^|_)e?mail(_address)?$")
_FOLDERS = ("shared", "public", "private", "common", "tmp", "uploads")
_CLAIMS: dict[str, tuple[Any, ...]] = {
    "aal": ("aal1", "aal2"),
    "is_anonymous": (True, False),
    "email_verified": (True,),
    "phone_verified": (True,),
    "email": (None,),
    "phone": (None,),
}
"""What anybody's token may say of them without anybody's leave."""


def of(prober: ProberBase, subject: Subject, row: Planted, actor: Actor) -> Iterator[dict[str, Any]]:
    """Changes of A's row that put ``actor`` into it, one column at a time."""
    if subject.bucket:
        yield from standing_in_path(prober, row.data, actor)
        return
    yield from standing_in(prober, row, actor)


def standing_in_path(prober: ProberBase, row: dict[str, Any], actor: Actor) -> Iterator[dict[str, Any]]:
    """Changes of a file that name ``actor``, or a group of theirs: in its path, or as its owner."""
    change: dict[str, Any]
    folder, _, file = str(row["name"]).partition("/")
    for who in dict.fromkeys((actor.user, *map(str, groups(prober, actor).values()))):
        for place in (f"{who}/{file}", f"{folder}/{who}/{file}", f"{folder}-{who}/{file}"):
            yield {"name": place}
    for name in ("owner_id", "owner"):
        if name in row:
            change = {name: actor.user}
            yield change


def standing_in(prober: ProberBase, row: Planted, actor: Actor) -> Iterator[dict[str, Any]]:
    """Each column that may hold a user or a group, with those of ``actor``."""
    relation = row.relation
    theirs = groups(prober, actor)
    single = {
        n for c in relation.constraints if c.kind in ("p", "u") and len(c.columns) == 1 for n in c.columns
    }
    for column in relation.columns:
        if column.generated or column.name in single or column.identity:
            continue
        target = _target(prober, relation, column)
        if column.category == "A" and column.type in ("uuid[]", "text[]"):
            yield {column.name: [actor.user]}
        elif target is not None and target in theirs:
            if theirs[target] != row.data.get(column.name):
                yield {column.name: theirs[target]}
        elif _is_user(prober, row, column, target):
            yield {column.name: actor.user}
        elif column.category == "S" and _MAIL.search(column.name) and actor.claims.get("email"):
            yield {column.name: actor.claims["email"]}


def _target(prober: ProberBase, relation: Relation, column: Column) -> int | None:
    return next(
        (c.target for c in relation.constraints if c.kind == "f" and c.columns == [column.name]), None
    )


def _is_user(prober: ProberBase, row: Planted, column: Column, target: int | None) -> bool:
    users = prober.catalogue.by_title.get(prober.declaration.users or "")
    if users is not None and target == users.oid:
        return True
    if row.data.get(column.name) == prober.worlds["A"].user:
        return True
    if target is None:
        return column.base == "uuid" and bool(re.search(r"(_by|_to|_id|user|owner|assignee)$", column.name))
    # a table whose rows stand for users, such as profiles
    there = prober.worlds["A"].rows.get((target, ""))
    return there is not None and [there.data.get(n) for n in there.relation.key] == [
        prober.worlds["A"].user
    ]


def groups(prober: ProberBase, actor: Actor) -> dict[int, Any]:
    """The groups of ``actor``, by the table that holds them."""
    world = next((w for w in prober.worlds.values() if w.actor.name == actor.name), None)
    found: dict[int, Any] = {}
    for membership in prober.declaration.memberships.values():
        relation = prober.catalogue.by_title.get(membership.table)
        there = world.rows.get((relation.oid, "")) if world and relation else None
        column = relation.column(membership.group) if relation else None
        if relation is None or there is None or column is None:
            continue
        if (target := _target(prober, relation, column)) is not None:
            found[target] = there.data[membership.group]
    return found


def file_names(prober: ProberBase, name: str, text: str) -> Iterator[str]:
    """Places where a file may lie: in the root, in folders that a policy or a template names."""
    folder, _, file = name.partition("/")
    yield from (file, f"/{file}")
    words = [c for c in constants(text) if re.fullmatch(r"[\w.-]{2,40}", c) and not c.isdigit()]
    for word in dict.fromkeys((*words, *_FOLDERS)):
        yield f"{word}/{file}"
        if word in words:
            yield from (f"{folder}/{word}/{file}", f"{folder}/{file}.{word}", word)


def claims(text: str) -> Iterator[tuple[str, Any]]:
    """What a policy asks of the token that anybody may have in theirs."""
    for name, said in _CLAIMS.items():
        if re.search(rf"'{name}'", text):
            yield from ((name, value) for value in said)
