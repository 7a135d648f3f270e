"""Tries what the declaration forbids, and what it promises, on planted rows; every try is undone.

Two traps shape the statements. Row level security hides rows instead of refusing, so a deny is only proven
against a row that is known to exist. And SELECT policies join in as soon as a write reads a column, so
writes are tried without RETURNING, without a condition on a column, and with constants.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from harness.database.catalogue import COMMANDS, Catalogue, Column, Relation
from harness.database.declaration import Declaration
from harness.database.findings import Found, Gap
from harness.database.oracle import Actor, Subject, expectations, literal, record
from harness.database.session import Outcome, Session
from harness.database.synthesise import fresh, unique_columns
from harness.database.worlds import Planted, World

__all__ = ["Prober", "Sighting"]

_LARGE = 200_000
_PASSED = ("23505", "23P01")  # constraints are looked at after the policies: those let it pass


@dataclass(frozen=True)
class Sighting:
    """Something that should not have happened, or should have: ``row`` is what it happened to."""

    kind: str
    """foreign-read, foreign-update, foreign-delete, owner-reassigned, forged-insert, missing-access, policy-error."""
    subject: Subject
    actor: Actor
    command: str
    row: dict[str, Any]
    did: str
    saw: str
    new_row: dict[str, Any] | None = None
    variant: str = ""
    blame: tuple[Found, ...] | None = None
    """Who is to blame, where that had to be found out at once."""


@dataclass
class Prober:
    """All probes of one database."""

    session: Session
    catalogue: Catalogue
    declaration: Declaration
    worlds: dict[str, World]
    mark: str
    gaps: list[Gap] = field(default_factory=list)
    judge: Callable[[Sighting], list[Found]] | None = None
    _expected: dict[Any, dict[str, bool]] = field(default_factory=dict)

    @property
    def anonymous(self) -> Actor:
        """A caller without a token."""
        return Actor("anonymous", self.declaration.anonymous)

    @property
    def intruders(self) -> list[Actor]:
        """Everybody but the owner of the world A."""
        known = self.catalogue.roles
        found = [w.actor for name, w in self.worlds.items() if name != "A"]
        found += [self.anonymous] if self.declaration.anonymous in known else []
        others = [
            r
            for r in self.catalogue.api_roles
            if r not in (self.declaration.anonymous, self.declaration.signed_in)
        ]
        return found + [Actor(role, role) for role in others]

    def judged(self, sighting: Sighting) -> Sighting:
        """The sighting with who is to blame for it, as things stand now."""
        return sighting if self.judge is None else replace(sighting, blame=tuple(self.judge(sighting)))

    def expected(
        self, subject: Subject, actor: Actor, row: dict[str, Any], *, new: bool = False
    ) -> dict[str, bool]:
        """What the declaration lets ``actor`` do with ``row``."""
        roles = {role for rule in subject.rules for role in self.declaration.roles_of(rule)}
        if actor.role not in roles:
            return dict.fromkeys(COMMANDS, False)
        query = expectations(subject, self.declaration, actor, row, new=new)
        return dict(zip(COMMANDS, self.session.inside(actor, query), strict=True))

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

    # --- rows that exist ------------------------------------------------------------------------------

    def existing(
        self, subject: Subject, actor: Actor, row: Planted, variant: str = "", commands: Sequence[str] = COMMANDS
    ) -> Iterator[Sighting]:
        """Read, change and delete A's row."""
        may = self.expected(subject, actor, row.data)
        if self._possible(subject, actor, "SELECT"):
            outcome, did = self.read(subject, actor, row)
            yield from self._judged("foreign-read", "SELECT", subject, actor, row, outcome, did, may, variant)
        elif may["SELECT"] and not variant and not subject.heir:
            yield _missing(subject, actor, "SELECT", row, Outcome(), f"select from {subject.relation.title}")
        for command, kind in (("UPDATE", "foreign-update"), ("DELETE", "foreign-delete")):
            if command not in commands or may[command] or not self._possible(subject, actor, command):
                continue
            statement = self._sweep(subject, actor, command, row)
            if statement is None:
                continue
            here = f"tableoid = {row.table} and ctid = {literal(row.ctid)}"
            inspect = f"select 1 from {subject.relation.sql} where {here}"
            outcome = self.session.attempt(actor, statement, inspect)
            touched = not outcome.sqlstate and not outcome.seen
            if outcome.sqlstate.startswith("23"):
                touched = self.passes(subject, actor, command, row.data)
            if touched or not outcome.sqlstate:
                outcome = Outcome(int(touched))
            yield from self._judged(kind, command, subject, actor, row, outcome, statement, may, variant)

    def _possible(self, subject: Subject, actor: Actor, command: str) -> bool:
        usage = self.catalogue.schemas[subject.relation.schema]["usage"]
        return actor.role in usage and subject.relation.allows(actor.role, command)

    def read(self, subject: Subject, actor: Actor, row: Planted) -> tuple[Outcome, str]:
        """Does ``actor`` see the row?"""
        relation = subject.relation
        if "SELECT" in relation.privileges.get(actor.role, ()):
            match = f"tableoid = {row.table} and ctid = {literal(row.ctid)}"
        else:
            seen = relation.columns_for(actor.role, "SELECT")
            names = {c.name for c in seen}
            match = row.match() if relation.key and set(relation.key) <= names else ""
            if not match:
                match = " and ".join(
                    _is(c, row.data.get(c.name)) for c in seen if c.base not in ("json", "xml")
                )
        statement = f"select 1 from {relation.sql} where {match or 'true'}"
        return self.session.attempt(actor, statement), f"select from {relation.title}"

    def _sweep(self, subject: Subject, actor: Actor, command: str, row: Planted) -> str | None:
        relation = subject.relation
        if relation.rows > _LARGE:
            return None  # the policies are evaluated instead
        if command == "DELETE":
            return f"delete from {relation.sql} where true"
        column = self._harmless(subject, actor)
        if column is None:
            return None
        value = row.data.get(column.name)
        return f"update {relation.sql} set {column.sql} = {_value(column, value)} where true"

    def _harmless(self, subject: Subject, actor: Actor) -> Column | None:
        """A column that ``actor`` may set; the least constrained one."""
        bound = {
            n for c in subject.relation.constraints if c.kind in ("p", "u", "f", "x") for n in c.columns
        }
        allowed = [
            c
            for c in subject.relation.columns_for(actor.role, "UPDATE")
            if not c.generated and c.identity != "a"
        ]
        free = [c for c in allowed if c.name not in bound and c.name not in self.links(subject)]
        return (free or allowed or [None])[0]

    def passes(
        self, subject: Subject, actor: Actor, command: str, row: dict[str, Any], *, new: bool = False
    ) -> bool:
        """Whether the policies let ``actor`` at ``row``, by evaluating them."""
        relation = subject.relation
        if not relation.rls:
            return True
        policies = [p for p in self.catalogue.policies_of(relation) if p.concerns(actor.role, command)]
        texts = [(p.permissive, p.new_rows if new else p.using) for p in policies]
        permissive = [f"coalesce(({text}), false)" for p, text in texts if p and text]
        restrictive = [f"coalesce(({text}), false)" for p, text in texts if not p and text]
        if not permissive:
            return False
        condition = " and ".join([f"({' or '.join(permissive)})", *restrictive])
        outcome = self.session.attempt(actor, f"select {condition} from {record(relation, row)}")
        return bool(outcome.result and outcome.result[0][0])

    # --- new rows -------------------------------------------------------------------------------------

    def links(self, subject: Subject) -> list[str]:
        """Columns that say whose a row is: they differ between the worlds and lead to users or groups."""
        cached = self._expected.get(("links", subject.key))
        if cached is not None:
            return list(cached)
        relation = subject.relation
        own, other = (
            self.worlds["A"].row(subject),
            self.worlds["B"].row(subject) if "B" in self.worlds else None,
        )
        names = ["name"] if subject.bucket else [rule.by for rule in subject.rules if rule.by]
        for membership in self.declaration.memberships.values():
            if membership.table == relation.title:
                names += [membership.user, membership.group]
        if not subject.bucket:
            names += [n for c in relation.constraints if c.kind == "f" for n in c.columns]
            names += [c.name for c in relation.columns if own and other and c.name not in relation.key
                      and own.data.get(c.name) == self.worlds["A"].user and other.data.get(c.name) == self.worlds["B"].user]  # fmt: skip
        usable = [
            name
            for name in dict.fromkeys(names)
            if (c := relation.column(name))
            and not c.generated
            and (own is None or other is None or own.data.get(name) != other.data.get(name))
        ]
        self._expected[("links", subject.key)] = dict.fromkeys(usable, True)
        return usable

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
                shown = _shown({name: made.get(name) for name in self.links(subject)})
                saw = f"the row was {'accepted' if not outcome.sqlstate else 'let through by the policies'}: {shown}"
                yield Sighting("forged-insert", subject, actor, "INSERT", made, statement, saw, made)
            elif outcome.policy_error and not outcome.sqlstate.startswith("22"):  # 22: what was sent was odd
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

    def anew(self, subject: Subject, row: dict[str, Any]) -> dict[str, Any]:
        """``row`` with a key of its own."""
        relation, links = subject.relation, set(self.links(subject))
        unique = unique_columns(relation) | ({"name"} if subject.bucket else set())
        made = dict(row)
        referring = {n for c in relation.constraints if c.kind == "f" for n in c.columns}
        for column in relation.columns:
            value = made.get(column.name)
            if column.name not in unique or column.name in referring or value is None:
                continue
            if isinstance(value, str) and self.mark in value:
                made[column.name] = _again(value, self.mark)
            elif column.name in links:
                continue
            elif column.base == "uuid":
                made[column.name] = str(uuid.uuid4())
            elif column.category == "N" and not column.identity:
                made[column.name] = int(
                    uuid.uuid4().int % (30_000 if column.base == "int2" else 2_000_000_000)
                )
        return made

    def insert(self, subject: Subject, actor: Actor, row: dict[str, Any]) -> tuple[Outcome, str]:
        """Insert ``row`` without reading it back; the outcome has seen what really came of it."""
        relation = subject.relation
        columns = [
            c
            for c in relation.columns_for(actor.role, "INSERT")
            if not c.generated
            and c.identity != "a"
            and c.name in row
            and not (c.default and c.default.startswith("nextval"))
        ]
        names = ", ".join(c.sql for c in columns)
        if names:
            statement = f"insert into {relation.sql} ({names}) select {names} from {record(relation, row)}"
        else:
            statement = f"insert into {relation.sql} default values"
        match = " and ".join(_is(c, row.get(c.name)) for n in relation.key if (c := relation.column(n)))
        known = match and set(relation.key) <= {c.name for c in columns}
        made = f"(select to_jsonb(t.*) from {relation.sql} t where {match} limit 1)" if known else "null"
        outcome = self.session.attempt(actor, statement, f"select {made}, {self._power(actor)}")
        given = {c.name: row.get(c.name) for c in columns}
        return outcome, f"insert into {relation.title} {_shown(given, 3)}"

    def _power(self, actor: Actor, *, accepted: bool = False) -> str:
        """An expression: the memberships that ``actor`` has in A's groups."""
        parts = []
        for membership in self.declaration.memberships.values():
            relation = self.catalogue.by_title.get(membership.table)
            there = self.worlds["A"].rows.get((relation.oid, "")) if relation else None
            columns = [relation.column(n) for n in (membership.user, membership.group, membership.role or membership.group)] if relation else []
            if relation is None or there is None or not all(columns) or actor.user is None:
                continue
            user, group, role = (f"m.{c.sql}::text" for c in columns if c)
            same = f"{user} = {literal(actor.user)} and {group} = {literal(there.data[membership.group])}"
            same += f" and ({membership.where})" if accepted and membership.where else ""
            parts.append(f"(select string_agg({role}, ',') from {relation.sql} m where {same})")
        return f"concat_ws(';', {', '.join(parts)})" if parts else "''"

    def power(self, actor: Actor) -> str:
        """The memberships that ``actor`` has in A's groups, before anything was tried."""
        cached = self._expected.get(("power", actor.name))
        if cached is None:
            cached = {self.session.inside(actor, f"select {self._power(actor)}")[0]: True}
            self._expected["power", actor.name] = cached
        return str(next(iter(cached)))

    def power_now(self, actor: Actor) -> str:
        """The same as things stand now."""
        return str(self.session.inside(actor, f"select {self._power(actor, accepted=True)}")[0])

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
            if subject.relation.rows > _LARGE or not self._possible(subject, actor, "UPDATE"):
                continue
            owners = {n for n in usable if theirs.data.get(n) == self.worlds["A"].user}
            changes = [dict.fromkeys(usable)] if len(usable) > 1 else []
            changes += [dict.fromkeys(n for n in usable if n not in owners)] if owners and len(usable) > 2 else []
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
                found += [{membership.role: role} for role in dict.fromkeys(roles)
                          if own.data.get(membership.role) != role]  # fmt: skip
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
        columns = [c for name in change if (c := relation.column(name))]
        pairs = ", ".join(f"{c.sql} = {_value(c, change[c.name])}" for c in columns)
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
            did = f"update {relation.title} set {_shown(change)} where true"
            saw = f"the row became {_shown(change)}"
            yield Sighting("owner-reassigned", subject, actor, "UPDATE", own.data, did, saw, after)
        elif outcome.policy_error and not outcome.sqlstate.startswith("22"):
            yield _broken(subject, actor, "UPDATE", own.data, outcome)
        self._interrupted(subject, outcome)

    def _alone(self, relation: Relation, own: Planted, actor: Actor) -> str:
        """SQL that leaves the actor one row of the relation: an unfiltered update shall touch no other."""
        world = next((w for w in self.worlds.values() if w.actor == actor), None)
        others = [p for p in (world.rows.values() if world else ()) if p.relation.oid == relation.oid and p is not own]
        places = " or ".join(f"(tableoid = {p.table} and ctid = {literal(p.ctid)})" for p in others)
        return f"delete from {relation.sql} where {places}" if places else "select 1"

    # --- what must work -------------------------------------------------------------------------------

    def owner(self, subject: Subject, row: Planted) -> Iterator[Sighting]:
        """What the declaration lets A do with A's row works: otherwise the denials would prove nothing."""
        actor = self.worlds["A"].actor
        may = self.expected(subject, actor, row.data)
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
                value = _value(column, row.data.get(column.name))
                statement = f"update {subject.relation.sql} set {column.sql} = {value} where {self._own(subject, actor, row)}"
                outcome = self.session.attempt(actor, statement)
                yield from self._promised("UPDATE", subject, actor, row, outcome, statement)
        if may["DELETE"]:
            statement = f"delete from {subject.relation.sql} where {self._own(subject, actor, row)}"
            outcome = self.session.attempt(actor, statement)
            yield from self._promised("DELETE", subject, actor, row, outcome, statement)
        new = self.anew(subject, row.data)
        if self.expected(subject, actor, new, new=True)["INSERT"]:
            outcome, did = self.insert(subject, actor, new)
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

    # --- judging --------------------------------------------------------------------------------------

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
            key = _shown({n: row.data.get(n) for n in (subject.relation.key or self.links(subject))[:2]})
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

    def _interrupted(self, subject: Subject, outcome: Outcome) -> None:
        if outcome.interrupted:
            why = f"a probe was interrupted: {outcome.message}"
            self.gaps.append(
                Gap(subject.title, why, "run it when the table is less busy, or raise --timeout")
            )


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


def _value(column: Column, value: Any) -> str:
    """``value`` (from JSON) as a literal of the column's type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if column.category == "A" and isinstance(value, list):
        return (
            f"array(select jsonb_array_elements_text({literal(json.dumps(value))}::jsonb))::{column.type}"
        )
    if isinstance(value, dict | list):
        return literal(json.dumps(value))
    return literal(value)


def _is(column: Column, value: Any) -> str:
    return f"{column.sql} is null" if value is None else f"{column.sql} = {_value(column, value)}"


def _again(text: str, mark: str) -> str:
    token = fresh(mark)
    before, _, after = text.partition(f"probe-{mark}-")
    return f"{before}{token}{after[6:]}" if after else token[-len(text) :]


def _shown(row: dict[str, Any], most: int = 6) -> str:
    parts = [f"{name}={str(value)[:40]}" for name, value in list(row.items())[:most]]
    return "(" + ", ".join(parts) + (", …" if len(row) > most else "") + ")"
