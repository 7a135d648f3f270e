"""Rows and callers as a policy may wish them: what its own text compares, made true and false in turn.

A policy that says `or status = 'published'` leaks only published rows. Its text names the column and the
value, so A's row is given that value (with full rights, undone at once) and everybody tries again. Which of
the many rows matter is evaluated first; only what policies and declaration disagree on is tried.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from harness.database import parts
from harness.database.catalogue import COMMANDS, Relation
from harness.database.findings import Gap
from harness.database.matrix import disputed
from harness.database.oracle import Actor, Subject, literal
from harness.database.planted import Planted
from harness.database.prober import Prober
from harness.database.sightings import Sighting
from harness.database.synthesise import constants
from harness.database.values import value
from harness.database.wishes import combined, wishes

__all__ = ["others", "statement", "texts_of", "tried"]

_MOST_ALONE = 40
_MOST_OTHERS = 24
_MOST_EVALUATED = 400
_MOST_CONFIRMED = 2
_MOST_TRIED = 8
Change = dict[str, Any]


def tried(prober: Prober, subject: Subject) -> Iterator[Sighting]:
    """Every variant of A's row, of rows that its policies look at, and of callers that they name."""
    row = prober.worlds["A"].row(subject)
    if row is None:
        return
    texts = texts_of(prober, subject)
    text = " ".join(texts)
    changes = list(_changes(prober, subject, row, texts))
    if len(changes) > _MOST_EVALUATED:
        why = f"its conditions name more values than the {_MOST_EVALUATED} that are evaluated"
        prober.gaps.append(Gap(subject.title, why))
    changes = changes[:_MOST_EVALUATED]
    for actor in prober.concerned(subject):
        own = [c for c in parts.of(prober, subject, row, actor) if c not in changes] if actor.user else []
        yield from _evaluated(prober, subject, row, actor, [*changes, *own])
    if _looks_itself_up(prober, subject):
        for change in [c for c in changes if len(c) == 1][:_MOST_ALONE]:
            yield from _with(prober, subject, row, row, change, prober.intruders, COMMANDS)
    yield from _elsewhere(prober, subject, row, text)
    yield from _callers(prober, subject, row, text)


def _changes(prober: Prober, subject: Subject, row: Planted, texts: list[str]) -> Iterator[Change]:
    if subject.bucket:  # of a file, the name says whose it is
        for name in parts.file_names(prober, str(row.data["name"]), " ".join(texts)):
            yield {"name": name}
        return
    for name, wished in wishes(row.relation, row.data, " ".join(texts)):
        yield {name: wished}
    yield from combined(row.relation, row.data, texts)


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
    name = re.compile(rf"\b{re.escape(subject.relation.name)}\b")
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
    """Rows on which policies and declaration disagree, then tried for real."""
    rows = [row.data | change for change in changes]
    possible = [c for c in ("SELECT", "UPDATE", "DELETE") if prober._possible(subject, actor, c)]
    for command, places in disputed(prober, subject, actor, possible, rows).items():
        confirmed = 0
        for place in places[:_MOST_TRIED]:
            found = list(_with(prober, subject, row, row, changes[place], [actor], (command,)))
            confirmed += bool(found)
            yield from found
            if confirmed == _MOST_CONFIRMED:
                break


def _with(
    prober: Prober,
    subject: Subject,
    row: Planted,
    changed: Planted,
    change: Change,
    actors: list[Actor],
    commands: Sequence[str],
) -> Iterator[Sighting]:
    shown = ", ".join(f"{changed.relation.title}.{n} = {_shown(v)}" for n, v in change.items())
    with prober.session.altered(statement(changed, change)) as rows:
        if not rows:
            return
        there = Planted(row.relation, *rows[0]) if changed is row else row
        for actor in actors:
            for sighting in prober.existing(subject, actor, there, f"with {shown}", commands):
                yield prober.judged(sighting)  # while the change still stands


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
        made = [({n: v}, actors) for n, v in wishes(planted.relation, planted.data, text)]
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
    known, members = prober.catalogue, {m.table for m in prober.declaration.memberships.values()}
    titles = set(re.findall(r"\b\w+\.\w+\b", text))
    titles |= {
        r.title
        for p in known.policies_of(subject.relation)
        for oid in p.relations
        if (r := known.by_oid.get(oid))
    }
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


def _callers(prober: Prober, subject: Subject, row: Planted, text: str) -> Iterator[Sighting]:
    """Callers whose token says what a policy asks for, as anybody could have one."""
    intruder = prober.worlds["B"].actor
    for email in _addresses(text):
        caller = replace(intruder, claims=intruder.claims | {"email": email})
        yield from prober.existing(subject, caller, row, f"with the address {email}")
    for claim, said in parts.claims(text):
        for actor in (prober.worlds["A"].actor, intruder):
            caller = replace(actor, claims=actor.claims | {claim: said})
            yield from prober.existing(subject, caller, row, f"with the claim {claim} = {said}")
            if actor.name == "A":
                yield from prober.inserts(subject, caller)


def _addresses(text: str) -> Iterator[str]:
    """Addresses that a policy about e-mail would let in, as somebody else could have one."""
    for match in re.finditer(r"email", text, re.I):
        around = text[max(0, match.start() - 40) : match.end() + 120]
        for constant in constants(around):
            domain = constant.strip("%").lstrip("@")
            if re.fullmatch(r"[\w-]+(\.[\w-]+)+", domain):
                yield f"probe@{domain}"
                yield f"probe@not-{domain}"
                return
