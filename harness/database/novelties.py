"""New rows and changed ones that the declaration does not let even their owner write.

Who may insert an order may not insert a paid one; who may change a profile may not make it an admin's. Each
value that the rules and policies speak of is put into a row that is right otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from harness.database import values
from harness.database.kinship import in_documents
from harness.database.matrix import permitted, suspects
from harness.database.oracle import Actor, Subject
from harness.database.parts import file_names, standing_in, standing_in_path
from harness.database.planted import Planted
from harness.database.prober import Prober
from harness.database.prober_base import PASSED
from harness.database.sightings import Sighting
from harness.database.variants import bases, others, shown, statement, texts_of
from harness.database.wishes import combined, pairs, wishes

__all__ = ["inserted", "novelties"]

_MOST = 400
_MOST_CONFIRMED = 2
_MOST_TRIED = 8
_MOST_ELSEWHERE = 4
_MOST_STATES = 100


def novelties(prober: Prober, subject: Subject) -> Iterator[Sighting]:
    """Inserts and updates of everybody, with each value that matters."""
    row = prober.worlds["A"].row(subject)
    if row is None:
        return
    texts = texts_of(prober, subject)
    for actor in prober.concerned(subject):
        if prober._possible(subject, actor, "INSERT"):
            yield from inserted(prober, subject, row, actor, texts)
        if actor.user and not subject.bucket and prober._possible(subject, actor, "UPDATE"):
            yield from _updates(prober, subject, row, actor, texts)
    if subject.bucket:
        yield from _moves(prober, subject, row)
    else:
        yield from _meanwhile(prober, subject, row, texts)


def _meanwhile(prober: Prober, subject: Subject, row: Planted, texts: list[str]) -> Iterator[Sighting]:
    """A's inserts while a row that they lead to is in another state: closed, locked, deleted."""
    actor = prober.worlds["A"].actor
    if not prober._possible(subject, actor, "INSERT"):
        return
    text = " ".join(texts)
    for planted, _ in list(others(prober, subject, text))[:_MOST_CONFIRMED]:
        for name, wished in list(wishes(planted.relation, planted.data, text))[:_MOST_ELSEWHERE]:
            with prober.session.altered(statement(planted, {name: wished})) as rows:
                new = prober.anew(subject, row.data)
                if not rows or prober.expected(subject, actor, new, new=True)["INSERT"]:
                    continue
                outcome, did = prober.insert(subject, actor, new)
                if not outcome.sqlstate and outcome.rows:
                    saw = f"the row was accepted, with {planted.relation.title}.{name} = {wished}"
                    yield prober.judged(
                        Sighting("forged-insert", subject, actor, "INSERT", new, did, saw, new)
                    )


def _changes(
    prober: Prober, subject: Subject, row: Planted, base: dict[str, Any], actor: Actor, texts: list[str]
) -> Iterator[dict[str, Any]]:
    if subject.bucket:
        for name in file_names(prober, str(base["name"]), " ".join(texts)):
            yield {"name": name}
        yield {}
        yield from standing_in_path(prober, base, actor) if actor.user else ()
        return
    yield from ({name: value} for name, value in wishes(row.relation, base, " ".join(texts)))
    yield from combined(row.relation, base, texts)
    yield from pairs(row.relation, base, texts)
    if actor.user:
        there = Planted(row.relation, base, row.table, row.ctid)
        yield from standing_in(prober, there, actor)
        yield from in_documents(there, actor, " ".join(texts))


def inserted(
    prober: Prober, subject: Subject, row: Planted, actor: Actor, texts: list[str]
) -> Iterator[Sighting]:
    """Rows like A's that ``actor`` inserts, each with a value that ``texts`` speak of."""
    granted = {c.name for c in subject.relation.columns_for(actor.role, "INSERT")}
    made = [
        prober.anew(subject, base | change)
        for base in bases(prober, subject, row, actor)
        for change in _changes(prober, subject, row, base, actor, texts)
        if set(change) <= granted
    ][:_MOST]
    confirmed = 0
    for place in suspects(prober, subject, actor, "INSERT", made, new=True)[:_MOST_TRIED]:
        outcome, did = prober.insert(subject, actor, made[place])
        came = outcome.seen[0][0] if outcome.seen and outcome.seen[0][0] else made[place]
        happened = outcome.sqlstate in PASSED or (not outcome.sqlstate and outcome.rows > 0)
        if happened and not prober.expected(subject, actor, came, new=True)["INSERT"]:
            confirmed += 1
            saw = f"the row was accepted: {values.shown(_telling(prober, subject, came, texts))}"
            yield prober.judged(Sighting("forged-insert", subject, actor, "INSERT", came, did, saw, came))
        if confirmed == _MOST_CONFIRMED:
            return


