"""Tries what the declaration forbids, and what it promises, on planted rows; every try is undone.

Two traps shape the statements. Row level security hides rows instead of refusing, so a deny is only proven
against a row that is known to exist. And SELECT policies join in as soon as a write reads a column, so
writes are tried without RETURNING, without a condition on a column, and with constants.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from harness.database import values
from harness.database.catalogue import COMMANDS
from harness.database.defaults import as_made
from harness.database.oracle import Actor, Subject, literal
from harness.database.planted import Planted
from harness.database.prober_base import LARGE, PASSED
from harness.database.prober_moves import ProberMoves
from harness.database.session import Outcome
from harness.database.sightings import Sighting, broken

__all__ = ["Prober"]


@dataclass
class Prober(ProberMoves):
    """All probes of one database."""

    def table(self, subject: Subject) -> Iterator[Sighting]:
        """Every probe of one table (or bucket)."""
        row = self.worlds["A"].row(subject)
        if row is None:
            yield from self.imagined(subject) if subject.heir else ()
            return
        for actor in self.concerned(subject):
            yield from self.existing(subject, actor, row)
            yield from self.inserts(subject, actor)
        yield from self.reassigns(subject)
        yield from self.thefts(subject)
        if not subject.heir:
            yield from self.owner(subject, row)

    def imagined(self, subject: Subject) -> Iterator[Sighting]:
        """A part that takes no row of A's (a hash has its own mind): its policies, on A's row elsewhere."""
        above = (self.worlds["A"].rows.get((oid, "")) for oid in self.catalogue.ancestors(subject.relation))
        row = next((planted for planted in above if planted is not None), None)
        kinds = ("foreign-read", "forged-insert", "foreign-update", "foreign-delete")
        for actor in self.everybody if row is not None else ():
            for command, kind in zip(COMMANDS, kinds, strict=True):
                new = command == "INSERT"
                if not self._possible(subject, actor, command) or row is None:
                    continue
                if self.expected(subject, actor, row.data, new=new)[command]:
                    continue
                if self.passes(subject, actor, command, row.data, new=new):
                    did = f"the policies for {command} of {subject.title}, evaluated"
                    saw = "they let it through on a row like that of user A"
                    yield Sighting(kind, subject, actor, command, row.data, did, saw, row.data)

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
        elif may["SELECT"] and not variant and not subject.heir and actor.promised:
            yield _missing(
                subject, actor, "SELECT", row, Outcome(), f"select from {subject.relation.title}"
            )
        for command, kind in (("UPDATE", "foreign-update"), ("DELETE", "foreign-delete")):
            if command not in commands or may[command] or not self._possible(subject, actor, command):
                continue
            if subject.relation.rows > LARGE:  # too many rows to lock: the policies are evaluated instead
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
            if outcome.refused and command == "UPDATE":  # perhaps because of another row than this one
                where = self._own(subject, actor, row, seen=may["SELECT"])
                alone = f"{statement.removesuffix(' where true')} where {where}"
                again = outcome if where == "true" else self.session.attempt(actor, alone, inspect)
                outcome, statement = (outcome, statement) if again.refused else (again, alone)
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
            there = outcome.seen[0][0] if outcome.seen else None
            made = there or as_made(self.session, actor, subject.relation, row)
            joined = outcome.seen and self.power(actor) != outcome.seen[0][1]
            if joined and not self._seat(subject, actor, made):
                saw = f"and became a member of the group of A ({outcome.seen[0][1]})"
                yield Sighting("trigger-escalates", subject, actor, "INSERT", made, statement, saw, made)
            if str(made) in seen:
                continue
            seen.add(str(made))
            allowed = self.expected(subject, actor, made, new=True)["INSERT"]
            happened = outcome.sqlstate in PASSED or (not outcome.sqlstate and outcome.rows > 0)
            if happened and not allowed:
                shown = values.shown({name: made.get(name) for name in self.links(subject)})
                how = "let through by the policies" if outcome.sqlstate else "accepted"
                saw = f"the row was {how}: {shown}"
                yield Sighting("forged-insert", subject, actor, "INSERT", made, statement, saw, made)
            elif outcome.policy_error and not outcome.sqlstate.startswith(
                "22"
            ):  # 22: what was sent was odd
                yield broken(subject, actor, "INSERT", row, outcome)
            self._interrupted(subject, outcome)

    def _seat(self, subject: Subject, actor: Actor, row: dict[str, Any]) -> bool:
        """Whether a row is a membership of the actor's itself: whoever may write it, joins by it."""
        return any(
            m.table == subject.title and str(row.get(m.user)) == actor.user
            for m in self.declaration.memberships.values()
        )

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

    def owner(
        self,
        subject: Subject,
        row: Planted,
        actor: Actor | None = None,
        commands: Sequence[str] = COMMANDS,
    ) -> Iterator[Sighting]:
        """What the declaration lets A (or ``actor``) do with a row works: else denials prove nothing."""
        actor = actor or self.worlds["A"].actor
        declared = self.expected(subject, actor, row.data)
        may = {k: v and k in commands for k, v in declared.items()}
        if may["SELECT"]:
            outcome, did = self.read(subject, actor, row)
            yield from self._promised("SELECT", subject, actor, row, outcome, did)
        if may["UPDATE"] and self.expected(subject, actor, row.data, new=True)["UPDATE"]:
            column = self._harmless(subject, actor)
            if column is None:
                yield _missing(
                    subject, actor, "UPDATE", row, Outcome(sqlstate="42501"), "no column is granted"
                )
            else:
                value = values.value(column, row.data.get(column.name))
                where = self._own(subject, actor, row, seen=declared["SELECT"])
                statement = f"update {subject.relation.sql} set {column.sql} = {value} where {where}"
                outcome = self.session.attempt(actor, statement)
                if outcome.raised:  # a trigger may refuse what changes nothing
                    outcome = self._really(subject, actor, where) or outcome
                yield from self._promised("UPDATE", subject, actor, row, outcome, statement)
        if may["DELETE"]:
            where = self._own(subject, actor, row, seen=declared["SELECT"])
            statement = f"delete from {subject.relation.sql} where {where}"
            outcome = self.session.attempt(actor, statement)
            yield from self._promised("DELETE", subject, actor, row, outcome, statement)
        new = self.anew(subject, row.data)
        if "INSERT" in commands and self.expected(subject, actor, new, new=True)["INSERT"]:
            outcome, did = self._one_more(subject, actor, row, new)
            yield from self._promised("INSERT", subject, actor, row, outcome, did)

    def _own(self, subject: Subject, actor: Actor, row: Planted, *, seen: bool) -> str:
        """Which row: by its key, where the caller may read it; a filter brings the SELECT policies in."""
        if not seen:
            return "true"
        readable = {c.name for c in subject.relation.columns_for(actor.role, "SELECT")}
        if subject.relation.key and set(subject.relation.key) <= readable:
            return row.match()
        return "true"

    def _promised(
        self, command: str, subject: Subject, actor: Actor, row: Planted, outcome: Outcome, did: str
    ) -> Iterator[Sighting]:
        self._interrupted(subject, outcome)
        if outcome.policy_error or (command == "SELECT" and outcome.failed):
            yield broken(subject, actor, command, row.data, outcome)
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
            yield broken(subject, actor, command, row.data, outcome)
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
                f"{saw} the row {key} of user A{', who may not' if actor.name == 'A' else ''}",
                variant=variant,
            )
        elif may[command] and not variant and not outcome.rows and not subject.heir and actor.promised:
            yield _missing(subject, actor, command, row, outcome, did)


def _missing(
    subject: Subject, actor: Actor, command: str, row: Planted, outcome: Outcome, did: str
) -> Sighting:
    saw = f"{outcome.message or 'no row'}"
    return Sighting("missing-access", subject, actor, command, row.data, did, saw)
