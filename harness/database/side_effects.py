"""What triggers and rules do beyond the row that was written: does anything of A's change?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.database.catalogue import Relation
from harness.database.findings import Found
from harness.database.oracle import Actor, Subject, literal, record
from harness.database.parts import standing_in
from harness.database.planted import Planted
from harness.database.privacy import privacy, watching
from harness.database.prober import Prober
from harness.database.rewrites import rewrite_title, rules_of
from harness.database.synthesise import plausible
from harness.database.trigger_texts import reached, writers
from harness.database.written_from import unchanged

__all__ = ["side_effects"]

_MOST = 12


def side_effects(prober: Prober) -> Iterator[Found]:
    """Writes of rows of their own by somebody else, on every table that a trigger watches."""
    watched = {t["relation"] for t in prober.catalogue.triggers if t["enabled"] != "D"}
    watched |= {rule.relation for rule in prober.catalogue.rewrites}
    concerned = [
        s for s in prober.subjects if s.relation.oid in watched and not s.bucket and s.relation.table
    ]
    actors = [w.actor for name, w in prober.worlds.items() if name == "B" or name.startswith("member of ")]
    for actor in actors if concerned else ():
        all_of_it = privacy(prober, actor)
        for subject in concerned:
            row = prober.worlds["A"].row(subject)
            places = reached(prober.catalogue, subject.relation)
            if row is None or places == set():
                continue
            watch, before = all_of_it.watch, all_of_it.before
            if places is not None:
                watch = watching(prober, actor, all_of_it.fixed, places)
                before = prober.session.inside(actor, watch)
            yield from _writes(prober, subject, row, actor, watch, before)


def _writes(
    prober: Prober, subject: Subject, row: Planted, actor: Actor, watch: str, before: list[Any]
) -> Iterator[Found]:
    marked = _marked(prober, subject)
    if marked:
        outcome = prober.session.attempt(actor, "select 1", watch, _both(marked, "select 1"))
        before = outcome.seen[0] if outcome.seen else before
    for did, statement, prepare in _statements(prober, subject, row, actor):
        outcome = prober.session.attempt(actor, statement, watch, _both(marked, prepare))
        # nothing refers to a row that was just made: what could not be deleted is another's
        referred = outcome.sqlstate == "23503" and outcome.message.startswith("update or delete on")
        reached = did.startswith("delete") and referred
        changed = bool(outcome.rows and outcome.seen) and list(outcome.seen[0])[:-1] != list(before)[:-1]
        if not reached and (outcome.sqlstate or not changed):
            continue
        rule, culprit = _culprit(prober, subject.relation, did)
        if unchanged(prober.catalogue, prober.declaration, culprit):
            return  # it did so when the declaration was written: a counter of subscribers, say
        kind = "rule" if rule == "rule-escalates" else "trigger"
        yield Found(
            rule,
            culprit,
            f"a {kind} on {subject.relation.title} changes rows of others",
            "what callers write changes nothing that they may not change",
            "-- let it look at whose rows it changes",
            (actor.role,),
            subject.title,
            (f"{actor.title}: {did}: rows of user A changed",),
        )
        return


def _marked(prober: Prober, subject: Subject) -> list[str]:
    """SQL that makes A's rows, which triggers and rules change, other than those left them when planted."""
    found: list[str] = []
    known = writers(prober.catalogue, subject.relation)
    for planted in prober.worlds["A"].rows.values() if known else ():
        relation = planted.relation
        bound = {n for c in relation.constraints for n in c.columns}
        column = next(
            (c for c in relation.columns if c.category == "S" and c.name not in bound and not c.generated),
            None,
        )
        if column is None or planted.found or relation.oid == subject.relation.oid:
            continue
        if any(writer.does("update", relation) for writer in known):
            value = literal(plausible(column, prober.mark))
            found.append(f"update {relation.sql} set {column.sql} = {value} where {planted.match()}")
    return found


def _both(marked: list[str], prepare: str) -> str:
    """Everything that must be there before, as one statement."""
    if not marked:
        return prepare
    parts = [f"begin {change}; exception when others then null; end;" for change in marked]
    last = "" if prepare == "select 1" else f"{prepare};"
    return f"do $probe$ begin {' '.join(parts)} {last} end $probe$"


