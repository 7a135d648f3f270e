"""States in which rows are hidden from whoever asks a function or a view: expired, revoked, a draft.

What runs with its owner's rights filters by itself, and no policy says how. So a declaration names a
state in which a row is shown (``shown_when``) and values that hide it or a part of it (``hidden_when``):
`declare` finds them by trying, and the check sees that they still do. Who asks is somebody else where
they are shown anything, else whose rows they are.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.database.arguments import arguments
from harness.database.catalogue import Column, Function, Relation
from harness.database.declaration import FunctionRule, Table
from harness.database.findings import Found
from harness.database.mentions import tables_in
from harness.database.oracle import Actor
from harness.database.planted import Planted
from harness.database.prober import Prober
from harness.database.prober_functions import secrets_of
from harness.database.values import value
from harness.database.wishes import wishes

__all__ = ["Hidden", "forgotten", "hidden"]

_ROWS = 200
_LARGE = 100_000
"""Rows of all tables beneath a view from which on it is not read again and again."""
_MOST_WAYS = 8
_MOST_STATES = 16
_MOST_PAIRS = 60
_TOLD = ("B", "S", "N", "D", "E", "U")
"""Categories of types whose values a declaration can hold."""

State = dict[str, Any]
"""Values of columns, by schema.table.column."""


@dataclass(frozen=True)
class Hidden:
    """What a declaration says of a function or view: a state in which rows are shown, values that hide."""

    shown_when: State
    hidden_when: dict[str, list[Any]]


@dataclass(frozen=True)
class _Source:
    """A function or view that reads with its owner's rights; ``text`` is what it is made of."""

    item: Function | Relation
    declared: FunctionRule | Table
    text: str
    tables: set[str]

    @property
    def name(self) -> str:
        """As findings call it."""
        return f"function {self.item.title}" if isinstance(self.item, Function) else self.item.title

    def queries(self, prober: Prober, actor: Actor) -> Iterator[str]:
        """Ways for ``actor`` to ask, A's secrets at hand."""
        item = self.item
        if isinstance(item, Relation):
            columns = ", ".join(column.sql for column in item.columns_for(actor.role, "SELECT"))
            if columns:
                read = f"select {columns} from {item.sql} limit {_ROWS}"
                yield f"select to_jsonb(given_)::text from ({read}) given_"
        elif actor.role in item.executors:
            ways = list(arguments(prober, item, actor, set()))
            declared = self.declared
            known = secrets_of(prober, declared) if isinstance(declared, FunctionRule) else set()
            ways.sort(key=lambda way: not any(secret in one for secret in known for one in way))
            for given in ways[:_MOST_WAYS]:
                call = f'"{item.schema}"."{item.name}"({", ".join(given)})'
                yield f"select to_jsonb(given_)::text from {call} given_ limit {_ROWS}"


def forgotten(prober: Prober, only: Collection[str] | None = None) -> Iterator[Found]:
    """What is declared to hide rows, and hides them no longer; of ``only`` these functions and views."""
    for source in _sources(prober):
        if only is not None and source.item.title not in only:
            continue
        declared = source.declared
        asked = _shown(prober, source, [declared.shown_when]) if declared.hidden_when else None
        if asked is None:
            continue
        for column, given in declared.hidden_when.items():
            for one in given:
                if not asked.lost(prober, column, one):
                    yield _found(source, asked, column, one)
                    break


def hidden(prober: Prober) -> Iterator[tuple[str, Hidden]]:
    """Functions and views (by title) of which values are found that hide rows."""
    for source in _sources(prober):
        states = list(itertools.islice(_states(prober, source), _MOST_STATES))
        pairs = ({**a, **b} for a, b in itertools.combinations(states, 2) if a.keys() != b.keys())
        asked = _shown(prober, source, [{}, *states, *itertools.islice(pairs, _MOST_PAIRS)])
        if asked is None:
            continue
        found: dict[str, list[Any]] = {}
        former = [
            {column: row.data.get(name)}
            for column in asked.state
            for row, name in itertools.islice(_places(asked.rows, column), 1)
        ]
        for state in [*states, *former]:
            [(column, given)] = state.items()
            if asked.state.get(column) != given and asked.lost(prober, column, given):
                found.setdefault(column, []).append(given)
        if found:
            yield source.item.title, Hidden(asked.state, found)


