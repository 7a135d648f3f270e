"""Rows of several tables changed together: a guest whose share is over, a vote in a poll that is closed.

A condition that spans tables is broken by a combination: that somebody is named in a row which no longer
counts, that they have elsewhere what they would need here. One change at a time shows none of it. So each
combination is made in the database, policies and declaration are asked about many rows at once, and those
on which they disagree are tried.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

from harness.database.catalogue import Relation
from harness.database.kinship import in_documents, kin, named
from harness.database.matrix import disputed, suspects
from harness.database.oracle import Actor, Subject, record
from harness.database.planted import Planted
from harness.database.prober import Prober
from harness.database.prober_base import PASSED
from harness.database.sightings import Sighting
from harness.database.synthesise import plausible, unique_columns
from harness.database.variants import (
    MOST_TRIED,
    Change,
    bases,
    changes_of,
    in_turn,
    looked_at,
    mere_membership,
    seen_by,
    shown,
    statement,
    texts_of,
)
from harness.database.wishes import combined, wishes

__all__ = ["constellations"]

_MOST = 160
"""Combinations that are made for one table and one caller."""
_MOST_BEFORE_PAIRS = 80
_MOST_PAIRS = 60
_MOST_MATES = 3
_MOST_EACH = 40
_MOST_ROWS = 24
_MOST_CONFIRMED = 2


@dataclass(frozen=True)
class _Made:
    """SQL that makes a combination, step by step, and how a finding tells of it."""

    steps: tuple[str, ...]
    told: str


def constellations(prober: Prober, subject: Subject) -> Iterator[Sighting]:
    """What A, B and members without a role of note reach once other rows are different as well."""
    row = prober.worlds["A"].row(subject)
    if row is None or subject.heir or not subject.relation.table:
        return
    texts = texts_of(prober, subject)
    around = list(looked_at(prober, subject, " ".join(texts)))
    if not around:
        return
    changes: list[Change] = [{}, *itertools.islice(changes_of(prober, subject, row, texts), _MOST_ROWS)]
    mates = [w.actor for name, w in prober.worlds.items() if name.startswith("member of ")]
    for actor in (prober.worlds["A"].actor, prober.worlds["B"].actor, *mates[:_MOST_MATES]):
        yield from _of(prober, subject, row, actor, changes, around, texts)


def _of(
    prober: Prober,
    subject: Subject,
    row: Planted,
    actor: Actor,
    changes: list[Change],
    around: list[Planted],
    texts: list[str],
) -> Iterator[Sighting]:
    seen: dict[str, int] = {}
    for made in itertools.islice(_combinations(prober, subject, row, actor, around, texts), _MOST):
        with ExitStack() as stack:
            if not all(stack.enter_context(prober.session.altered(step)) for step in made.steps):
                continue
            for sighting in _tried(prober, subject, row, actor, changes, made.told, seen):
                seen[sighting.command] = seen.get(sighting.command, 0) + 1
                yield prober.judged(sighting)


def _tried(
    prober: Prober,
    subject: Subject,
    row: Planted,
    actor: Actor,
    changes: list[Change],
    told: str,
    seen: dict[str, int],
) -> Iterator[Sighting]:
    """While a combination stands: the rows on which policies and declaration disagree."""
    wanted = [
        c
        for c in ("SELECT", "UPDATE", "DELETE")
        if seen.get(c, 0) < _MOST_CONFIRMED and prober._possible(subject, actor, c)
    ]
    rows = [row.data | change for change in changes]
    for command, places in disputed(prober, subject, actor, wanted, rows).items():
        confirmed = 0
        for place in in_turn(places, changes)[:MOST_TRIED]:
            found = list(_changed(prober, subject, row, actor, changes[place], told, command))
            confirmed += bool(found)
            yield from found
            if confirmed == _MOST_CONFIRMED:
                break
    if seen.get("INSERT", 0) < _MOST_CONFIRMED and prober._possible(subject, actor, "INSERT"):
        yield from _new(prober, subject, row, actor, changes, told)
    if seen.get("UPDATE", 0) < _MOST_CONFIRMED:
        yield from _moved(prober, subject, row, actor, told)


def _changed(
    prober: Prober, subject: Subject, row: Planted, actor: Actor, change: Change, told: str, command: str
) -> Iterator[Sighting]:
    """A's row, changed as well."""
    with ExitStack() as stack:
        there, more = row, told
        if change:
            found = stack.enter_context(prober.session.altered(statement(row, change)))
            if not found:
                return
            there, more = Planted(row.relation, *found[0]), f"{told}, {shown(row, change)}"
        for sighting in prober.existing(subject, actor, there, f"with {more}", (command,)):
            if sighting.command == command:
                yield prober.judged(sighting)


