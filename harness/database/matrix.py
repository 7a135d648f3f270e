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

__all__ = ["passed", "permitted", "suspects"]

_CHUNK = 100
Rows = Sequence[dict[str, Any]]


def suspects(
    prober: ProberBase, subject: Subject, actor: Actor, command: str, rows: Rows, *, new: bool = False
) -> list[int]:
    """Places in ``rows`` of those that the policies open to ``actor`` and the declaration does not."""
    opened = [i for i, yes in enumerate(passed(prober, subject, actor, command, rows, new=new)) if yes]
    if not opened:
        return []
    granted = permitted(prober, subject, actor, command, [rows[i] for i in opened], new=new)
    return [i for i, yes in zip(opened, granted, strict=True) if not yes]


def permitted(
    prober: ProberBase, subject: Subject, actor: Actor, command: str, rows: Rows, *, new: bool = False
) -> list[bool]:
    """What the declaration says of each row; one that no condition can read counts as permitted."""
    roles = {role for rule in subject.rules for role in prober.declaration.roles_of(rule)}
    if actor.role not in roles:
        return [False] * len(rows)
    condition = permission(subject, prober.declaration, actor, command, new=new)

    def ask(query: str) -> list[bool] | None:
        try:
            return list(prober.session.inside(actor, query)[0])
        except ValueError:
            return None

    return _each(subject.relation, condition, rows, ask, unknown=True)


def passed(
    prober: ProberBase,
    subject: Subject,
    actor: Actor,
    command: str,
    rows: Rows,
    *,
    new: bool = False,
    policy: Policy | None = None,
) -> list[bool]:
    """What the policies (or only ``policy``) say of each row; one that they break on counts as refused."""
    relation = subject.relation
    if policy is not None:
        condition = (policy.new_rows if new else policy.using) or "true"
    elif (found := prober.condition(relation, actor.role, command, new=new)) is None:
        return [False] * len(rows)
    else:
        condition = found

    def ask(query: str) -> list[bool] | None:
        outcome = prober.session.attempt(actor, query)
        return list(outcome.result[0][0]) if outcome.result else None

    return _each(relation, condition, rows, ask, unknown=False)


def _each(
    relation: Relation,
    condition: str,
    rows: Rows,
    ask: Callable[[str], list[bool] | None],
    *,
    unknown: bool,
) -> list[bool]:
    found: list[bool] = []
    for start in range(0, len(rows), _CHUNK):
        found += _some(relation, condition, rows[start : start + _CHUNK], ask, unknown)
    return found


def _some(
    relation: Relation,
    condition: str,
    rows: Rows,
    ask: Callable[[str], list[bool] | None],
    unknown: bool,
) -> list[bool]:
    """``condition`` of each row in one query; halved when one of them breaks it."""
    if not rows:
        return []
    alias = '"' + relation.name.replace('"', '""') + '"'
    query = (
        f"select array_agg(coalesce(({condition}), false) order by probe_place_)"
        f" from jsonb_array_elements({literal(json.dumps(list(rows)))}::jsonb)"
        f" with ordinality probe_rows_ (probe_row_, probe_place_),"
        f" lateral jsonb_populate_record(null::{relation.sql}, probe_row_) as {alias}"
    )
    answer = ask(query)
    if answer is not None and len(answer) == len(rows):
        return answer
    if len(rows) == 1:
        return [unknown]
    half = len(rows) // 2
    return _some(relation, condition, rows[:half], ask, unknown) + _some(
        relation, condition, rows[half:], ask, unknown
    )
