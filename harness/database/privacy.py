"""What A has that is none of a caller's business: what must not come out, and what must stay as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.database.group_rows import counted
from harness.database.oracle import Actor, literal
from harness.database.planted import Planted
from harness.database.prober import Prober
from harness.database.prober_views import foreign_marks

__all__ = ["MEMBER", "Privacy", "privacy", "watching"]

MEMBER = "member of "
"""How the names of those begin who belong to a group of A's."""


@dataclass
class Privacy:
    """What A has that is none of a caller's business."""

    actor: Actor
    marks: list[str]
    """Texts that must not come out."""
    hidden: list[Planted]
    """Rows that the caller may not read."""
    fixed: list[Planted]
    """Rows that the caller may not change."""
    watch: str
    """A query whose one row changes when something does that the caller may not change."""
    before: list[Any]
    groups: int = 0
    """How many of the values come first that count the rows of groups of A's."""

    def counting(self, prober: Prober, adds: Sequence[str]) -> Privacy:
        """The same, with the rows of A's groups in which none may appear but in ``adds``."""
        if self.actor.name.startswith(MEMBER):
            return self  # what a function adds to their own group is its own affair
        counts = list(counted(prober, self.actor, adds))
        watch = self.watch.replace("select ", f"select {''.join(f'{one}, ' for one in counts)}", 1)
        return replace(
            self, watch=watch, before=prober.session.inside(self.actor, watch), groups=len(counts)
        )


def privacy(prober: Prober, actor: Actor) -> Privacy:
    """What ``actor`` may neither see nor change of A's."""
    rows = {subject.key: subject for subject in prober.subjects}
    allowed: set[str] = set()
    hidden, fixed = [], []
    for key, planted in prober.worlds["A"].rows.items():
        subject = rows.get(key)
        may = (
            prober.expected(subject, actor, planted.data) if subject else dict.fromkeys(("SELECT",), False)
        )
        if may["SELECT"]:
            seen = [column.name for column in planted.relation.columns_for(actor.role, "SELECT")]
            allowed |= set(map(str, _texts({name: planted.data.get(name) for name in seen})))
        else:
            hidden.append(planted)
        if not (may.get("UPDATE") or may.get("DELETE")):
            fixed.append(planted)
    mine = [mark for mark in foreign_marks(prober, actor) if mark not in allowed]
    watch = watching(prober, actor, fixed)
    return Privacy(actor, mine, hidden, fixed, watch, prober.session.inside(actor, watch))


def _texts(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif value is not None:
        yield value


def watching(prober: Prober, actor: Actor, rows: list[Planted], within: set[int] | None = None) -> str:
    """A query whose one row changes when one of ``rows`` does, or rows in A's name come to be.

    ``within``: only what happens in these relations, by their oid.
    """
    parts = []
    for planted in rows:
        relation = planted.relation
        if within is not None and relation.oid not in within:
            continue
        parts.append(f"(select md5(to_jsonb(t.*)::text) from {relation.sql} t where {planted.match()})")
    user = prober.worlds["A"].user
    for subject in prober.subjects:
        if within is not None and subject.relation.oid not in within:
            continue
        for rule in subject.rules:
            if rule.who == "owner" and rule.by and "insert" in rule.may and not subject.bucket:
                column = subject.relation.column(rule.by)
                if column is not None and subject.relation.table:
                    where = f"{column.sql}::text = {literal(user)}"
                    parts.append(f"(select count(*) from {subject.relation.sql} where {where})")
    for membership in prober.declaration.memberships.values():
        found = prober.catalogue.by_title.get(membership.table)
        if found is not None and within is not None and found.oid not in within:
            continue
        there = prober.worlds["A"].rows.get((found.oid, "")) if found else None
        columns = [found.column(n) for n in (membership.group, membership.user)] if found else []
        if found is not None and there is not None and all(columns):
            group, member = (column.sql for column in columns if column)
            # everybody may leave a group; who joins it is seen by what they are then
            parts.append(
                f"(select count(*) from {found.sql}"
                f" where {group}::text = {literal(there.data[membership.group])}"
                f" and {member}::text <> {literal(actor.user or '')})"
            )
    return f"select {', '.join([*parts, prober._power(actor)])}"