def _telling(prober: Prober, subject: Subject, row: dict[str, Any], texts: list[str]) -> dict[str, Any]:
    text = " ".join(texts)
    told = [n for n, _ in wishes(subject.relation, row, text)]
    names = dict.fromkeys((*prober.links(subject), *told))
    return {name: row.get(name) for name in names}


def _updates(
    prober: Prober, subject: Subject, row: Planted, actor: Actor, texts: list[str]
) -> Iterator[Sighting]:
    if prober.expected(subject, actor, row.data)["UPDATE"]:
        if prober.passes(subject, actor, "UPDATE", row.data):
            yield from _back(prober, subject, row, actor, texts)
            yield from _become(prober, subject, row, actor, texts)
        return  # what touches a row that is not theirs to change is found elsewhere
    if (change := _changeable(prober, subject, row, actor, texts)) is None:
        return
    with prober.session.altered(statement(row, change)) as rows:
        if rows:
            there = Planted(row.relation, *rows[0])
            for sighting in _become(prober, subject, there, actor, texts):
                yield replace(sighting, variant=f"with {shown(row, change)}")


def _changeable(
    prober: Prober, subject: Subject, row: Planted, actor: Actor, texts: list[str]
) -> dict[str, Any] | None:
    """What makes the row one that the actor may change: an order that is paid, say, is to be sent.

    Or their own order, in a shop that is somebody else's.
    """
    text = " ".join(texts)
    states = [{name: wished} for name, wished in wishes(row.relation, row.data, text)]
    places = list(standing_in(prober, row, actor)) if actor.user and actor.name != "A" else []
    changes = [*places, *states, *combined(row.relation, row.data, texts)]
    changes += [place | state for place in places for state in states]
    changes = changes[:_MOST_STATES]
    rows = [row.data | change for change in changes]
    may = permitted(prober, subject, actor, ("UPDATE",), rows)["UPDATE"] if rows else []
    open_ = (
        c
        for c, r, yes in zip(changes, rows, may, strict=True)
        if yes and prober.passes(subject, actor, "UPDATE", r)
    )
    return next(open_, None)


def _become(
    prober: Prober, subject: Subject, row: Planted, actor: Actor, texts: list[str]
) -> Iterator[Sighting]:
    """The row is given each value that it may not have after an update."""
    granted = {c.name for c in subject.relation.columns_for(actor.role, "UPDATE")}
    changes = [c for c in _changes(prober, subject, row, row.data, actor, texts) if c and set(c) <= granted]
    changes = changes[:_MOST]
    rows = [row.data | change for change in changes]
    confirmed = 0
    for place in suspects(prober, subject, actor, "UPDATE", rows, new=True)[:_MOST_TRIED]:
        for sighting in prober.reassign(subject, actor, row, changes[place]):
            confirmed += 1
            yield prober.judged(sighting)
        if confirmed == _MOST_CONFIRMED:
            return


def _back(
    prober: Prober, subject: Subject, row: Planted, actor: Actor, texts: list[str]
) -> Iterator[Sighting]:
    """What may be left but not returned to: a member who has gone comes back, an order is unpaid again."""
    if not suspects(prober, subject, actor, "UPDATE", [row.data], new=True):
        return
    granted = {c.name for c in subject.relation.columns_for(actor.role, "UPDATE")}
    for name, wished in wishes(row.relation, row.data, " ".join(texts)):
        if name not in granted:
            continue
        with prober.session.altered(statement(row, {name: wished})) as rows:
            there = Planted(row.relation, *rows[0]) if rows else row
            found = list(prober.reassign(subject, actor, there, {name: row.data.get(name)}))
            yield from map(prober.judged, found)
        if found:
            return


def _moves(prober: Prober, subject: Subject, row: Planted) -> Iterator[Sighting]:
    """A file moved into another bucket, by its owner, who may not put one there."""
    actor = prober.worlds["A"].actor
    others = [
        name
        for name in prober.declaration.buckets
        if name != subject.bucket and name in {b.id for b in prober.catalogue.buckets or ()}
    ]
    if not prober._possible(subject, actor, "UPDATE") or not prober.passes(
        subject, actor, "UPDATE", row.data
    ):
        return
    for name in others:
        there = prober.subject_of(name)
        after = row.data | {"bucket_id": name}
        if there is None or any(
            prober.expected(there, actor, after, new=True)[c] for c in ("INSERT", "UPDATE")
        ):
            continue
        yield from prober.reassign(subject, actor, row, {"bucket_id": name})
