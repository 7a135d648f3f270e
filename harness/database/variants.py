"""Rows and callers as a policy may wish them: what its own text compares, made true and false in turn.

A policy that says `or status = 'published'` leaks only published rows. Its text names the column and the
value, so A's row is given that value (with full rights, undone at once) and everybody tries again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from harness.database.catalogue import COMMANDS, Column
from harness.database.oracle import Actor, Subject, literal
from harness.database.planted import Planted
from harness.database.prober import Prober, Sighting
from harness.database.synthesise import constants, plausible

__all__ = ["tried"]

_MOST_OWN = 8
_MOST_OTHERS = 8
_STOP = re.compile(r"\b(AND|OR|SELECT|WHERE)\b", re.I)


def tried(prober: Prober, subject: Subject) -> Iterator[Sighting]:
    """Every variant of A's row, of rows that its policies look at, and of callers that they name."""
    row = prober.worlds["A"].row(subject)
    if row is None:
        return
    texts = _texts(prober, subject)
    text = " ".join(texts)
    # of a file, the name says whose it is: another name would be another owner's file
    own = [] if subject.bucket else list(_changes(row, text))
    for shown, change in own[:_MOST_OWN]:
        yield from _with(prober, subject, row, change, f"with {shown}", actors=prober.intruders, moves=True)
    others = [
        (c, actors) for planted, actors in _others(prober, subject, text) for c in _changes(planted, text)
    ]
    for (shown, change), actors in others[:_MOST_OTHERS]:
        yield from _with(prober, subject, row, change, f"with {shown}", actors=actors, moves=False)
    intruder = prober.worlds["B"].actor
    for email in _addresses(text):
        caller = replace(intruder, claims={"email": email})
        yield from prober.existing(subject, caller, row, f"with the address {email}")


def _texts(prober: Prober, subject: Subject) -> list[str]:
    catalogue = prober.catalogue
    found = [f"{rule.where or ''} {rule.check or ''}" for rule in subject.rules]
    groups = [prober.declaration.memberships.get(rule.of or "") for rule in subject.rules]
    found += dict.fromkeys(group.where for group in groups if group and group.where)
    for policy in catalogue.policies_of(subject.relation):
        found.append(f"{policy.using or ''} {policy.check or ''}")
        for oid in policy.functions:
            function = catalogue.function_by_oid.get(oid)
            if function is not None and function.schema not in ("auth", "storage", "pg_catalog"):
                found.append(" ".join(function.body.split()))
    return found


def _with(
    prober: Prober,
    subject: Subject,
    row: Planted,
    change: str,
    shown: str,
    *,
    actors: list[Actor],
    moves: bool,
) -> Iterator[Sighting]:
    with prober.session.altered(change) as rows:
        if not rows:
            return
        there = Planted(row.relation, *rows[0]) if moves else row
        commands = COMMANDS if moves else ("SELECT",)
        for actor in actors:
            for sighting in prober.existing(subject, actor, there, shown, commands):
                yield prober.judged(sighting)  # while the change still stands


def _others(prober: Prober, subject: Subject, text: str) -> Iterator[tuple[Planted, list[Actor]]]:
    """A's rows of tables that the policies look at, and what makes a mate one; with whom it matters to."""
    known, members = prober.catalogue, {m.table for m in prober.declaration.memberships.values()}
    titles = set(re.findall(r"\b\w+\.\w+\b", text))
    titles |= {
        r.title
        for p in known.policies_of(subject.relation)
        for oid in p.relations
        if (r := known.by_oid.get(oid))
    }
    for name, world in prober.worlds.items():
        for planted in world.rows.values() if name != "B" else ():
            title = planted.relation.title
            if title not in titles or title in (subject.relation.title, "auth.users"):
                continue
            if name == "A" and title not in members:
                yield planted, prober.intruders
            elif name != "A" and title in members:
                yield planted, [world.actor]


def _changes(planted: Planted, text: str) -> Iterator[tuple[str, str]]:
    """Updates of the row, each of one column that ``text`` mentions."""
    relation = planted.relation
    keys = {n for c in relation.constraints if c.kind in ("p", "f") for n in c.columns}
    here = f"t.tableoid = {planted.table} and t.ctid = {literal(planted.ctid)}"
    for column in relation.columns:
        if (
            column.generated
            or column.name in relation.key
            or not re.search(rf"\b{re.escape(column.name)}\b", text)
        ):
            continue
        now = planted.data.get(column.name)
        checks = " ".join(
            c.text or "" for c in relation.constraints if c.kind == "c" and c.columns == [column.name]
        )
        others = [v for v in constants(checks) if v not in _near(column.name, text) and v != now][:1]
        wished = [*_values(column, now, text, linked=column.name in keys)]
        for value in [*wished, *(others if column.category == "S" else ())]:
            shown = "null" if value is None else str(value)
            change = (
                f"update {relation.sql} t set {column.sql} = {literal(value)} where {here}"
                " returning to_jsonb(t.*), t.tableoid::bigint, t.ctid::text"
            )
            yield f"{relation.title}.{column.name} = {shown[:60]}", change


def _values(column: Column, now: Any, text: str, *, linked: bool) -> Iterator[str | None]:
    near = _near(column.name, text)
    if not column.not_null and now is not None:
        yield None
    if linked or column.base == "uuid":
        return
    if column.category == "B":
        yield "false" if now else "true"
    elif column.category == "D":
        yield from ("infinity", "-infinity")
    elif column.category == "N":
        numbers = [c for c in near if re.fullmatch(r"-?\d+(\.\d+)?", c)]
        yield from dict.fromkeys(v for n in numbers for v in (n, f"{float(n) + 1:g}", f"{float(n) - 1:g}"))
    elif column.base in ("json", "jsonb"):
        yield from _documents(column.name, text)
    elif column.category == "A":
        yield from ("{" + json.dumps(value) + "}" for value in near)
    elif column.category in ("S", "E") or column.labels:
        values = column.labels if column.labels and not near else near
        yield from dict.fromkeys(v.replace("%", "x") for v in values if v != now)
    if not column.not_null and now is None and column.category not in ("D", "B") and not near:
        yield plausible(column, "variant")


def _near(name: str, text: str) -> list[str]:
    """Literals that stand beside the column, up to the next AND or OR."""
    found: dict[str, None] = {}
    for match in re.finditer(rf"\b{re.escape(name)}\b", text):
        after = _STOP.split(text[match.end() : match.end() + 160])[0]
        before = _STOP.split(text[max(0, match.start() - 60) : match.start()])[-1]
        found |= dict.fromkeys(constants(after) or constants(before))
    return list(found)[:4]


def _documents(name: str, text: str) -> Iterator[str]:
    pattern = rf"\b{re.escape(name)}\b\s*->>?\s*'([^']+)'(?:::text)?\)*(?:::\w+)?\)*\s*(?:=\s*'([^']*)')?"
    for key, value in re.findall(pattern, text):
        yield json.dumps({key: value or True})


def _addresses(text: str) -> Iterator[str]:
    """Addresses that a policy about e-mail would let in, as somebody else could have one."""
    if not re.search(r"email", text, re.I):
        return
    for match in re.finditer(r"email", text, re.I):
        around = text[max(0, match.start() - 40) : match.end() + 120]
        for constant in constants(around):
            domain = constant.strip("%").lstrip("@")
            if re.fullmatch(r"[\w-]+(\.[\w-]+)+", domain):
                yield f"probe@{domain}"
                yield f"probe@not-{domain}"
                return
