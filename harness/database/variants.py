"""Rows and callers as a policy may wish them: what its own text compares, made true and false in turn.

A policy that says `or status = 'published'` leaks only published rows. Its text names the column and the
value, so A's row is given that value (with full rights, undone at once) and everybody tries again. Which of
the many rows matter is evaluated first; only what policies and declaration disagree on is tried.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from harness.database import parts
from harness.database.callers import callers
from harness.database.catalogue import COMMANDS, Relation
from harness.database.findings import Gap
from harness.database.kinship import collisions, in_documents, kin
from harness.database.matrix import disputed
from harness.database.mentions import tables_in
from harness.database.oracle import Actor, Subject, literal
from harness.database.planted import Planted
from harness.database.prober import Prober
from harness.database.sightings import Sighting
from harness.database.values import value
from harness.database.wishes import combined, pairs, wishes

__all__ = [
    "MOST_TRIED",
    "Change",
    "bases",
    "changes_of",
    "in_turn",
    "looked_at",
    "mere_membership",
    "others",
    "seen_by",
    "shown",
    "statement",
    "texts_of",
    "tried",
]

_MOST_STATES = 12
_MOST_PLACES = 6
_MOST_ALONE = 40
_MOST_OTHERS = 24
_MOST_EVALUATED = 400
_MOST_CONFIRMED = 2
MOST_TRIED = 8
Change = dict[str, Any]


def tried(prober: Prober, subject: Subject) -> Iterator[Sighting]:
    """Every variant of A's row, of rows that its policies look at, and of callers that they name."""
    row = prober.worlds["A"].row(subject)
    if row is None:
        return
    texts = texts_of(prober, subject)
    text = " ".join(texts)
    changes = list(changes_of(prober, subject, row, texts))
    if len(changes) > _MOST_EVALUATED:
        why = f"its conditions name more values than the {_MOST_EVALUATED} that are evaluated"
        prober.gaps.append(Gap(subject.title, why))
    changes = changes[:_MOST_EVALUATED]
    for actor in prober.concerned(subject):
        places = [c for c in _placed(prober, subject, row, actor, text) if c not in changes]
        states = [c for c in changes if len(c) == 1][:_MOST_STATES]
        own = [
            *places,
            *(
                s | p
                for p, s in itertools.product(places[:_MOST_PLACES], states)
                if not s.keys() & p.keys()
            ),
        ]
        yield from _evaluated(prober, subject, row, actor, [*changes, *own])
    if _looks_itself_up(prober, subject):
        everybody = [*prober.intruders, prober.worlds["A"].actor]
        for change in [c for c in changes if len(c) == 1][:_MOST_ALONE]:
            yield from _with(prober, subject, row, row, change, everybody, COMMANDS)
    yield from _elsewhere(prober, subject, row, text)
    yield from callers(prober, subject, row, text)


def _placed(prober: Prober, subject: Subject, row: Planted, actor: Actor, text: str) -> Iterator[Change]:
    """A's row with ``actor`` in it, or near what is theirs."""
    if not actor.user:
        return
    yield from parts.of(prober, subject, row, actor)
    if not subject.bucket and actor.name != "A":
        yield from in_documents(row, actor, text)
        yield from kin(prober, row, text)
        yield from collisions(prober, row)


def changes_of(prober: Prober, subject: Subject, row: Planted, texts: list[str]) -> Iterator[Change]:
    """What A's row may be like, as far as it matters to what is said of it."""
    if subject.bucket:  # of a file, the name says whose it is
        for name in parts.file_names(prober, str(row.data["name"]), " ".join(texts)):
            yield {"name": name}
        return
    for name, wished in wishes(row.relation, row.data, " ".join(texts)):
        yield {name: wished}
    together = list(combined(row.relation, row.data, texts))
    yield from together
    yield from (change for change in pairs(row.relation, row.data, texts) if change not in together)


def texts_of(prober: Prober, subject: Subject) -> list[str]:
    """What says which rows matter: the rules, the policies, and the functions that those call."""
    catalogue = prober.catalogue
    found = [text for rule in subject.rules for text in (rule.where, rule.check) if text]
    groups = [prober.declaration.memberships.get(rule.of or "") for rule in subject.rules]
    found += dict.fromkeys(group.where for group in groups if group and group.where)
    for policy in catalogue.policies_of(subject.relation):
        text = f"{policy.using} {policy.check}"
        if subject.bucket and "bucket_id" in text and f"'{subject.bucket}'" not in text:
            continue
        found += [text for text in (policy.using, policy.check) if text]
        found += [" ".join(function.body.split()) for function in catalogue.called(policy.functions)]
    return found


