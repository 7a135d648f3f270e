"""Many rows at once: which of them do the policies let a caller at, and which does the declaration?

What is tried costs a statement each; what is evaluated costs one for all rows. So rows that only might
matter are evaluated, and those on which policy and declaration disagree are tried.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from harness.database.catalogue import Policy, Relation
from harness.database.oracle import Actor, Subject, literal, permission
from harness.database.prober_base import ProberBase

__all__ = ["disputed", "fulfilled", "passed", "permitted", "suspects"]

_CHUNK = 100
Rows = Sequence[dict[str, Any]]
Answers = list[list[bool]]
"""For each condition, what it says of each row."""
Ask = Callable[[str], Answers | None]


def suspects(
    prober: ProberBase, subject: Subject, actor: Actor, command: str, rows: Rows, *, new: bool = False
) -> list[int]:
    """Places in ``rows`` of those that the policies open to ``actor`` and the declaration does not."""
    return disputed(prober, subject, actor, (command,), rows, new=new).get(command, [])


def disputed(
    prober: ProberBase,
    subject: Subject,
    actor: Actor,
    commands: Sequence[str],
    rows: Rows,
    *,
    new: bool = False,
) -> dict[str, list[int]]:
    """The same for several commands, in as many queries as for one."""
    relation = subject.relation
    conditions = {c: prober.condition(relation, actor.role, c, new=new) for c in commands}
    asked = {c: condition for c, condition in conditions.items() if condition is not None}
    if not asked or not rows:
        return {}
    opened = _each(relation, list(asked.values()), rows, _as(prober, actor), unknown=False)
    found: dict[str, list[int]] = {}
    places = sorted({i for answers in opened for i, yes in enumerate(answers) if yes})
    if not places:
        return {}
    granted = permitted(prober, subject, actor, tuple(asked), [rows[i] for i in places], new=new)
    for command, answers in zip(asked, opened, strict=True):
        may = dict(zip(places, granted[command], strict=True))
        found[command] = [i for i in places if answers[i] and not may[i]]
    return found


def permitted(
    prober: ProberBase,
    subject: Subject,
    actor: Actor,
    commands: Sequence[str],
    rows: Rows,
    *,
    new: bool = False,
) -> dict[str, list[bool]]:
    """What the declaration says of each row; one that no condition can read counts as permitted."""
    roles = {role for rule in subject.rules for role in prober.declaration.roles_of(rule)}
    if actor.role not in roles:
        return {command: [False] * len(rows) for command in commands}
    conditions = [permission(subject, prober.declaration, actor, c, new=new) for c in commands]
    answers = _each(subject.relation, conditions, rows, _about(prober, actor), unknown=True)
    return dict(zip(commands, answers, strict=True))


def fulfilled(
    prober: ProberBase, relation: Relation, actor: Actor, conditions: list[str], rows: Rows
) -> list[bool]:
    """Of each row, whether one of ``conditions`` holds, with full rights; or cannot be told."""
    if not conditions or not rows:
        return [False] * len(rows)
    answers = _each(relation, conditions, rows, _about(prober, actor), unknown=True)
    return [any(one) for one in zip(*answers, strict=True)]


def passed(
    prober: ProberBase, subject: Subject, actor: Actor, policy: Policy, rows: Rows, *, new: bool = False
) -> list[bool]:
    """What one policy says of each row; one that it breaks on counts as refused."""
    condition = (policy.new_rows if new else policy.using) or "true"
    return _each(subject.relation, [condition], rows, _as(prober, actor), unknown=False)[0]


def _about(prober: ProberBase, actor: Actor) -> Ask:
    """With full rights and the claims of ``actor``."""

    def ask(query: str) -> Answers | None:
        try:
            return [list(one) for one in prober.session.inside(actor, query)]
        except ValueError:
            return None

    return ask


def _as(prober: ProberBase, actor: Actor) -> Ask:
    def ask(query: str) -> Answers | None:
        outcome = prober.session.attempt(actor, query)
        return [list(one) for one in outcome.result[0]] if outcome.result and outcome.result[0][0] else None

    return ask


def _each(relation: Relation, conditions: list[str], rows: Rows, ask: Ask, *, unknown: bool) -> Answers:
    found: Answers = [[] for _ in conditions]
    for start in range(0, len(rows), _CHUNK):
        some = _some(relation, conditions, rows[start : start + _CHUNK], ask, unknown)
        for answers, more in zip(found, some, strict=True):
            answers.extend(more)
    return found


def _some(relation: Relation, conditions: list[str], rows: Rows, ask: Ask, unknown: bool) -> Answers:
    """Each condition of each row in one query; halved when one of them breaks it."""
    alias = '"' + relation.name.replace('"', '""') + '"'
    columns = [f"array_agg(coalesce(({text}), false) order by probe_place_)" for text in conditions]
    query = (
        f"select {', '.join(columns)}"
        f" from jsonb_array_elements({literal(json.dumps(list(rows)))}::jsonb)"
        f" with ordinality probe_rows_ (probe_row_, probe_place_),"
        f" lateral jsonb_populate_record(null::{relation.sql}, probe_row_) as {alias}"
    )
    answer = ask(query)
    if answer is not None and all(len(one) == len(rows) for one in answer):
        return answer
    if len(rows) == 1:
        return [[unknown] for _ in conditions]
    half = len(rows) // 2
    first, second = (_some(relation, conditions, part, ask, unknown) for part in (rows[:half], rows[half:]))
    return [one + other for one, other in zip(first, second, strict=True)]
