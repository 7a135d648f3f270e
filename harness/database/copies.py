"""What triggers copy: does a text that A writes turn up where somebody reads it who may not see A's row?

In A's row nobody but A is named. What a trigger makes of it for others, it makes for everybody.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.database.catalogue import quoted
from harness.database.findings import Found
from harness.database.oracle import Actor, Subject, literal
from harness.database.planted import Planted
from harness.database.prober import Prober
from harness.database.rule_text import personal, rules_for
from harness.database.session import statement_identity
from harness.database.side_effects import statements, trigger_functions, watched
from harness.database.synthesise import fresh

__all__ = ["copies"]

_SHORTEST = 8


def copies(prober: Prober) -> Iterator[Found]:
    """Writes of A on every table that a trigger watches, and what B sees then."""
    a, b = prober.worlds["A"].actor, prober.worlds["B"].actor
    for subject in watched(prober):
        row = prober.worlds["A"].row(subject)
        if row is None or prober.expected(subject, b, row.data)["SELECT"]:
            continue
        for source in (_marked(prober, subject, row), row):
            found = _of(prober, subject, source, a, b)
            if found is not None:
                yield found
                break


def _of(prober: Prober, subject: Subject, row: Planted, a: Actor, b: Actor) -> Found | None:
    for did, statement, prepare in statements(prober, subject, row, a):
        if (place := _turned_up(prober, b, _texts(prober, row.data), prepare, statement)) is not None:
            return _found(prober, subject, did, place, a, b)
    return None


def _marked(prober: Prober, subject: Subject, row: Planted) -> Planted:
    """The row with a text of its own wherever it takes any text: which one is copied is not known."""
    bound = {n for c in subject.relation.constraints for n in c.columns} | set(prober.links(subject))
    free = [
        c
        for c in subject.relation.columns
        if c.category == "S" and not (c.generated or c.domain or c.labels or c.length or c.name in bound)
    ]
    return Planted(row.relation, row.data | {c.name: fresh(prober.mark) for c in free}, row.table, row.ctid)


def _texts(prober: Prober, row: dict[str, Any]) -> list[str]:
    """Texts of the row that are in no other."""
    return [v for v in row.values() if isinstance(v, str) and prober.mark in v and len(v) >= _SHORTEST]


def _turned_up(prober: Prober, reader: Actor, texts: list[str], prepare: str, write: str) -> Subject | None:
    """Where ``reader`` reads one of ``texts`` after the write, and did not before."""
    places = [place for place in prober.subjects if _private(prober, place, reader)]
    before = {place.key: _seen(prober, reader, place, texts) for place in places if texts}
    identity = statement_identity(prober.declaration, prober.worlds["A"].actor)
    role = f"set local role {quoted(prober.declaration.signed_in)}"
    script = f"{identity}; {prepare}; {role}; {write}; reset role"
    with prober.session.altered(script) as rows:
        if rows is None or not texts:
            return None
        now = ((place, _seen(prober, reader, place, texts)) for place in places)
        return next((place for place, seen in now if seen > before[place.key]), None)


def _private(prober: Prober, place: Subject, reader: Actor) -> bool:
    """Whether what ``reader`` reads there is meant for them: what everybody may read is published."""
    if place.bucket or not prober._possible(place, reader, "SELECT"):
        return False
    return all(map(personal, rules_for(place, prober.declaration, "SELECT", reader.role)))


def _seen(prober: Prober, reader: Actor, place: Subject, texts: list[str]) -> int:
    """How many rows with one of ``texts`` are seen."""
    columns = [c.sql for c in place.relation.columns_for(reader.role, "SELECT")]
    whole = f"concat_ws(' ', {', '.join(f'{name}::text' for name in columns)})"
    tests = " or ".join(f"strpos({whole}, {literal(text)}) > 0" for text in texts)
    outcome = prober.session.attempt(reader, f"select count(*) from {place.relation.sql} where {tests}")
    return int(outcome.result[0][0]) if outcome.result else 0


def _found(prober: Prober, subject: Subject, did: str, place: Subject, a: Actor, b: Actor) -> Found:
    names = trigger_functions(prober, subject.relation, (place.relation.name.lower(),))
    return Found(
        "trigger-escalates",
        names[0] if names else subject.relation.title,
        f"a trigger on {subject.relation.title} copies to {place.title} what its readers may not see",
        "what one user writes is not copied to where others read it",
        "-- let it write for those alone who may see the row",
        (b.role,),
        subject.title,
        (f"{a.title}: {did}: {b.title} reads a text of that row in {place.title}",),
    )
