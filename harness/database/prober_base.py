"""What every probe needs: who asks, what is expected, how a row is read, made and set."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from harness.database import values
from harness.database.catalogue import COMMANDS, Catalogue, Column, Relation
from harness.database.declaration import Declaration
from harness.database.findings import Found, Gap
from harness.database.oracle import Actor, Subject, expectations, literal, record
from harness.database.planted import Planted, World
from harness.database.session import Outcome, Session
from harness.database.sightings import Sighting
from harness.database.synthesise import plausible, unique_columns

__all__ = ["LARGE", "PASSED", "ProberBase"]

LARGE = 200_000
"""Rows from which on nothing is written without a filter: it would lock too many."""
PASSED = ("23505", "23P01")
"""Constraints are looked at after the policies: those let it pass."""


@dataclass
class ProberBase:
    """The database, the worlds planted in it, and what has been learnt about both."""

    session: Session
    catalogue: Catalogue
    declaration: Declaration
    worlds: dict[str, World]
    mark: str
    gaps: list[Gap] = field(default_factory=list)
    subjects: list[Subject] = field(default_factory=list)
    _about: dict[tuple[int, str], bool] = field(default_factory=dict)
    judge: Callable[[Sighting], list[Found]] | None = None
    _expected: dict[Any, dict[str, bool]] = field(default_factory=dict)

    @property
    def anonymous(self) -> Actor:
        """A caller without a token."""
        return Actor("anonymous", self.declaration.anonymous)

    @property
    def everybody(self) -> list[Actor]:
        """A too: more than is declared may not be done with one's own rows either."""
        return [self.worlds["A"].actor, *self.intruders]

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

    def concerned(self, subject: Subject) -> list[Actor]:
        """Everybody to whom the subject may be something: without a word of groups, a role is none."""
        cached = self._about.get(subject.key)
        if cached is None:
            cached = self._about[subject.key] = self._about_groups(subject)
        if cached:
            return self.everybody
        return [a for a in self.everybody if " in " not in a.name and not a.name.startswith("no longer")]

    def _about_groups(self, subject: Subject) -> bool:
        """Whether rules or policies, or those of tables that they read, lead to a membership."""
        if any(rule.who == "members" for rule in subject.rules):
            return True
        tables = {m.table for m in self.declaration.memberships.values()}
        words = {table.rpartition(".")[2].strip('"') for table in tables}
        seen, open_ = set(), [subject.relation.oid]
        while open_:
            oid = open_.pop()
            relation = self.catalogue.by_oid.get(oid)
            if oid in seen or relation is None:
                continue
            seen.add(oid)
            if relation.title in tables:
                return True
            for policy in self.catalogue.policies_of(relation):
                open_ += policy.relations
                bodies = " ".join(f.body for f in self.catalogue.called(policy.functions))
                if any(word in bodies for word in words):
                    return True
        return any(word in str(rule.where) + str(rule.check) for rule in subject.rules for word in words)

    def subject_of(self, bucket: str) -> Subject | None:
        """The files of a bucket."""
        return next((one for one in self.subjects if one.bucket == bucket), None)

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
        try:
            return dict(zip(COMMANDS, self.session.inside(actor, query), strict=True))
        except ValueError as error:
            if new and "[22" in str(
                error
            ):  # a value that no condition can read: nobody is meant to write it
                return dict.fromkeys(COMMANDS, False)
            raise

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
                    values.equals(c, row.data.get(c.name)) for c in seen if c.base not in ("json", "xml")
                )
        statement = f"select 1 from {relation.sql} where {match or 'true'}"
        return self.session.attempt(actor, statement), f"select from {relation.title}"

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
        return next(iter(free or allowed), None)

    def _really(self, subject: Subject, actor: Actor, where: str, inspect: str = "") -> Outcome | None:
        """An update that changes a text: the first one that no trigger refuses."""
        bound = {n for c in subject.relation.constraints for n in c.columns} | set(self.links(subject))
        for column in subject.relation.columns_for(actor.role, "UPDATE"):
            if column.name in bound or column.category != "S" or column.generated or column.domain:
                continue
            value = literal(plausible(column, self.mark))
            statement = f"update {subject.relation.sql} set {column.sql} = {value} where {where}"
            outcome = self.session.attempt(actor, statement, inspect)
            if not outcome.raised:
                return outcome
        return None

    def passes(
        self, subject: Subject, actor: Actor, command: str, row: dict[str, Any], *, new: bool = False
    ) -> bool:
        """Whether the policies let ``actor`` at ``row``, by evaluating them."""
        condition = self.condition(subject.relation, actor.role, command, new=new)
        if condition is None:
            return False
        outcome = self.session.attempt(actor, f"select {condition} from {record(subject.relation, row)}")
        return bool(outcome.result and outcome.result[0][0])

    def condition(self, relation: Relation, role: str, command: str, *, new: bool = False) -> str | None:
        """What the policies come to for ``role``, as one condition; nothing, when none lets it through."""
        if not relation.rls or self.catalogue.bypasses(role):
            return "true"
        if relation.owner in self.catalogue.inherited(role) and not relation.forced:
            return "true"
        policies = [p for p in self.catalogue.policies_of(relation) if p.concerns(role, command)]
        texts = [(p.permissive, p.new_rows if new else p.using) for p in policies]
        permissive = [f"coalesce(({text}), false)" for p, text in texts if p and text]
        restrictive = [f"coalesce(({text}), false)" for p, text in texts if not p and text]
        if not permissive:
            return None
        return " and ".join([f"({' or '.join(permissive)})", *restrictive])

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
            names += [
                c.name
                for c in relation.columns
                if own
                and other
                and c.name not in relation.key
                and own.data.get(c.name) == self.worlds["A"].user
                and other.data.get(c.name) == self.worlds["B"].user
            ]
        usable = [
            name
            for name in dict.fromkeys(names)
            if (c := relation.column(name))
            and not c.generated
            and (own is None or other is None or own.data.get(name) != other.data.get(name))
        ]
        self._expected[("links", subject.key)] = dict.fromkeys(usable, True)
        return usable

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
                made[column.name] = values.again(value, self.mark)
            elif column.name in links:
                continue
            elif column.base == "uuid":
                made[column.name] = str(uuid.uuid4())
            elif column.category == "N" and not column.identity:
                made[column.name] = int(
                    uuid.uuid4().int % (30_000 if column.base == "int2" else 2_000_000_000)
                )
        return made

    def insert(
        self, subject: Subject, actor: Actor, row: dict[str, Any], prepare: str = "select 1"
    ) -> tuple[Outcome, str]:
        """Insert ``row`` without reading it back; the outcome has seen what really came of it.

        ``prepare`` comes first, with full rights.
        """
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
        match = " and ".join(
            values.equals(c, row.get(c.name)) for n in relation.key if (c := relation.column(n))
        )
        known = match and set(relation.key) <= {c.name for c in columns}
        made = f"(select to_jsonb(t.*) from {relation.sql} t where {match} limit 1)" if known else "null"
        outcome = self.session.attempt(actor, statement, f"select {made}, {self._power(actor)}", prepare)
        given = {c.name: row.get(c.name) for c in columns}
        return outcome, f"insert into {relation.title} {values.shown(given, 3)}"

    def _one_more(
        self, subject: Subject, actor: Actor, row: Planted, new: dict[str, Any]
    ) -> tuple[Outcome, str]:
        """Insert ``new``; where that is refused, once more in place of ``row``: there may be a limit."""
        outcome, did = self.insert(subject, actor, new)
        if outcome.refused or outcome.policy_error:
            here = f"tableoid = {row.table} and ctid = {literal(row.ctid)}"
            again, _ = self.insert(subject, actor, new, f"delete from {subject.relation.sql} where {here}")
            outcome = again if again.rows else outcome
        return outcome, did

    def _power(self, actor: Actor, *, accepted: bool = False) -> str:
        """An expression: the memberships that ``actor`` has in A's groups."""
        parts = []
        for membership in self.declaration.memberships.values():
            relation = self.catalogue.by_title.get(membership.table)
            there = self.worlds["A"].rows.get((relation.oid, "")) if relation else None
            columns = (
                [
                    relation.column(n)
                    for n in (membership.user, membership.group, membership.role or membership.group)
                ]
                if relation
                else []
            )
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

    def _interrupted(self, subject: Subject, outcome: Outcome) -> None:
        if outcome.interrupted:
            why = f"a probe was interrupted: {outcome.message}"
            self.gaps.append(
                Gap(subject.title, why, "run it when the table is less busy, or raise --timeout")
            )