def _culprit(prober: Prober, relation: Relation, did: str) -> tuple[str, str]:
    """Who did it: a rule that writes by itself, else a trigger's function."""
    command = did.partition(" ")[0].upper()
    for rule in rules_of(prober.catalogue, relation, command):
        if not rule.definition.rstrip().rstrip(";").endswith("NOTHING"):
            return "rule-escalates", rewrite_title(rule, relation)
    names = _triggers(prober, relation)
    return "trigger-escalates", names[0] if names else relation.title


def _triggers(prober: Prober, relation: Relation) -> list[str]:
    """Functions of its triggers, those that write themselves first."""
    found = [
        function
        for trigger in prober.catalogue.triggers
        if trigger["relation"] == relation.oid and trigger["enabled"] != "D"
        if (function := prober.catalogue.function_by_oid.get(trigger["function"])) is not None
    ]
    found.sort(key=lambda f: not any(word in f.body.lower() for word in ("update ", "delete ")))
    return [f"function {function.title}" for function in found]


def _statements(
    prober: Prober, subject: Subject, row: Planted, actor: Actor
) -> Iterator[tuple[str, str, str]]:
    """What is done, its SQL, and what must be there before: writes of rows that are the actor's own."""
    relation = subject.relation
    for new in _own(prober, subject, row, actor):
        may = prober.expected(subject, actor, new, new=True)
        if may["INSERT"] and prober._possible(subject, actor, "INSERT"):
            columns = [
                c.sql
                for c in relation.columns_for(actor.role, "INSERT")
                if not c.generated and c.identity != "a" and not (c.default or "").startswith("nextval")
            ]
            names = ", ".join(columns)
            sql = f"insert into {relation.sql} ({names}) select {names} from {record(relation, new)}"
            yield f"insert into {relation.title}", sql, "select 1"
        there = prober.expected(subject, actor, new)
        plant = _planted(relation, new)
        if there["DELETE"] and prober._possible(subject, actor, "DELETE"):
            own = Planted(relation, new, 0, "").match() if relation.key else "true"
            yield f"delete from {relation.title}", f"delete from {relation.sql} where {own}", plant
        column = prober._harmless(subject, actor)
        if there["UPDATE"] and column is not None and prober._possible(subject, actor, "UPDATE"):
            sql = f"update {relation.sql} set {column.sql} = {column.sql} where true"
            yield f"update {relation.title}", sql, plant


def _planted(relation: Relation, row: dict[str, Any]) -> str:
    columns = [c.sql for c in relation.columns if not c.generated and row.get(c.name) is not None]
    names = ", ".join(columns)
    return (
        f"insert into {relation.sql} ({names}) overriding system value"
        f" select {names} from {record(relation, row)}"
    )


def _own(prober: Prober, subject: Subject, row: Planted, actor: Actor) -> Iterator[dict[str, Any]]:
    """Rows of the actor's own, each with something of A's in it."""
    owners = [n for n in prober.links(subject) if row.data.get(n) == prober.worlds["A"].user]
    mine = row.data | dict.fromkeys(owners, actor.user)
    own = next((w.row(subject) for w in prober.worlds.values() if w.actor.name == actor.name), None)
    bases = [mine, *([own.data] if own else [])]
    made: list[dict[str, Any]] = []
    for base in bases:
        made.append(base)
        made += [base | change for change in standing_in(prober, Planted(row.relation, base, 0, ""), actor)]
        made += [base | {name: row.data.get(name)} for name in prober.links(subject) if name not in owners]
    for index, new in enumerate(made[:_MOST]):
        if new not in made[:index]:
            yield _keyed(prober, subject, new)


def _keyed(prober: Prober, subject: Subject, row: dict[str, Any]) -> dict[str, Any]:
    new = prober.anew(subject, row)
    for column in subject.relation.columns:
        if column.identity and column.name in subject.relation.key:
            new[column.name] = 10**8 + prober.session.count
    return new