def _sources(prober: Prober) -> Iterator[_Source]:
    catalogue, declaration = prober.catalogue, prober.declaration
    known = {row.relation.title for row in prober.worlds["A"].rows.values() if not row.found}
    known -= {declaration.users or "", *(one.table for one in declaration.memberships.values())}
    for function in catalogue.functions:
        rule = declaration.functions.get(function.title)
        if rule is None or not function.definer or function.kind != "f" or function.returns == "void":
            continue
        text = " ".join(" ".join(f.body for f in catalogue.called([function.oid])).split())
        yield _Source(function, rule, text, tables_in(catalogue, text) & known)
    for title, table in declaration.tables.items():
        view = catalogue.by_title.get(title)
        if view is None or view.kind != "v" or view.invoker:
            continue
        below = [catalogue.by_oid[oid] for oid in catalogue.reach(view) if oid in catalogue.by_oid]
        if sum(relation.rows for relation in below) < _LARGE:
            text = " ".join(r.definition or "" for r in (view, *below))
            yield _Source(view, table, text, {relation.title for relation in below} & known)


def _states(prober: Prober, source: _Source) -> Iterator[State]:
    """States of A's rows that the text of a source speaks of, one column at a time."""
    for row in prober.worlds["A"].rows.values():
        if row.relation.title not in source.tables:
            continue
        for name, wished in wishes(row.relation, row.data, source.text):
            column = row.relation.column(name)
            if column is None or column.category not in _TOLD or isinstance(wished, dict | list):
                continue
            if column.category == "D" and str(wished) not in ("infinity", "-infinity", "None"):
                continue  # a moment near now is another one when the declaration is read
            yield {f"{row.relation.title}.{name}": wished}


@dataclass(frozen=True)
class _Asked:
    """A way to ask, by which something of A's rows is shown in ``state``."""

    actor: Actor
    query: str
    rows: list[Planted]
    state: State
    seen: Counter[str]

    def lost(self, prober: Prober, column: str, given: Any) -> Counter[str]:
        """What is not shown any more once the column has that value, beside the value that it had."""
        old = [str(row.data.get(name)) for row, name in _places(self.rows, column)]
        old += [str(self.state[column])] if column in self.state else []
        left = _seen(prober, self.actor, self.query, self.rows, {**self.state, column: given})
        return self.seen - left - Counter(dict.fromkeys(old, _ROWS))


def _shown(prober: Prober, source: _Source, states: list[Mapping[str, Any]]) -> _Asked | None:
    """The first way to ask, and of ``states`` the first, by which something of A's rows is shown."""
    rows = [r for r in prober.worlds["A"].rows.values() if r.relation.title in source.tables]
    for name in ("B", "A") if rows else ():
        actor = prober.worlds[name].actor
        for query in source.queries(prober, actor):
            for state in states:
                if seen := _seen(prober, actor, query, rows, state):
                    return _Asked(actor, query, rows, dict(state), seen)
    return None


def _seen(
    prober: Prober, actor: Actor, query: str, rows: list[Planted], state: Mapping[str, Any]
) -> Counter[str]:
    """What the answer holds beyond what it holds without A's rows."""
    there = _answer(prober, actor, query, rows, state, gone=False)
    return there - _answer(prober, actor, query, rows, state, gone=True) if there else there


def _answer(
    prober: Prober, actor: Actor, query: str, rows: list[Planted], state: Mapping[str, Any], *, gone: bool
) -> Counter[str]:
    parts = []
    for title, given in state.items():
        for row, name in _places(rows, title):
            column: Column | None = row.relation.column(name)
            if column is not None:
                change = f"{column.sql} = {value(column, given)}"
                parts.append(f"update {row.relation.sql} set {change} where {row.match()};")
    for row in rows if gone else ():
        here = f"delete from {row.relation.sql} where {row.match()};"
        parts.append(f"begin {here} exception when others then null; end;")
    prepare = f"do $probe$ begin {' '.join(parts)} null; end $probe$"
    outcome = prober.session.attempt(actor, query, prepare=prepare)
    return Counter(leaf for (text,) in outcome.result for leaf in _leaves(json.loads(text or "null")))


def _places(rows: list[Planted], column: str) -> Iterator[tuple[Planted, str]]:
    title, _, name = column.rpartition(".")
    return ((row, name) for row in rows if row.relation.title == title)


def _leaves(given: Any) -> Iterator[str]:
    if isinstance(given, dict | list):
        for inner in given.values() if isinstance(given, dict) else given:
            yield from _leaves(inner)
    elif given is not None:
        yield str(given)


def _found(source: _Source, asked: _Asked, column: str, given: Any) -> Found:
    shown = "null" if given is None else given
    return Found(
        "function-leaks" if isinstance(source.item, Function) else "view-bypasses-rls",
        source.name,
        f"it shows rows although {column} is {shown}, which is declared to hide them",
        "what expired, was withdrawn or is not published yet is hidden",
        f"-- let {source.name} ask for {column.rpartition('.')[2]} again",
        (asked.actor.role,),
        "" if isinstance(source.item, Function) else source.item.title,
        proofs=(f"{asked.actor.title}: {asked.query[:160]}",),
    )
