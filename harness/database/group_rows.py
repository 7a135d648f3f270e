"""Rows that a function puts among those of a group to which its caller does not belong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.database.oracle import Actor, Subject, literal
from harness.database.prober import Prober

__all__ = ["counted"]


def counted(prober: Prober, actor: Actor, adds: Sequence[str]) -> Iterator[str]:
    """SQL that counts the rows of groups of A's, table by table, where ``actor`` may not put any.

    Left out are the tables ``adds``, and those that say who belongs to a group.
    """
    memberships = {membership.table for membership in prober.declaration.memberships.values()}
    for subject in prober.subjects:
        row = prober.worlds["A"].row(subject)
        if row is None or row.found or subject.title in {*adds, *memberships} or not subject.relation.table:
            continue
        places = dict.fromkeys(rule.by for rule in subject.rules if rule.who == "members" and rule.by)
        for name in places if not subject.bucket and not _may(prober, subject, actor) else ():
            column, group = subject.relation.column(name or ""), row.data.get(name or "")
            if column is not None and group is not None:
                where = f"{column.sql}::text = {literal(group)}"
                yield f"(select count(*) from {subject.relation.sql} where {where})"


def _may(prober: Prober, subject: Subject, actor: Actor) -> bool:
    """Whether ``actor`` may insert a row like A's, or one of their own in A's group: an order, say."""
    row = prober.worlds["A"].row(subject)
    owners = [rule.by for rule in subject.rules if rule.who == "owner" and rule.by]
    data = row.data if row is not None else {}
    return any(
        prober.expected(subject, actor, data | change, new=True)["INSERT"]
        for change in ({}, dict.fromkeys(owners, actor.user))
    )
