"""Views and functions, tried as others: does anything of A's come out, or change?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from harness.database.catalogue import Function
from harness.database.declaration import FunctionRule
from harness.database.findings import Found, Gap
from harness.database.oracle import Subject, literal
from harness.database.planted import World
from harness.database.prober import Prober, Sighting

__all__ = ["functions", "view"]

_ROWS = 50


def marks(world: World) -> list[str]:
    """Texts that give a row away as one of this user's: ids and made-up texts."""
    found: dict[str, None] = {world.user: None}
    for planted in world.rows.values():
        for value in planted.data.values():
            if isinstance(value, str) and (len(value) == 36 or "probe-" in value):
                found[value] = None
            elif isinstance(value, int) and value >= 10**8:
                found[str(value)] = None
    return list(found)


def own_marks(world: World, others: list[World]) -> list[str]:
    """Those that no other world shares."""
    shared = {mark for other in others if other is not world for mark in marks(other)}
    return [mark for mark in marks(world) if mark not in shared]


def view(prober: Prober, subject: Subject) -> Iterator[Sighting]:
    """Rows of A that come through a view: who else sees them, and does A?"""
    relation, worlds = subject.relation, prober.worlds
    mine = own_marks(worlds["A"], list(worlds.values()))
    wanted = " or ".join(f"strpos(to_jsonb(v)::text, {literal(mark)}) > 0" for mark in mine)
    query = f"select to_jsonb(v) from {relation.sql} v where {wanted} limit {_ROWS}"
    owner = worlds["A"].actor
    usage = prober.catalogue.schemas[relation.schema]["usage"]
    for actor in [owner, *prober.intruders]:
        if actor.role not in usage or "SELECT" not in relation.privileges.get(actor.role, ()):
            if actor is owner and prober.expected(subject, actor, {})["SELECT"]:
                yield Sighting(
                    "missing-access",
                    subject,
                    actor,
                    "SELECT",
                    {},
                    f"select from {relation.title}",
                    "no privilege",
                )
            continue
        outcome = prober.session.attempt(actor, query)
        if outcome.policy_error or (actor is owner and outcome.refused):
            kind = "policy-error" if outcome.policy_error else "missing-access"
            yield Sighting(
                kind,
                subject,
                actor,
                "SELECT",
                {},
                f"select from {relation.title}",
                f"{outcome.message} [{outcome.sqlstate}]",
            )
        if actor is owner:
            continue
        for (row,) in outcome.result:
            if not prober.expected(subject, actor, row)["SELECT"]:
                shown = str({k: str(v)[:40] for k, v in list(row.items())[:3]})
                yield Sighting(
                    "foreign-read",
                    subject,
                    actor,
                    "SELECT",
                    row,
                    f"select from {relation.title}",
                    f"saw {shown} of user A",
                )
                break


def functions(prober: Prober) -> Iterator[Found]:
    """Call every declared function that is to keep to its caller's own, with A's ids, as everybody else."""
    for function in prober.catalogue.functions:
        rule = prober.declaration.functions.get(function.title)
        if rule is None or rule.reveals == "anything" or function.kind != "f":
            continue
        yield from _function(prober, function, rule)


