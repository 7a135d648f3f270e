"""Functions, called as others with A's ids: does anything of A's come out, or change?"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace

from harness.database.arguments import arguments, own_arguments
from harness.database.catalogue import Function, Relation
from harness.database.declaration import FunctionRule
from harness.database.findings import Found, Gap
from harness.database.mentions import tables_in
from harness.database.oracle import Actor, literal
from harness.database.planted import Planted
from harness.database.privacy import MEMBER, Privacy, privacy
from harness.database.prober import Prober
from harness.database.session import Outcome
from harness.database.variants import shown, statement
from harness.database.wishes import wishes

__all__ = ["concerned", "functions", "gave", "leak", "secrets_of"]

_ROWS = 50
_MOST_STATES = 10
_MOST_COMPARED = 8
"""How callers are named who belong to a group of A's, and are nothing special in it."""
_MOST_AS_CALLER = 16
"""Calls of what does no more than its caller may do anyway."""


def functions(prober: Prober, only: Function | None = None) -> Iterator[Found]:
    """Call every declared function that is to keep to its caller's own, with A's ids, as everybody else.

    Or one of them ``only``.
    """
    known = [one for one in concerned(prober) if only is None or one[0].oid == only.oid]
    if not known:
        return
    plain = [privacy(prober, actor) for actor in _callers(prober)]
    counting = [view.counting(prober, ()) for view in plain]
    for function, rule in known:
        secret = secrets_of(prober, rule)
        views = [view.counting(prober, rule.adds) for view in plain] if rule.adds else counting
        for view in views if function.definer else plain:
            if rule.reveals == "group" and view.actor.name.startswith(MEMBER):
                continue
            if view.actor.role in function.executors:
                found = _called(prober, function, view, secret)
                if found is not None:
                    yield found
        if function.definer and prober.worlds["B"].actor.role in function.executors:
            yield from _in_states(prober, function, secret)


def concerned(prober: Prober) -> list[tuple[Function, FunctionRule]]:
    """The declared functions that keep to what is their caller's own."""
    return [
        (function, rule)
        for function in prober.catalogue.functions
        if (rule := prober.declaration.functions.get(function.title)) is not None
        and rule.reveals != "anything"
        and function.kind == "f"
    ]


def _in_states(prober: Prober, function: Function, secret: set[str]) -> Iterator[Found]:
    """Called by B while A's rows are what the function asks for: one in the bin, one that is locked."""
    body = " ".join(" ".join(f.body for f in prober.catalogue.called([function.oid])).split())
    tables = tables_in(prober.catalogue, body) - {prober.declaration.users or ""}
    members = {membership.table for membership in prober.declaration.memberships.values()}
    known = [row for row in prober.worlds["A"].rows.values() if row.relation.title in tables]
    known.sort(key=lambda row: row.relation.title in members)  # an invitation is one of these
    states = (
        (planted, {name: wished})
        for planted in known
        if not planted.found
        for name, wished in wishes(planted.relation, planted.data, body)
    )
    for planted, change in itertools.islice(states, _MOST_STATES):
        was = (planted.data, planted.table, planted.ctid)
        with prober.session.altered(statement(planted, change)) as rows:
            planted.data, planted.table, planted.ctid = rows[0] if rows else was
            try:  # what may come out is another thing, too
                view = privacy(prober, prober.worlds["B"].actor) if rows else None
                found = _called(prober, function, view, secret) if view is not None else None
            finally:
                planted.data, planted.table, planted.ctid = was
        if found is not None:
            told = f"{found.proofs[0]}, with {shown(planted, change)}"
            yield replace(found, proofs=(told,))
            return


def _callers(prober: Prober) -> list[Actor]:
    """One of each kind: what a role more or less adds to a function is not worth its time."""
    return [
        actor
        for actor in prober.intruders
        if actor.user is None or actor.name == "B" or actor.name.startswith(MEMBER)
    ]


def _called(prober: Prober, function: Function, view: Privacy, secret: set[str]) -> Found | None:
    ways = list(arguments(prober, function, view.actor, secret))
    ways = [*own_arguments(prober, function, view.actor), *ways] if function.inputs else ways
    ways = ways if function.definer else ways[:_MOST_AS_CALLER]
    if function.volatile != "v" and len(ways) > 1:
        together = _together(prober, function, view, ways)
        if together is None:
            return None
        ways = together
    return _one_by_one(prober, function, view, ways)


def _call(function: Function, given: list[str]) -> str:
    return f'"{function.schema}"."{function.name}"({", ".join(given)})'


def _together(
    prober: Prober, function: Function, view: Privacy, ways: list[list[str]]
) -> list[list[str]] | None:
    """Calls that change nothing, in one query: which of them to look at alone; none, when all are well."""
    one = "(select jsonb_agg(x) from (select to_jsonb(f) as x from {} f limit 50) s)::text"
    query = " union all ".join(f"select {one.format(_call(function, given))}" for given in ways)
    outcome = prober.session.attempt(view.actor, query)
    if outcome.sqlstate or len(outcome.result) != len(ways):
        return ways
    found = [
        given
        for given, row in zip(ways, outcome.result, strict=True)
        if gave(Outcome(result=[row]), view, given)
    ]
    if found:
        return found
    if function.definer and _tells(outcome) and _depends(prober, function, view, query, outcome):
        return ways
    return None


