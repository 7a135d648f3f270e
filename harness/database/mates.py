"""Whom to make a member of A's group: one for each role, and some whose membership does not count.

A rule that asks for an admin is broken by letting an editor through, not only by letting everybody; so each
role that the database knows has somebody to try. A condition of a membership (accepted, not expired) has
somebody for whom it is false.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from harness.database.catalogue import Catalogue, Column, Relation
from harness.database.declaration import Declaration, Membership
from harness.database.mentions import spoken_of
from harness.database.oracle import Subject, literal
from harness.database.planted import CannotPlant, Planted, World, as_text
from harness.database.session import raise_if_lost
from harness.database.synthesise import constants
from harness.database.worlds import Planter

__all__ = ["enrolled", "roles_of"]

_MOST_ROLES = 6
_MOST_FORMER = 3
_MOST_RIGHTS = 2


@dataclass(frozen=True)
class _Place:
    """What somebody shall be: ``fixed`` columns of the membership; whether it is to be one that counts."""

    title: str
    fixed: dict[str, str | None]
    counts: bool = True
    settles: bool = False
    """Whether they have rows of their own there."""


def roles_of(
    catalogue: Catalogue, declaration: Declaration, name: str, subjects: Sequence[Subject]
) -> list[str]:
    """The roles of a membership, weakest first: those that no rule asks for, then by how few rules do."""
    membership = declaration.memberships[name]
    relation = catalogue.by_title.get(membership.table)
    column = relation.column(membership.role or "") if relation else None
    if relation is None or column is None:
        return []
    asked = [role for s in subjects for rule in s.rules if rule.of == name for role in rule.roles]
    known = [*possible(relation, column), *asked]
    # a free text may hold anything: then somebody has a role that nothing knows
    known += ["probe"] if column.category == "S" and not possible(relation, column) else []
    ordered = sorted(dict.fromkeys(known), key=lambda role: (asked.count(role), known.index(role)))
    if len(ordered) <= _MOST_ROLES:
        return ordered
    texts = " ".join(f"{p.using} {p.check}" for p in catalogue.policies)
    texts += " ".join(f.body for f in catalogue.functions if not f.extension)
    mentioned = [role for role in ordered if role in asked or f"'{role}'" in texts]
    return [*[role for role in ordered if role not in mentioned][:1], *mentioned][:_MOST_ROLES]


def possible(relation: Relation, column: Column) -> list[str]:
    """The values that an enum or a check lets a column have."""
    found = list(column.labels or ())
    for constraint in relation.constraints:
        if constraint.kind == "c" and constraint.columns == [column.name]:
            found += constants(constraint.text or "")
    return found


def enrolled(planter: Planter, host: World, known: list[Subject]) -> Iterator[World | CannotPlant]:
    """New users as members of the groups of ``host``; or why one could not be made."""
    for name, membership in planter.declaration.memberships.items():
        relation = planter.catalogue.by_title.get(membership.table)
        there = host.rows.get((relation.oid, "")) if relation else None
        if relation is None or there is None:
            continue
        for place in _places(planter, known, name, membership, relation, there):
            mate = planter.world(place.title, planter.declaration.signed_in)
            planter.act(mate)
            try:
                made = _join(planter, host, mate, membership, relation, place.fixed)
            except CannotPlant as error:
                if place.counts:
                    yield error
                continue
            if made.found:  # its keys leave no room for another member
                continue
            if place.counts or not _holds(planter, membership, made):
                mate.rows[relation.oid, ""] = made
                if place.settles:
                    _settle(planter, host, mate, made, known)
                yield mate


def _settle(planter: Planter, host: World, mate: World, made: Planted, known: list[Subject]) -> None:
    """Rows of the mate's own beside those of ``host``, in the same group: who asks only for the group, or
    only for some row, tells them apart no more. What cannot be made up is not needed.
    """
    open_ = [made.relation]
    while open_:  # the group itself, and what it belongs to, are shared
        for link in (c for c in open_.pop().constraints if c.kind == "f"):
            there = host.rows.get((link.target or 0, ""))
            if (
                there is not None
                and there.relation is not planter.users
                and (link.target, "") not in mate.rows
            ):
                mate.rows[there.relation.oid, ""] = there
                open_.append(there.relation)
    watched = [made, *host.rows.values()]
    alone = _data(planter, watched), dict(mate.rows)
    with planter.connection.transaction():
        for subject in known:
            if subject.relation.table and not subject.bucket and not subject.heir:
                with contextlib.suppress(CannotPlant):
                    planter.plant(mate, subject)
        if _data(planter, watched) != alone[0]:  # a trigger made an admin of them, or took A's row away
            mate.rows = alone[1]
            raise psycopg.Rollback


def _data(planter: Planter, rows: list[Planted]) -> list[dict[str, Any] | None]:
    found = [planter.again(row) for row in rows]
    return [there.data if there else None for there in found]


def _places(
    planter: Planter,
    known: list[Subject],
    name: str,
    membership: Membership,
    relation: Relation,
    there: Planted,
) -> Iterator[_Place]:
    roles = roles_of(planter.catalogue, planter.declaration, name, known)
    fixed: dict[str, str | None] = {membership.role: roles[0]} if membership.role and roles else {}
    yield _Place(f"member of {name}", fixed, settles=True)
    for role in roles[1:]:
        yield _Place(f"{role} in {name}", {membership.role or "": role})
    for column in _rights(planter, membership, relation):
        yield _Place(f"{column.name} in {name}", fixed | {column.name: "true"})
    columns = [
        c
        for c in relation.columns
        if membership.where
        and re.search(rf"(?<!\w){re.escape(c.name)}(?!\w)", membership.where)
        and not c.generated
    ]
    for column in columns[:_MOST_FORMER]:
        # with the strongest role: it is the membership that shall not count, not the role
        strong: dict[str, str | None] = {membership.role: roles[-1]} if membership.role and roles else {}
        for index, value in enumerate(_otherwise(relation, column, there)):
            title = f"no longer of {name}: {column.name}" + (f" {index}" if index else "")
            yield _Place(title, strong | {column.name: value}, counts=False)


def _rights(planter: Planter, membership: Membership, relation: Relation) -> list[Column]:
    """Columns that say yes or no of a member, other than whether it is one, where policies ask for them."""
    policies = planter.catalogue.policies
    texts = " ".join(f"{p.using} {p.check}" for p in policies)
    texts += " ".join(f.body for f in planter.catalogue.functions if not f.extension)
    return [
        column
        for column in relation.columns
        if column.category == "B"
        and not column.generated
        and not spoken_of(column.name, membership.where or "")
        and spoken_of(column.name, texts)
    ][:_MOST_RIGHTS]


def _otherwise(relation: Relation, column: Column, there: Planted) -> list[str | None]:
    now = there.data.get(column.name)
    if column.category == "B":
        return ["false" if now else "true"]
    if column.category == "D":
        return ["2001-01-01"] if now else ["2100-01-01"]
    if values := [v for v in possible(relation, column) if v != now]:
        return [*values[:1]]
    return [None] if now is not None and not column.not_null else []


def _join(
    planter: Planter,
    host: World,
    mate: World,
    membership: Membership,
    relation: Relation,
    fixed: dict[str, str | None],
) -> Planted:
    """The membership of ``mate`` in the group of ``host``, and those that it presupposes."""
    theirs = host.rows[relation.oid, ""].data
    linked = {n for c in relation.constraints if c.kind == "f" for n in c.columns}
    # one that keys make unique on their own would be taken
    alone = {
        n for c in relation.constraints if c.kind in ("p", "u") and len(c.columns) == 1 for n in c.columns
    }
    values: dict[str, Any] = {
        n: as_text(theirs[n])
        for n in linked - alone
        if theirs.get(n) is not None and theirs[n] != host.user and n in theirs
    }
    for constraint in relation.constraints:
        other = planter.catalogue.by_oid.get(constraint.target or 0)
        if constraint.kind != "f" or other is None or membership.user not in constraint.columns:
            continue
        if (other.oid, "") in mate.rows or (other.oid, "") not in host.rows:
            continue
        first = next((m for m in planter.declaration.memberships.values() if m.table == other.title), None)
        if first is not None:
            mate.rows[other.oid, ""] = _join(planter, host, mate, first, other, {})
        elif other.oid != relation.oid:  # a profile, say
            planter.ensure(mate, other)
    values |= {membership.user: mate.user, membership.group: as_text(theirs[membership.group])}
    return planter.insert(relation, mate, values | fixed)


def _holds(planter: Planter, membership: Membership, made: Planted) -> bool:
    query = (
        f"select coalesce(({membership.where}), false) from {made.relation.sql} membership"
        f" where tableoid = {made.table} and ctid = {literal(made.ctid)}"
    )
    try:
        with planter.connection.transaction():
            row = planter.connection.execute(query.encode()).fetchone()
    except psycopg.Error as error:
        raise_if_lost(error)
        return True
    return bool(row and row[0])