def _looks_itself_up(prober: Prober, subject: Subject) -> bool:
    """Whether a policy reads its own table again: then an imagined row is not the one that it finds."""
    name = re.compile(rf"(?<!\w){re.escape(subject.relation.name)}(?!\w)")
    for policy in prober.catalogue.policies_of(subject.relation):
        bodies = " ".join(f.body for f in prober.catalogue.called(policy.functions))
        own = re.findall(
            rf"(?:FROM|JOIN)\s+(?:\w+\.)?{re.escape(subject.relation.name)}\b",
            f"{policy.using} {policy.check}",
        )
        if own or name.search(bodies):
            return True
    return False


def _evaluated(
    prober: Prober, subject: Subject, row: Planted, actor: Actor, changes: Sequence[Change]
) -> Iterator[Sighting]:
    """Rows on which policies and declaration disagree, A's as it is among them, then tried for real."""
    changes = [{}, *changes]
    rows = [row.data | change for change in changes]
    possible = [c for c in ("SELECT", "UPDATE", "DELETE") if prober._possible(subject, actor, c)]
    for command, places in disputed(prober, subject, actor, possible, rows).items():
        confirmed = 0
        for place in in_turn(places, changes)[:MOST_TRIED]:
            found = list(_with(prober, subject, row, row, changes[place], [actor], (command,)))
            if not found and command == "UPDATE":
                found = list(_escapes(prober, subject, row, actor, changes, changes[place]))
            confirmed += bool(found)
            yield from found
            if confirmed == _MOST_CONFIRMED:
                break


def in_turn(places: Sequence[int], changes: Sequence[Change]) -> list[int]:
    """``places`` in ``changes``, so that each set of columns has its turn before one has its second."""
    by_columns: dict[frozenset[str], list[int]] = {}
    for place in places:
        by_columns.setdefault(frozenset(changes[place]), []).append(place)
    turns = itertools.zip_longest(*by_columns.values())
    return [place for turn in turns for place in turn if place is not None]


def _with(
    prober: Prober,
    subject: Subject,
    row: Planted,
    changed: Planted,
    change: Change,
    actors: list[Actor],
    commands: Sequence[str],
) -> Iterator[Sighting]:
    told = f"with {shown(changed, change)}" if change else ""
    with _altered(prober, changed, change) as rows:
        if not rows:
            return
        there = Planted(row.relation, *rows[0]) if changed is row else row
        for actor in actors:
            for sighting in prober.existing(subject, actor, there, told, commands):
                yield prober.judged(sighting)  # while the change still stands


def _altered(
    prober: Prober, planted: Planted, change: Change
) -> AbstractContextManager[Sequence[tuple[Any, ...]] | None]:
    """The row with ``change`` for as long as the block lasts; as it is, when there is none."""
    if change:
        return prober.session.altered(statement(planted, change))
    return nullcontext([(planted.data, planted.table, planted.ctid)])


def _escapes(
    prober: Prober,
    subject: Subject,
    row: Planted,
    actor: Actor,
    changes: Sequence[Change],
    state: Change,
) -> Iterator[Sighting]:
    """A row that may not be changed as it is, made one that may be written: a paid order opened again."""
    granted = {c.name for c in subject.relation.columns_for(actor.role, "UPDATE")}
    back = [{name: row.data.get(name) for name in state}]
    ways = [c for c in (*back, *changes) if c and set(c) <= granted]
    with _altered(prober, row, state) as rows:
        if not rows:
            return
        there = Planted(row.relation, *rows[0])
        written = [there.data | way for way in ways]
        for place, passes in enumerate(prober.written(subject, actor, written)):
            if passes and (found := list(prober.escape(subject, actor, there, ways[place]))):
                told = f"with {shown(row, state)}" if state else ""
                yield from (prober.judged(replace(one, variant=told)) for one in found)
                return


def shown(planted: Planted, change: Change) -> str:
    """How a finding tells of a change."""
    return ", ".join(f"{planted.relation.title}.{n} = {_shown(v)}" for n, v in change.items())


def _shown(wished: Any) -> str:
    return "null" if wished is None else str(wished)[:60]


