"""Writes through views: what a view lets in, or reaches, of another's."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from harness.database import values
from harness.database.catalogue import Column, Relation
from harness.database.oracle import Actor, Subject, literal, record
from harness.database.planted import Planted
from harness.database.prober import Prober
from harness.database.prober_views import view
from harness.database.sightings import Sighting
from harness.database.wishes import wishes

__all__ = ["settable", "through", "widened"]

_MOST = 12


def widened(prober: Prober, subject: Subject) -> Iterator[Sighting]:
    """The view again, with rows of A's as its own text wishes them."""
    declared = " ".join(rule.where or "" for rule in subject.rules)
    text = " ".join(f"{subject.relation.definition or ''} {declared}".split())
    count = 0
    for planted in _below(prober, subject):
        for name, value in wishes(planted.relation, planted.data, text):
            count += 1
            column = planted.relation.column(name)
            if count > _MOST or column is None:
                return
            here = f"t.tableoid = {planted.table} and t.ctid = {literal(planted.ctid)}"
            change = (
                f"update {planted.relation.sql} t set {column.sql} = {values.value(column, value)}"
                f" where {here} returning 1"
            )
            with prober.session.altered(change) as rows:
                for sighting in view(prober, subject) if rows else ():
                    if sighting.kind == "foreign-read":
                        yield prober.judged(sighting)


def _below(prober: Prober, subject: Subject) -> list[Planted]:
    reached = prober.catalogue.reach(subject.relation)
    return [
        p
        for (oid, _), p in prober.worlds["A"].rows.items()
        if oid in reached and p.relation.schema != "auth"
    ]


def through(prober: Prober, subject: Subject) -> Iterator[Sighting]:
    """Rows in A's name made through the view, and A's rows changed through it, by everybody else."""
    relation = subject.relation
    for below in _below(prober, subject):
        shared = [c for c in relation.columns if below.relation.column(c.name)]
        if relation.kind != "v" or len(shared) < 2:
            continue
        row = {c.name: below.data.get(c.name) for c in shared}
        for actor in prober.intruders:
            if prober._possible(subject, actor, "INSERT"):
                yield from _insert(prober, subject, below, actor, shared, row)
            yield from _change(prober, subject, below, actor, shared, row)


def settable(column: Column, below: Relation) -> bool:
    """Whether one may give the column a value."""
    real = below.column(column.name)
    made = real is None or real.generated or real.identity or (real.default or "").startswith("nextval")
    return not made


def _insert(
    prober: Prober,
    subject: Subject,
    below: Planted,
    actor: Actor,
    shared: list[Column],
    row: dict[str, Any],
) -> Iterator[Sighting]:
    relation = subject.relation
    granted = {c.name for c in relation.columns_for(actor.role, "INSERT")}
    columns = [c for c in shared if c.name in granted and settable(c, below.relation)]
    new = dict(row)
    for name in below.relation.key:
        if name in new and isinstance(new[name], str) and len(new[name]) == 36:
            new[name] = str(uuid.uuid4())
    if not columns or prober.expected(subject, actor, new, new=True)["INSERT"]:
        return
    names = ", ".join(c.sql for c in columns)
    statement = f"insert into {relation.sql} ({names}) select {names} from {record(relation, new)}"
    outcome = prober.session.attempt(actor, statement, _count(below))
    if not outcome.sqlstate and outcome.rows and outcome.seen[0][0] > _counted(prober, actor, below):
        saw = f"the row was accepted: {values.shown({c.name: new.get(c.name) for c in columns})}"
        yield Sighting("forged-insert", subject, actor, "INSERT", new, statement, saw, new)


def _owned(below: Planted) -> str:
    """What a row in A's name has in common with A's."""
    texts = [
        f"t.{c.sql}::text = {literal(below.data.get(c.name))}"
        for c in below.relation.columns
        if isinstance(below.data.get(c.name), str)
        and len(str(below.data.get(c.name))) == 36
        and c.name not in below.relation.key
    ]
    return " and ".join(texts) or below.match()


def _count(below: Planted) -> str:
    return f"select count(*) from {below.relation.sql} t where {_owned(below)}"


def _counted(prober: Prober, actor: Actor, below: Planted) -> int:
    return int(prober.session.inside(actor, _count(below))[0])


def _change(
    prober: Prober,
    subject: Subject,
    below: Planted,
    actor: Actor,
    shared: list[Column],
    row: dict[str, Any],
) -> Iterator[Sighting]:
    relation = subject.relation
    watch = f"select md5(to_jsonb(t.*)::text) from {below.relation.sql} t where {below.match()}"
    before = prober.session.inside(actor, watch)
    may = prober.expected(subject, actor, row)
    granted = [c for c in relation.columns_for(actor.role, "UPDATE") if c in shared]
    free = [
        c
        for c in granted
        if settable(c, below.relation) and c.category == "S" and c.name not in below.relation.key
    ]
    statements = []
    if free and not may["UPDATE"] and prober._possible(subject, actor, "UPDATE"):
        value = literal(values.again(str(row.get(free[0].name) or prober.mark), prober.mark))
        statements.append(
            ("UPDATE", "foreign-update", f"update {relation.sql} set {free[0].sql} = {value} where true")
        )
    if not may["DELETE"] and prober._possible(subject, actor, "DELETE"):
        statements.append(("DELETE", "foreign-delete", f"delete from {relation.sql} where true"))
    for command, kind, statement in statements:
        outcome = prober.session.attempt(actor, statement, watch)
        if not outcome.sqlstate and (not outcome.seen or list(outcome.seen[0]) != before):
            yield Sighting(kind, subject, actor, command, row, statement, "the row of user A was changed")
    yield from _give(prober, subject, below, actor, granted)


def _give(
    prober: Prober, subject: Subject, below: Planted, actor: Actor, granted: list[Column]
) -> Iterator[Sighting]:
    """The actor's own row, made A's through the view."""
    own = next((w for w in prober.worlds.values() if w.actor.name == actor.name), None)
    mine = own.rows.get((below.relation.oid, "")) if own else None
    if mine is None or own is None:
        return
    user = prober.worlds["A"].user
    for column in granted:
        if mine.data.get(column.name) != own.user or below.data.get(column.name) != user:
            continue
        after = {c.name: mine.data.get(c.name) for c in subject.relation.columns} | {column.name: user}
        if prober.expected(subject, actor, after, new=True)["UPDATE"]:
            continue
        watch = f"select t.{column.sql}::text from {mine.relation.sql} t where {mine.match()}"
        statement = f"update {subject.relation.sql} set {column.sql} = {literal(user)} where true"
        outcome = prober.session.attempt(actor, statement, watch)
        if not outcome.sqlstate and outcome.seen and outcome.seen[0][0] == user:
            saw = f"the row became {values.shown({column.name: user})}"
            yield Sighting("owner-reassigned", subject, actor, "UPDATE", after, statement, saw, after)