def _one_by_one(prober: Prober, function: Function, view: Privacy, ways: list[list[str]]) -> Found | None:
    compared = 0
    for given in ways:
        call = _call(function, given)
        query = (
            f"select to_jsonb(f)::text from {call} f limit {_ROWS}"
            if function.returns != "void"
            else f"select {call}::text"
        )
        outcome = prober.session.attempt(view.actor, query, view.watch)
        if outcome.interrupted:
            why = f"a call was interrupted: {outcome.message}"
            prober.gaps.append(Gap(f"function {function.title}", why))
            return None
        if outcome.sqlstate:
            if told := _told(outcome, view, given):
                return leak(function, view.actor, told, call)
            continue
        if what := gave(outcome, view, given):
            return leak(function, view.actor, what, call)
        if function.definer and compared < _MOST_COMPARED and _tells(outcome):
            compared += 1
            if _depends(prober, function, view, query, outcome):
                return leak(function, view.actor, "what it answers depends on rows of user A", call)
    return None


def gave(outcome: Outcome, view: Privacy, given: list[str]) -> str:
    """What a call gave away or changed of A's that was not among its arguments; else nothing."""
    text = json.dumps(outcome.result, default=str)
    seen = next((m for m in view.marks if m in text and not any(m in argument for argument in given)), None)
    if seen:
        return f"it gave away {seen} of user A"
    if not outcome.seen:
        return ""
    *now, power = outcome.seen[0]
    *then, weakness = view.before
    gained = _roles(power) - _roles(weakness)
    if list(now)[view.groups :] != list(then)[view.groups :]:
        return "it changed rows of user A"
    if list(now) != list(then):
        return "it put rows among those of a group of user A, or took some away"
    return f"it made its caller {', '.join(sorted(gained))} in a group of user A" if gained else ""


def _told(outcome: Outcome, view: Privacy, given: list[str]) -> str:
    """What a refusal says that is none of the caller's business."""
    known = " ".join(given)
    seen = next((mark for mark in view.marks if mark in outcome.message and mark not in known), None)
    return f"its error gave away {seen} of user A" if seen else ""


def _roles(power: str) -> set[str]:
    return {role for role in str(power).replace(";", ",").split(",") if role}


def _tells(outcome: Outcome) -> bool:
    """Whether the answer says anything at all."""
    return any(row[0] not in (None, "", "null", "[]", "{}") for row in outcome.result)


def _depends(prober: Prober, function: Function, view: Privacy, query: str, outcome: Outcome) -> bool:
    """Whether the answer is another one without A's rows, and the same one twice with them."""
    bodies = " ".join(f.body for f in prober.catalogue.called([function.oid]))
    rows = [p for p in view.hidden if p.relation.name in bodies and p.relation.title != "auth.users"]
    if not rows:
        return False
    for gone in (True, False):
        without = prober.session.attempt(view.actor, query, prepare=_undone(rows, gone=gone))
        if not without.sqlstate and without.result != outcome.result:
            return prober.session.attempt(view.actor, query).result == outcome.result
    return False


def _undone(rows: list[Planted], *, gone: bool) -> str:
    """SQL that takes the rows away, or changes their numbers."""
    parts = []
    for planted in rows:
        relation: Relation = planted.relation
        here = f"tableoid = {planted.table} and ctid = {literal(planted.ctid)}"
        numbers = [
            f"{c.sql} = {c.sql} + 1"
            for c in relation.columns
            if c.category == "N" and not c.generated and c.name not in relation.key
        ]
        change = f"update {relation.sql} set {', '.join(numbers)} where {here};" if numbers else "null;"
        change = f"delete from {relation.sql} where {here};" if gone else change
        parts.append(f"begin {change} exception when others then null; end;")
    return f"do $probe$ begin {' '.join(parts)} end $probe$"


def leak(function: Function, actor: Actor, what: str, call: str) -> Found:
    """The finding that a call comes to."""
    return Found(
        "function-leaks",
        f"function {function.title}",
        what,
        "a caller gets and changes nothing of another user's",
        f"revoke execute on function {function.title} from public, {actor.role};",
        (actor.role,),
        proofs=(f"{actor.title}: select {call[:160]}",),
    )


def secrets_of(prober: Prober, rule: FunctionRule) -> set[str]:
    """A's tokens: whoever has one may open what it unlocks, so nobody is given one here."""
    found = set()
    for planted in prober.worlds["A"].rows.values():
        for name, value in planted.data.items():
            if f"{planted.relation.title}.{name}" in rule.unlocked_by:
                found.add(str(value))
    return found