def _moved(prober: Prober, subject: Subject, row: Planted, actor: Actor, told: str) -> Iterator[Sighting]:
    """A row of the caller's own, made one of A's, where only the combination lets them change it."""
    own = next((w.row(subject) for w in prober.worlds.values() if w.actor.name == actor.name), None)
    if actor.name == "A" or own is None or subject.bucket or not prober._possible(subject, actor, "UPDATE"):
        return
    granted = {c.name for c in subject.relation.columns_for(actor.role, "UPDATE")}
    moves = [{n: row.data.get(n)} for n in prober.links(subject) if n in granted]
    if not moves or not prober.expected(subject, actor, own.data)["UPDATE"]:
        return
    for place in suspects(prober, subject, actor, "UPDATE", [own.data | m for m in moves], new=True):
        for sighting in prober.reassign(subject, actor, own, moves[place]):
            yield replace(sighting, variant=f"with {told}")


def _new(
    prober: Prober, subject: Subject, row: Planted, actor: Actor, changes: list[Change], told: str
) -> Iterator[Sighting]:
    """New rows that only the combination lets through."""
    if subject.bucket:
        return
    granted = {c.name for c in subject.relation.columns_for(actor.role, "INSERT")}
    usable = [change for change in changes if set(change) <= granted]
    made = [
        prober.anew(subject, base | change)
        for base in bases(prober, subject, row, actor)
        for change in usable
    ]
    for place in suspects(prober, subject, actor, "INSERT", made, new=True)[:_MOST_CONFIRMED]:
        outcome, did = prober.insert(subject, actor, made[place])
        came = outcome.seen[0][0] if outcome.seen and outcome.seen[0][0] else made[place]
        happened = outcome.sqlstate in PASSED or (not outcome.sqlstate and outcome.rows > 0)
        if happened and not prober.expected(subject, actor, came, new=True)["INSERT"]:
            saw = f"the row was accepted, with {told}"
            yield Sighting("forged-insert", subject, actor, "INSERT", came, did, saw, came)


def _combinations(
    prober: Prober,
    subject: Subject,
    row: Planted,
    actor: Actor,
    around: list[Planted],
    texts: list[str],
) -> Iterator[_Made]:
    """Each row around, and pairs of them; those that name the caller first."""
    parts = {
        id(p): list(_states(prober, p, actor, [*texts, seen_by(prober, subject, p.relation)]))
        for p in around
        if p is not row
    }
    several = [p for p in around if parts.get(id(p))]
    turns = itertools.zip_longest(*(parts[id(p)][:_MOST_EACH] for p in several))
    alone = (
        _Made((statement(planted, change),), shown(planted, change))
        for turn in turns
        for planted, change in zip(several, turn, strict=True)
        if change
    )
    yield from itertools.islice(alone, _MOST_BEFORE_PAIRS)
    yield from _memberships(prober, actor)
    yield from _twins(prober, around, actor)
    yield from itertools.islice(_pairs(several, parts), _MOST_PAIRS)
    yield from alone


def _pairs(several: list[Planted], parts: dict[int, list[Change]]) -> Iterator[_Made]:
    """Two rows changed: the likeliest of each two first."""
    places = sorted(itertools.product(range(5), range(5)), key=sum)
    for first, second in places:
        for one, other in itertools.combinations(several, 2):
            if first < len(parts[id(one)]) and second < len(parts[id(other)]):
                here, there = parts[id(one)][first], parts[id(other)][second]
                steps = (statement(one, here), statement(other, there))
                yield _Made(steps, f"{shown(one, here)}, {shown(other, there)}")


