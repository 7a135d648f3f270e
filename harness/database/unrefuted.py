"""What reading found and trying did not: kept, unless trying refutes it.

A policy whose text binds no owner may still be right. It is, when it was seen to let somebody through
whom the declaration lets through as well, and nobody else. A policy that never said yes to anybody
proves nothing: what was read of it stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from harness.database import parts
from harness.database.catalogue import Policy
from harness.database.causes import policy_title
from harness.database.findings import Found
from harness.database.matrix import passed, permitted
from harness.database.oracle import Actor, Subject
from harness.database.prober import Prober
from harness.database.variants import texts_of
from harness.database.wishes import combined, wishes

__all__ = ["unrefuted"]

_COMMANDS = {
    "foreign-read": "SELECT",
    "forged-insert": "INSERT",
    "foreign-update": "UPDATE",
    "owner-reassigned": "UPDATE",
    "foreign-delete": "DELETE",
}
_MOST = 200


def unrefuted(prober: Prober, read: Iterable[Found], tried: list[Found]) -> Iterator[Found]:
    """Of what was read, what trying neither found nor refuted."""
    objects, tables = {one.object for one in tried}, {one.table for one in tried}
    for found in read:
        if found.object in objects or found.table in tables:
            continue  # said already, with a proof
        policy, subject = _places(prober, found)
        asked = prober.catalogue.called(policy.functions) if policy is not None else ()
        if any(f"function {function.title}" in objects for function in asked):
            continue  # what it asks is found to say yes to anybody
        if policy is None or subject is None or not _refuted(prober, found, policy, subject):
            yield found


def _places(prober: Prober, found: Found) -> tuple[Policy | None, Subject | None]:
    subject = next((one for one in prober.subjects if one.title == found.table), None)
    policies = prober.catalogue.policies_of(subject.relation) if subject else []
    named = (p for p in policies if subject and policy_title(p, subject.relation) == found.object)
    return next(named, None), subject


def _refuted(prober: Prober, found: Found, policy: Policy, subject: Subject) -> bool:
    row = prober.worlds["A"].row(subject)
    if row is None:
        return False
    command = _COMMANDS[found.rule]
    new = found.rule in ("forged-insert", "owner-reassigned")
    yes = False
    for actor in prober.everybody:
        if actor.role not in policy.applies:
            continue
        rows = [row.data | change for change in _changes(prober, subject, actor)][:_MOST]
        let = passed(prober, subject, actor, policy, rows, new=new)
        opened = [one for one, through in zip(rows, let, strict=True) if through]
        if opened and not all(permitted(prober, subject, actor, (command,), opened, new=new)[command]):
            return False
        yes = yes or bool(opened)
    return yes


def _changes(prober: Prober, subject: Subject, actor: Actor) -> Iterator[dict[str, Any]]:
    row = prober.worlds["A"].row(subject)
    if row is None:
        return
    yield {}
    texts = texts_of(prober, subject)
    if subject.bucket:
        names = parts.file_names(prober, str(row.data["name"]), " ".join(texts))
        yield from ({"name": name} for name in names)
    else:
        yield from ({name: value} for name, value in wishes(row.relation, row.data, " ".join(texts)))
        yield from combined(row.relation, row.data, texts)
    yield from parts.of(prober, subject, row, actor) if actor.user else ()
