"""Updates that make a row another's: one's own given away, and A's taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from harness.database import values
from harness.database.catalogue import Relation
from harness.database.oracle import Actor, Subject, literal
from harness.database.planted import Planted, World
from harness.database.prober_base import LARGE, PASSED, ProberBase
from harness.database.session import Outcome
from harness.database.sightings import Sighting, broken

__all__ = ["ProberMoves"]

_MOST_WRITTEN = 40


@dataclass
class ProberMoves(ProberBase):
    """Updates of the columns that say whose a row is."""

    def reassigns(self, subject: Subject) -> Iterator[Sighting]:
        """The owner of a row makes it somebody else's."""
        links = self.links(subject)
        theirs = self.worlds["A"].row(subject)
        for world in self.worlds.values():
            own, actor = world.row(subject), world.actor
            if world.actor.name == "A" or own is None or theirs is None:
                continue
            allowed = {c.name for c in subject.relation.columns_for(actor.role, "UPDATE")}
            usable = [n for n in links if n in allowed]
            if not self._possible(subject, actor, "UPDATE"):
                continue
            owners = {n for n in usable if theirs.data.get(n) == self.worlds["A"].user}
            changes = [dict.fromkeys(usable)] if len(usable) > 1 else []
            changes += (
                [dict.fromkeys(n for n in usable if n not in owners)] if owners and len(usable) > 2 else []
            )
            changes += [{name: None} for name in usable]
            tried = [{name: theirs.data.get(name) for name in change} for change in changes]
            tried += self._promotions(subject, own, allowed)
            for change in tried:
                yield from self.reassign(subject, actor, own, change)

    def thefts(self, subject: Subject) -> Iterator[Sighting]:
        """Somebody makes A's row their own: a check of the new row alone lets that through."""
        theirs = self.worlds["A"].row(subject)
        if theirs is None:
            return
        for world in self.worlds.values():
            actor = world.actor
            if actor.name == "A" or not self._possible(subject, actor, "UPDATE"):
                continue
            if not self.passes(subject, actor, "UPDATE", theirs.data):
                continue
            allowed = {c.name for c in subject.relation.columns_for(actor.role, "UPDATE")}
            for change in self._takings(subject, theirs, world):
                if change and set(change) <= allowed:
                    yield from self.reassign(subject, actor, theirs, change)

    def _takings(self, subject: Subject, theirs: Planted, world: World) -> list[dict[str, Any]]:
        """What would make A's row one of this user's."""
        mine = world.row(subject)
        if subject.bucket:
            file = str(theirs.data["name"]).rpartition("/")[2]
            return [{"name": f"{world.user}/{values.again(file, self.mark)}"}]
        links = self.links(subject)
        owners = [n for n in links if theirs.data.get(n) == self.worlds["A"].user]
        found: list[dict[str, Any]] = [dict.fromkeys(owners, world.user)]
        if mine is not None:
            found += [{name: mine.data.get(name) for name in links}]
            found += [{name: mine.data.get(name)} for name in links if len(links) > 1]
        return [change for index, change in enumerate(found) if change not in found[:index]]

    def _promotions(self, subject: Subject, own: Planted, allowed: set[str]) -> list[dict[str, Any]]:
        """A member makes themselves more than they are."""
        found = []
        for name, membership in self.declaration.memberships.items():
            if membership.table == subject.relation.title and membership.role in allowed:
                roles = [r for rule in self._rules(name) for r in rule.roles]
                found += [
                    {membership.role: role}
                    for role in dict.fromkeys(roles)
                    if own.data.get(membership.role) != role
                ]
        return found

    def _rules(self, membership: str) -> list[Any]:
        return [r for t in self.declaration.tables.values() for r in t.all_rules if r.of == membership]

    def reassign(
        self, subject: Subject, actor: Actor, own: Planted, change: dict[str, Any]
    ) -> Iterator[Sighting]:
        """``actor`` makes a row what the declaration does not let it become."""
        relation = subject.relation
        after = own.data | change
        fixed = {c.name for c in relation.columns if c.generated or c.identity == "a"}
        if after == own.data or fixed & set(change):
            return
        if subject.bucket:
            after = self.anew(subject, after)
            change = {name: after[name] for name in change}
        before_may = self.expected(subject, actor, own.data)["UPDATE"]
        if before_may and self.expected(subject, actor, after, new=True)["UPDATE"]:
            return
        taken = not before_may and own is self.worlds["A"].row(subject)
        kind = "foreign-update" if taken else "owner-reassigned"
        if relation.rows > LARGE:
            if self.passes(subject, actor, "UPDATE", own.data) and self.passes(
                subject, actor, "UPDATE", after, new=True
            ):
                did = f"the policies for UPDATE of {subject.title}, evaluated"
                saw = f"a row may become {values.shown(change)}"
                yield Sighting(kind, subject, actor, "UPDATE", own.data, did, saw, after)
            return
        outcome, real = self._updated(subject, actor, own, change)
        if real is not None and before_may and self.expected(subject, actor, real, new=True)["UPDATE"]:
            return
        happened = outcome.sqlstate in PASSED or (
            not outcome.sqlstate and outcome.rows > 0 and not outcome.seen
        )
        if outcome.sqlstate == "23503" and outcome.message.startswith("update or delete on"):
            # only rows that refer to this one held it back: an owner can delete those first
            happened = self.passes(subject, actor, "UPDATE", own.data) and self.passes(
                subject, actor, "UPDATE", after, new=True
            )
        if happened:
            did = f"update {relation.title} set {values.shown(change)} where true"
            saw = f"the row became {values.shown(change)}"
            yield Sighting(kind, subject, actor, "UPDATE", own.data, did, saw, after)
        elif outcome.policy_error and not outcome.sqlstate.startswith("22"):
            yield broken(subject, actor, "UPDATE", own.data, outcome)
        self._interrupted(subject, outcome)

    def written(self, subject: Subject, actor: Actor, rows: list[dict[str, Any]]) -> list[bool]:
        """Which of ``rows`` the policies let ``actor`` write with an update."""
        return [self.passes(subject, actor, "UPDATE", row, new=True) for row in rows[:_MOST_WRITTEN]]

    def escape(
        self, subject: Subject, actor: Actor, there: Planted, change: dict[str, Any]
    ) -> Iterator[Sighting]:
        """``actor`` changes a row that they may not change."""
        fixed = {c.name for c in subject.relation.columns if c.generated or c.identity == "a"}
        if fixed & set(change) or subject.relation.rows > LARGE:
            return
        outcome, _ = self._updated(subject, actor, there, change)
        if outcome.sqlstate in PASSED or (not outcome.sqlstate and outcome.rows > 0 and not outcome.seen):
            did = f"update {subject.relation.title} set {values.shown(change)} where true"
            saw = f"the row became {values.shown(change)}"
            yield Sighting("foreign-update", subject, actor, "UPDATE", there.data, did, saw)

    def _updated(
        self, subject: Subject, actor: Actor, own: Planted, change: dict[str, Any]
    ) -> tuple[Outcome, dict[str, Any] | None]:
        """The update; ``seen`` is empty when it moved the row. And what came of the row, if known."""
        relation = subject.relation
        columns = [c for name in change if (c := relation.column(name))]
        pairs = ", ".join(f"{c.sql} = {values.value(c, change[c.name])}" for c in columns)
        statement = f"update {relation.sql} set {pairs} where true"
        here = f"tableoid = {own.table} and ctid = {literal(own.ctid)}"
        inspect = f"select 1, null from {relation.sql} where {here}"
        if relation.key and not set(relation.key) & set(change):
            inspect = (  # what really came of it: a trigger may have put things right
                f"select (select 1 from {relation.sql} where {here}),"
                f" (select to_jsonb(t.*) from {relation.sql} t where {own.match()} limit 1)"
            )
        outcome = self.session.attempt(actor, statement, inspect, self._alone(relation, own, actor))
        if outcome.seen and outcome.seen[0][0] is None:
            return replace(outcome, seen=[]), outcome.seen[0][1]
        return outcome, None

    def _alone(self, relation: Relation, own: Planted, actor: Actor) -> str:
        """SQL that leaves the actor one row of the relation: an unfiltered update shall touch no other."""
        world = next((w for w in self.worlds.values() if w.actor == actor), None)
        others = [
            p
            for p in (world.rows.values() if world else ())
            if p.relation.oid == relation.oid and p is not own
        ]
        places = " or ".join(f"(tableoid = {p.table} and ctid = {literal(p.ctid)})" for p in others)
        return f"delete from {relation.sql} where {places}" if places else "select 1"