def statement(planted: Planted, change: Change) -> str:
    """SQL that changes a planted row, and answers with what it is then."""
    relation: Relation = planted.relation
    pairs = ", ".join(f"{c.sql} = {value(c, v)}" for n, v in change.items() if (c := relation.column(n)))
    here = f"t.tableoid = {planted.table} and t.ctid = {literal(planted.ctid)}"
    whole = "to_jsonb(t.*), t.tableoid::bigint, t.ctid::text"
    return f"update {relation.sql} t set {pairs} where {here} returning {whole}"


def _elsewhere(prober: Prober, subject: Subject, row: Planted, text: str) -> Iterator[Sighting]:
    """Rows of other tables that the policies look at, changed."""
    count = 0
    for planted, actors in others(prober, subject, text):
        asked = f"{text} {seen_by(prober, subject, planted.relation)}"
        made = [({n: v}, actors) for n, v in wishes(planted.relation, planted.data, asked)]
        if planted.relation.title not in {m.table for m in prober.declaration.memberships.values()}:
            for actor in (a for a in actors if a.user):
                made += [(change, [actor]) for change in parts.standing_in(prober, planted, actor)]
        for change, concerned in made:
            count += 1
            if count > _MOST_OTHERS:
                why = "its policies look at more values of other tables than are tried"
                prober.gaps.append(Gap(subject.title, f"{why} ({_MOST_OTHERS})"))
                return
            yield from _with(prober, subject, row, planted, change, concerned, COMMANDS)


def others(prober: Prober, subject: Subject, text: str) -> Iterator[tuple[Planted, list[Actor]]]:
    """A's rows of tables that the policies look at, and what makes a mate one; with whom it matters to."""
    members = {m.table for m in prober.declaration.memberships.values()}
    titles = _titles(prober, subject, text)
    weak = [w for name, w in prober.worlds.items() if name.startswith("member of ")]
    for world in [prober.worlds["A"], *weak]:
        for planted in world.rows.values():
            title = planted.relation.title
            if title not in titles or title in (subject.relation.title, "auth.users"):
                continue
            if world.actor.name == "A" and title not in members:
                yield planted, prober.intruders
            elif world.actor.name != "A" and title in members:
                yield planted, [world.actor]


def _titles(prober: Prober, subject: Subject, text: str) -> set[str]:
    """The tables that the policies and rules of the subject read."""
    known = prober.catalogue
    read = [known.by_oid.get(oid) for p in known.policies_of(subject.relation) for oid in p.relations]
    behind = [
        known.by_oid.get(oid)
        for r in read
        if r is not None
        for p in known.policies_of(r)
        for oid in p.relations
    ]
    return tables_in(known, text) | {r.title for r in (*read, *behind) if r is not None}


def seen_by(prober: Prober, subject: Subject, relation: Relation) -> str:
    """What decides who sees a row that the policies read: a subquery finds what its reader may see."""
    policies = prober.catalogue.policies_of(subject.relation)
    if not any(relation.oid in policy.relations for policy in policies):
        return ""
    return " ".join(policy.using or "" for policy in prober.catalogue.policies_of(relation))


def looked_at(prober: Prober, subject: Subject, text: str) -> Iterator[Planted]:
    """Rows of A and of B that the policies look at, but of mere memberships only B's."""
    titles = _titles(prober, subject, text) - {prober.declaration.users}
    for name in ("A", "B"):
        for row in prober.worlds[name].rows.values():
            known = row.relation.title in titles and not row.found
            if known and (name == "B" or not mere_membership(prober, row.relation)):
                yield row


def mere_membership(prober: Prober, relation: Relation) -> bool:
    """Whether a row says that somebody is a member, and no more: nothing else hangs on it."""
    members = {membership.table for membership in prober.declaration.memberships.values()}
    others = (c for other in prober.catalogue.relations for c in other.constraints if c.kind == "f")
    return relation.title in members and all(c.target != relation.oid for c in others)


def bases(prober: Prober, subject: Subject, row: Planted, actor: Actor) -> Iterator[Change]:
    """New rows to start from: A's, the caller's own, and A's with the caller as its owner."""
    yield row.data
    if actor.user is None or actor.name == "A":
        return
    own = next((w.row(subject) for w in prober.worlds.values() if w.actor.name == actor.name), None)
    if own is not None:
        yield own.data
    owners = [n for n in prober.links(subject) if row.data.get(n) == prober.worlds["A"].user]
    if owners:
        yield row.data | dict.fromkeys(owners, actor.user)
