"""Functions with their owner's rights, held to what they did when the declaration was written.

No policy says what such a function is for: that only the buyer releases the money, or nobody accepts an
invitation twice. So where one is another now, both are asked: the one that is there, and the one that was.
Who gets or changes more by it than then is a finding; another way to write the same is none.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from harness.database.arguments import arguments, own_arguments
from harness.database.catalogue import Function, Relation
from harness.database.findings import Found
from harness.database.mentions import tables_in
from harness.database.oracle import Actor
from harness.database.planted import Planted
from harness.database.prober import Prober
from harness.database.session import Outcome
from harness.database.variants import Change, shown, statement
from harness.database.wishes import combined, wishes
from harness.database.written_from import functions_in, unchanged

__all__ = ["compared", "surpassed"]

_ROWS = 50
_LARGE = 2_000
"""Rows of a table from which on it is not compared before and after a call."""
_MOST_STATES = 24
_MOST_ACTORS = 10
_MOST_WAYS = 6
_TAKEN = ("23505", "23P01")
_NOTHING = ("", "null", "[]", "{}", "false", "0")


@dataclass(frozen=True)
class _Call:
    """A call by somebody; ``title`` is what findings show of it."""

    actor: Actor
    title: str
    query: str


def surpassed(prober: Prober) -> Iterator[Found]:
    """Functions by which somebody gets or changes more than by what they were."""
    for function in prober.catalogue.functions:
        rule = prober.declaration.functions.get(function.title)
        if rule is None or not rule.was or function.kind != "f" or not function.definer:
            continue
        if not unchanged(prober.catalogue, prober.declaration, f"function {function.title}"):
            yield from itertools.islice(compared(prober, function, rule.was), 1)


def compared(prober: Prober, function: Function, was: str) -> Iterator[Found]:
    """Calls by which somebody gets or changes more than by what ``function`` was."""
    asked = [function.oid, *functions_in(prober.catalogue, was)]
    text = " ".join([was, *(f.body for f in prober.catalogue.called(asked))])
    titles = tables_in(prober.catalogue, text)
    tables = [r for r in prober.catalogue.relations if r.title in titles and r.table and r.rows < _LARGE]
    watch = _watching(tables)
    for planted, change in [(None, {}), *itertools.islice(_states(prober, titles, text), _MOST_STATES)]:
        with prober.session.altered(statement(planted, change)) if planted else nullcontext([1]) as rows:
            if not rows:
                continue
            calls = list(_calls(prober, function, titles))
            now = [prober.session.attempt(c.actor, c.query, watch) for c in calls]
            with prober.session.altered(_again(function, was)) as there:
                if there is None:
                    return
                then = [prober.session.attempt(c.actor, c.query, watch) for c in calls]
            before = prober.session.attempt(calls[0].actor, "select 1", watch) if calls else Outcome()
            state = f", with {shown(planted, change)}" if planted else ""
            for call, new, old in zip(calls, now, then, strict=True):
                if what := _more(before, new, old):
                    yield _found(function, call, what, state)


def _again(function: Function, was: str) -> str:
    """SQL that makes a function again what it was; it may return something else now."""
    callers = f"grant execute on function {function.title} to {', '.join(function.executors)};"
    callers = callers if function.executors else ""
    return f"drop function {function.title} cascade; {was}; {callers}"


def _states(prober: Prober, titles: set[str], text: str) -> Iterator[tuple[Planted, Change]]:
    """Rows of A's, each with what may matter to a function: whose it is, what is compared, both."""
    users = prober.catalogue.by_title.get(prober.declaration.users or "")
    rows = [r for r in prober.worlds["A"].rows.values() if r.relation.title in titles and not r.found]
    rows = [r for r in rows if users is None or r.relation.oid != users.oid]
    other = prober.worlds["B"].user
    each = []
    for row in rows:
        named = [n for n, value in row.data.items() if value == prober.worlds["A"].user]
        places: list[Change] = [{}, *({name: other} for name in named if name not in row.relation.key)]
        told: list[Change] = [{name: wished} for name, wished in wishes(row.relation, row.data, text)]
        told += combined(row.relation, row.data, [text])
        pairs = itertools.product([{}, *told], places)
        each.append([(row, state | place) for state, place in pairs if state or place])
    for turn in itertools.zip_longest(*each):
        yield from (one for one in turn if one is not None)