def _beside(prober: Prober, planted: Planted) -> Iterator[_Made]:
    """A row more, under what A's is under."""
    relation = planted.relation
    made = {name: value for name, value in planted.data.items() if name not in relation.key}
    for change in _neighbours(prober, planted):
        told = ", ".join(change)
        row = _added(relation, made | _fresh(prober, relation) | change)
        yield _Made((row,), f"a row more of user B with {relation.title}.{told} as that of user A")


def _neighbours(prober: Prober, planted: Planted) -> Iterator[Change]:
    """A row of B's under what A's is under: a pet of B's in the clinic of A's."""
    theirs = prober.worlds["A"].rows.get((planted.relation.oid, ""))
    users = prober.catalogue.by_title.get(prober.declaration.users or "")
    if theirs is None:
        return
    for link in planted.relation.constraints:
        if link.kind == "f" and link.target not in (users.oid if users else 0, planted.relation.oid):
            change = {name: theirs.data.get(name) for name in link.columns}
            if any(planted.data.get(name) != value for name, value in change.items()):
                yield change


def _states(prober: Prober, planted: Planted, actor: Actor, texts: list[str]) -> Iterator[Change]:
    """What a row may be like: who is named in it, and each of its states with that."""
    text = " ".join(texts)
    own = planted in prober.worlds["A"].rows.values()
    placed = own and actor.name != "A" and not mere_membership(prober, planted.relation)
    places: list[Change] = list(named(prober, planted, actor)) if placed else []
    places += list(in_documents(planted, actor, text)) if placed else []
    places += list(kin(prober, planted, text)) if actor.name != "A" else []
    places += [] if own or actor.name != "B" else list(_neighbours(prober, planted))
    states: list[Change] = [{name: wished} for name, wished in wishes(planted.relation, planted.data, text)]
    states += combined(planted.relation, planted.data, texts)
    yield from places
    for state, place in itertools.product(states, places or [{}]):
        yield place | state
    if places:
        yield from states


def _twins(prober: Prober, around: list[Planted], actor: Actor) -> Iterator[_Made]:
    """A row more of B's: with a part of the key of A's, or under what A's is under.

    A join by that part alone takes one for the other.
    """
    for planted in around if actor.name == "B" else ():
        relation = planted.relation
        theirs = prober.worlds["A"].rows.get((relation.oid, ""))
        if theirs is None or planted is theirs:
            continue
        if len(relation.key) < 2:
            yield from _beside(prober, planted)
            continue
        for name in relation.key:
            if planted.data.get(name) != theirs.data.get(name):
                new = planted.data | _fresh(prober, relation) | {name: theirs.data.get(name)}
                yield _Made(
                    (_added(relation, new),), f"{relation.title}.{name} of user B as that of user A"
                )


def _fresh(prober: Prober, relation: Relation) -> Change:
    """Values that nobody has yet, where a column of a row more needs one; not of its key."""
    unique = unique_columns(relation) - set(relation.key)
    return {c.name: plausible(c, prober.mark, unique=True) for c in relation.columns if c.name in unique}


def _added(relation: Relation, row: Change) -> str:
    """SQL that adds a row with full rights."""
    names = ", ".join(c.sql for c in relation.columns if not c.generated and c.name in row)
    return (
        f"insert into {relation.sql} ({names}) overriding system value"
        f" select {names} from {record(relation, row)} returning 1"
    )


def _memberships(prober: Prober, actor: Actor) -> Iterator[_Made]:
    """A member of A's group who is somebody of note in B's: what one is here must not count there."""
    if not actor.name.startswith("member of "):
        return
    membership = prober.declaration.memberships.get(actor.name.removeprefix("member of "))
    relation = prober.catalogue.by_title.get(membership.table) if membership else None
    theirs = prober.worlds["B"].rows.get((relation.oid, "")) if relation else None
    if membership is None or relation is None or theirs is None:
        return
    new = {**theirs.data, membership.user: actor.user}
    single = {n for c in relation.constraints if c.kind == "p" and len(c.columns) == 1 for n in c.columns}
    sql = _added(relation, {name: value for name, value in new.items() if name not in single})
    yield _Made((sql,), f"a seat in the group of user B ({relation.title})")
