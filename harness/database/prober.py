"""Tries what the declaration forbids, and what it promises, on planted rows; every try is undone.

Two traps shape the statements. Row level security hides rows instead of refusing, so a deny is only proven
against a row that is known to exist. And SELECT policies join in as soon as a write reads a column, so
writes are tried without RETURNING, without a condition on a column, and with constants.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.database import values
from harness.database.catalogue import COMMANDS, Relation
from harness.database.oracle import Actor, Subject, literal
from harness.database.planted import Planted
from harness.database.prober_base import ProberBase, Sighting
from harness.database.session import Outcome

__all__ = ["Prober", "Sighting"]

_LARGE = 200_000
_PASSED = ("23505", "23P01")  # constraints are looked at after the policies: those let it pass


@dataclass
class Prober(ProberBase):
    """All probes of one database."""

    def table(self, subject: Subject) -> Iterator[Sighting]:
        """Every probe of one table (or bucket)."""
        row = self.worlds["A"].row(subject)
        if row is None:
            return
        for actor in self.intruders:
            yield from self.existing(subject, actor, row)
            yield from self.inserts(subject, actor)
        yield from self.reassigns(subject)
        if not subject.heir:
            yield from self.owner(subject, row)

    def existing(
        self,
        subject: Subject,
        actor: Actor,
        row: Planted,
        variant: str = "",
        commands: Sequence[str] = COMMANDS,
    ) -> Iterator[Sighting]:
        """Read, change and delete A's row."""
        may = self.expected(subject, actor, row.data)
        if self._possible(subject, actor, "SELECT"):
            outcome, did = self.read(subject, actor, row)
            yield from self._judged(
                "foreign-read", "SELECT", subject, actor, row, outcome, did, may, variant
            )
        elif may["SELECT"] and not variant and not subject.heir:
            yield _missing(
                subject, actor, "SELECT", row, Outcome(), f"select from {subject.relation.title}"
            )
        for command, kind in (("UPDATE", "foreign-update"), ("DELETE", "foreign-delete")):
            if command not in commands or may[command] or not self._possible(subject, actor, command):
                continue
            if subject.relation.rows > _LARGE:  # too many rows to lock: the policies are evaluated instead
                outcome = Outcome(int(self.passes(subject, actor, command, row.data)))
                did = f"the policies for {command} of {subject.title}, evaluated"
                yield from self._judged(kind, command, subject, actor, row, outcome, did, may, variant)
                continue
            statement = self._sweep(subject, actor, command, row)
            if statement is None:
                continue
            here = f"tableoid = {row.table} and ctid = {literal(row.ctid)}"
            inspect = f"select 1 from {subject.relation.sql} where {here}"
            outcome = self.session.attempt(actor, statement, inspect)
            if outcome.raised and command == "UPDATE":  # a trigger may refuse what changes nothing
                outcome = self._really(subject, actor, "true", inspect) or outcome
            touched = not outcome.sqlstate and not outcome.seen
            if outcome.held_back:
                touched = self.passes(subject, actor, command, row.data)
            if touched or not outcome.sqlstate:
                outcome = Outcome(int(touched))
            yield from self._judged(kind, command, subject, actor, row, outcome, statement, may, variant)

    def _sweep(self, subject: Subject, actor: Actor, command: str, row: Planted) -> str | None:
        relation = subject.relation
        if command == "DELETE":
            return f"delete from {relation.sql} where true"
        column = self._harmless(subject, actor)
        if column is None:
            return None
        value = row.data.get(column.name)
        return f"update {relation.sql} set {column.sql} = {values.value(column, value)} where true"

    def inserts(self, subject: Subject, actor: Actor) -> Iterator[Sighting]:
        """Rows in A's name, or half in A's name, made by ``actor``."""
        if not self._possible(subject, actor, "INSERT"):
            return
        seen: set[str] = set()
        for row in self._forged(subject, actor):
            outcome, statement = self.insert(subject, actor, row)
            made = outcome.seen[0][0] if outcome.seen and outcome.seen[0][0] else row
            if outcome.seen and self.power(actor) != outcome.seen[0][1]:
                saw = f"and became a member of the group of A ({outcome.seen[0][1]})"
                yield Sighting("trigger-escalates", subject, actor, "INSERT", made, statement, saw, made)
            if str(made) in seen:
                continue
            seen.add(str(made))
            allowed = self.expected(subject, actor, made, new=True)["INSERT"]
            happened = outcome.sqlstate in _PASSED or (not outcome.sqlstate and outcome.rows > 0)
            if happened and not allowed:
                shown = values.shown({name: made.get(name) for name in self.links(subject)})
                how = "let through by the policies" if outcome.sqlstate else "accepted"
                saw = f"the row was {how}: {shown}"
                yield Sighting("forged-insert", subject, actor, "INSERT", made, statement, saw, made)
            elif outcome.policy_error and not outcome.sqlstate.startswith(
                "22"
            ):  # 22: what was sent was odd
                yield _broken(subject, actor, "INSERT", row, outcome)
            self._interrupted(subject, outcome)

    def _forged(self, subject: Subject, actor: Actor) -> Iterator[dict[str, Any]]:
        theirs = self.worlds["A"].row(subject)
        own = next((w.row(subject) for w in self.worlds.values() if w.actor == actor), None)
        if theirs is None:
            return
        links = self.links(subject)
        if subject.bucket:
            folder, _, file = str(theirs.data["name"]).partition("/")
            yield self.anew(subject, theirs.data)
            if actor.user:
                yield self.anew(subject, theirs.data | {"name": f"{folder}/{actor.user}/{file}"})
                yield self.anew(subject, theirs.data | {"name": f"{self.mark}/{actor.user}/{file}"})
            return
        yield self.anew(subject, theirs.data)
        owners = [n for n in links if theirs.data.get(n) == self.worlds["A"].user]
        if actor.user and owners and owners != links:
            yield self.anew(subject, theirs.data | dict.fromkeys(owners, actor.user))
        if actor.user and owners:
            for name in owners if len(owners) > 1 else ():
                yield self.anew(subject, theirs.data | {name: actor.user})
        for name in links if own is not None else ():
            yield self.anew(subject, own.data | {name: theirs.data.get(name)})  # type: ignore[union-attr]
        if any(c.not_null is False for n in owners if (c := subject.relation.column(n))):
            yield self.anew(subject, theirs.data | dict.fromkeys(owners))

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
                yield from self._reassign(subject, actor, own, change)

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

    def _reassign(
        self, subject: Subject, actor: Actor, own: Planted, change: dict[str, Any]
    ) -> Iterator[Sighting]:
        relation = subject.relation
        after = own.data | change
        if after == own.data:
            return
        if subject.bucket:
            after = self.anew(subject, after)
            change = {name: after[name] for name in change}
        before_may = self.expected(subject, actor, own.data)["UPDATE"]
        if before_may and self.expected(subject, actor, after, new=True)["UPDATE"]:
            return
        if relation.rows > _LARGE:
            if self.passes(subject, actor, "UPDATE", own.data) and self.passes(
                subject, actor, "UPDATE", after, new=True
            ):
                did = f"the policies for UPDATE of {subject.title}, evaluated"
                saw = f"a row may become {values.shown(change)}"
                yield Sighting("owner-reassigned", subject, actor, "UPDATE", own.data, did, saw, after)
            return
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
        if outcome.seen and outcome.seen[0][0] is None and outcome.seen[0][1]:
            real = outcome.seen[0][1]
            if before_may and self.expected(subject, actor, real, new=True)["UPDATE"]:
                return
            outcome = replace(outcome, seen=[])
        elif outcome.seen and outcome.seen[0][0] is None:
            outcome = replace(outcome, seen=[])
        happened = outcome.sqlstate in _PASSED or (
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
            yield Sighting("owner-reassigned", subject, actor, "UPDATE", own.data, did, saw, after)
        elif outcome.policy_error and not outcome.sqlstate.startswith("22"):
            yield _broken(subject, actor, "UPDATE", own.data, outcome)
        self._interrupted(subject, outcome)

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

    def owner(
        self,
        subject: Subject,
        row: Planted,
        actor: Actor | None = None,
        commands: Sequence[str] = COMMANDS,
    ) -> Iterator[Sighting]:
        """What the declaration lets A (or ``actor``) do with a row works: else denials prove nothing."""
        actor = actor or self.worlds["A"].actor
        may = {k: v and k in commands for k, v in self.expected(subject, actor, row.data).items()}
        if may["SELECT"]:
            outcome, did = self.read(subject, actor, row)
            yield from self._promised("SELECT", subject, actor, row, outcome, did)
        if may["UPDATE"]:
            column = self._harmless(subject, actor)
            if column is None:
                yield _missing(
                    subject, actor, "UPDATE", row, Outcome(sqlstate="42501"), "no column is granted"
                )
            else:
                value = values.value(column, row.data.get(column.name))
                where = self._own(subject, actor, row)
                statement = f"update {subject.relation.sql} set {column.sql} = {value} where {where}"
                outcome = self.session.attempt(actor, statement)
                if outcome.raised:  # a trigger may refuse what changes nothing
                    outcome = self._really(subject, actor, where) or outcome
                yield from self._promised("UPDATE", subject, actor, row, outcome, statement)
        if may["DELETE"]:
            statement = f"delete from {subject.relation.sql} where {self._own(subject, actor, row)}"
            outcome = self.session.attempt(actor, statement)
            yield from self._promised("DELETE", subject, actor, row, outcome, statement)
        new = self.anew(subject, row.data)
        if "INSERT" in commands and self.expected(subject, actor, new, new=True)["INSERT"]:
            outcome, did = self._one_more(subject, actor, row, new)
            yield from self._promised("INSERT", subject, actor, row, outcome, did)

    def _own(self, subject: Subject, actor: Actor, row: Planted) -> str:
        readable = {c.name for c in subject.relation.columns_for(actor.role, "SELECT")}
        if subject.relation.key and set(subject.relation.key) <= readable:
            return row.match()
        return "true"

    def _promised(
        self, command: str, subject: Subject, actor: Actor, row: Planted, outcome: Outcome, did: str
    ) -> Iterator[Sighting]:
        self._interrupted(subject, outcome)
        if outcome.policy_error:
            yield _broken(subject, actor, command, row.data, outcome)
        elif outcome.refused or (not outcome.sqlstate and not outcome.rows):
            yield _missing(subject, actor, command, row, outcome, did)

    def _judged(
        self,
        kind: str,
        command: str,
        subject: Subject,
        actor: Actor,
        row: Planted,
        outcome: Outcome,
        did: str,
        may: dict[str, bool],
        variant: str,
    ) -> Iterator[Sighting]:
        self._interrupted(subject, outcome)
        if outcome.policy_error:
            yield _broken(subject, actor, command, row.data, outcome)
        elif outcome.rows and not may[command]:
            saw = {"SELECT": "saw", "UPDATE": "changed", "DELETE": "deleted"}[command]
            key = values.shown(
                {n: row.data.get(n) for n in (subject.relation.key or self.links(subject))[:2]}
            )
            yield Sighting(
                kind,
                subject,
                actor,
                command,
                row.data,
                did,
                f"{saw} the row {key} of user A",
                variant=variant,
            )
        elif may[command] and not variant and not outcome.rows and not subject.heir:
            yield _missing(subject, actor, command, row, outcome, did)


def _missing(
    subject: Subject, actor: Actor, command: str, row: Planted, outcome: Outcome, did: str
) -> Sighting:
    saw = f"{outcome.message or 'no row'}"
    return Sighting("missing-access", subject, actor, command, row.data, did, saw)


def _broken(
    subject: Subject, actor: Actor, command: str, row: dict[str, Any], outcome: Outcome
) -> Sighting:
    saw = f"{outcome.message} [{outcome.sqlstate}]"
    return Sighting("policy-error", subject, actor, command, row, f"{command} on {subject.title}", saw)