def _calls(prober: Prober, function: Function, titles: set[str]) -> Iterator[_Call]:
    """What is asked: about A's rows in the tables that the function reads before others, and one's own."""
    anybody = [actor for actor in prober.intruders if actor.user is None]
    everybody = [*anybody, *(world.actor for world in prober.worlds.values())]
    rows = [row for row in prober.worlds["A"].rows.values() if row.relation.title in titles]
    keys = {str(row.data.get(name)) for row in rows for name in _identifying(row.relation)}
    for actor in everybody[:_MOST_ACTORS]:
        if actor.role in function.executors:
            ways = _varied(arguments(prober, function, actor, set()), keys)
            for given in [*ways[:_MOST_WAYS], *own_arguments(prober, function, actor)]:
                call = f'"{function.schema}"."{function.name}"({", ".join(given)})'
                yield _Call(actor, call, f"select to_jsonb(given_)::text from {call} given_ limit {_ROWS}")


def _identifying(relation: Relation) -> list[str]:
    """Columns that say which row it is, or which rows it belongs to."""
    linked = [name for c in relation.constraints if c.kind == "f" for name in c.columns]
    return [*relation.key, *linked]


def _varied(ways: Iterable[list[str]], keys: set[str]) -> list[list[str]]:
    """Those that hold many keys first, but before others each that holds one where none before it did."""
    first: list[list[str]] = []
    later: list[list[str]] = []
    seen: set[tuple[int, str]] = set()
    held = [
        ({(i, one) for i, one in enumerate(way) if any(f"'{key}'" in one for key in keys)}, way)
        for way in ways
    ]
    for places, way in sorted(held, key=lambda one: -len(one[0])):
        (first if places - seen else later).append(way)
        seen |= places
    return first + later


def _watching(tables: list[Relation]) -> str:
    """A query for the rows of each table, as a number for each digest."""
    parts = [
        "(select coalesce(jsonb_object_agg(digest, number), '{}') from"
        f" (select md5(to_jsonb(t.*)::text) as digest, count(*) as number from {table.sql} t group by 1) s)"
        for table in tables
    ]
    return f"select {', '.join(parts) or '1'}"


def _more(before: Outcome, now: Outcome, then: Outcome) -> str:
    """What a call does that it did not do; nothing, when it does no more."""
    if now.sqlstate in _TAKEN and then.refused:
        return "it gets as far as a row that is there already, where it was refused"
    if now.sqlstate or then.interrupted:
        return ""
    changes, changed = _changes(before, now), _changes(before, then)
    if changes > changed:
        return f"it changes {changes} rows, where it changed {changed or 'none'}"
    told, known = _told(now), _told(then)
    if told.total() > known.total() and told - known:  # what it says may be somebody's: it is not repeated
        return f"it gives {told.total()} answers, where it gave {known.total() or 'none'}"
    return ""


def _changes(before: Outcome, after: Outcome) -> int:
    """How many rows are there that were not, or are no more."""
    if after.sqlstate or not after.seen or not before.seen:
        return 0
    pairs = zip(before.seen[0], after.seen[0], strict=True)
    counters = [(Counter(a), Counter(b)) for a, b in pairs if isinstance(a, dict)]
    return sum(max((a - b).total(), (b - a).total()) for a, b in counters)


def _told(outcome: Outcome) -> Counter[str]:
    """What an answer holds, a list by its items."""
    found: list[str] = []
    for (text,) in outcome.result if not outcome.sqlstate else ():
        value: Any = json.loads(text or "null")
        items = value if isinstance(value, list) else [value]
        found += [said for item in items if (said := json.dumps(item).strip('"')) not in _NOTHING]
    return Counter(found)


def _found(function: Function, call: _Call, what: str, state: str) -> Found:
    return Found(
        "function-leaks",
        f"function {function.title}",
        what,
        "who calls it gets and changes no more than when the declaration was written",
        f"-- let {function.title} ask again what it asked, or write the declaration anew",
        (call.actor.role,),
        proofs=(f"{call.actor.title}: select {call.title[:160]}{state}: {what}",),
    )