def _function(prober: Prober, function: Function, rule: FunctionRule) -> Iterator[Found]:
    worlds = prober.worlds
    mine = own_marks(worlds["A"], list(worlds.values()))
    secret = _secrets(prober, rule)
    watch = _fingerprint(prober)
    before = prober.session.inside(worlds["A"].actor, watch)
    for actor in prober.intruders:
        if actor.role not in function.executors:
            continue
        for arguments in _arguments(function, worlds["A"], secret):
            call = f'"{function.schema}"."{function.name}"({", ".join(arguments)})'
            query = (
                f"select to_jsonb(f)::text from {call} f limit {_ROWS}"
                if function.returns != "void"
                else f"select {call}::text"
            )
            outcome = prober.session.attempt(actor, query, watch)
            if outcome.interrupted:
                prober.gaps.append(
                    Gap(f"function {function.title}", f"a call was interrupted: {outcome.message}")
                )
                break
            if outcome.sqlstate:
                continue
            text = json.dumps(outcome.result, default=str)
            seen = next(
                (m for m in mine if m in text and not any(m in argument for argument in arguments)), None
            )
            changed = bool(outcome.seen) and list(outcome.seen[0]) != before
            if seen or changed:
                what = f"it gave away {seen} of user A" if seen else "it changed rows of user A"
                fix = f"revoke execute on function {function.title} from public, {actor.role};"
                yield Found(
                    "function-leaks",
                    f"function {function.title}",
                    what,
                    "a caller gets and changes nothing of another user's",
                    fix,
                    (actor.role,),
                    proofs=(f"{actor.title}: select {call[:160]}",),
                )
                break


def _secrets(prober: Prober, rule: FunctionRule) -> set[str]:
    """A's tokens: whoever has one may open what it unlocks, so nobody is given one here."""
    found = set()
    for planted in prober.worlds["A"].rows.values():
        for name, value in planted.data.items():
            if f"{planted.relation.title}.{name}" in rule.unlocked_by:
                found.add(str(value))
    return found


def _fingerprint(prober: Prober) -> str:
    """One row that changes when any row of A's does."""
    parts = []
    for planted in prober.worlds["A"].rows.values():
        here = f"tableoid = {planted.table} and ctid = {literal(planted.ctid)}"
        parts.append(f"(select count(*) from {planted.relation.sql} where {here})")
    for membership in prober.declaration.memberships.values():
        relation = prober.catalogue.by_title.get(membership.table)
        there = prober.worlds["A"].rows.get((relation.oid, "")) if relation else None
        if relation is not None and there is not None:
            column = '"' + membership.group.replace('"', '""') + '"'
            parts.append(
                f"(select count(*) from {relation.sql}"
                f" where {column}::text = {literal(there.data[membership.group])})"
            )
    return f"select {', '.join(parts)}"


def _arguments(function: Function, world: World, secret: set[str]) -> Iterator[list[str]]:
    """Ways to call it: every uuid is one of A's in turn, other types take a likely value."""
    required = [given for given in function.inputs if not given["optional"]]
    if not required:
        yield []
        if not function.inputs:
            return
    ids = [mark for mark in marks(world) if len(mark) == 36 and mark not in secret]
    numbers = [
        str(v)
        for p in world.rows.values()
        for k, v in p.data.items()
        if k in p.relation.key and isinstance(v, int)
    ]
    wide = required if required else function.inputs
    if not any(given["type"] in ("uuid", "text", "bigint", "integer") for given in wide):
        yield [_argument(given, None) for given in wide]
        return
    for chosen in (*(ids if any(g["type"] in ("uuid", "text") for g in wide) else ()), *numbers[:8]) or (
        None,
    ):
        yield [_argument(given, chosen) for given in wide]
    if any(given["type"] in ("text", "character varying") for given in wide):
        for text in ("%", "", "a"):
            yield [
                _argument(given, text)
                if given["type"] in ("text", "character varying")
                else _argument(given, ids[0])
                for given in wide
            ]


def _argument(given: dict[str, Any], chosen: str | None) -> str:
    kind = given["type"]
    if given["labels"]:
        value: str | None = given["labels"][0]
    elif kind == "uuid":
        value = chosen if chosen and len(chosen) == 36 else None
    elif kind in ("bigint", "integer", "smallint", "numeric"):
        value = chosen if chosen and chosen.isdigit() and len(chosen) < 10 else "1"
    elif given["category"] == "S":
        value = chosen if chosen is not None else "%"
    else:
        value = {"B": "true", "D": "2026-01-15", "A": "{}", "U": "{}", "T": "1 hour"}.get(given["category"])
    return f"{literal(value)}::{kind}"
