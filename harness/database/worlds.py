"""Rows to try things on: for each of a few users a whole world of rows, planted through the catalogue.

In the world of A every owner is A, every group A's own, every foreign key leads to another row of A. So
whatever the rules say of owners and members is true of A and false of B, without a word about the tables.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

from harness.database.catalogue import Catalogue, Column, Constraint, Relation
from harness.database.declaration import Declaration
from harness.database.oracle import Actor, Subject, literal
from harness.database.planted import CannotPlant, Planted, World, as_text
from harness.database.synthesise import (
    candidates,
    constraint_called,
    fresh,
    partition_values,
    plausible,
    unique_columns,
)

__all__ = ["Planter"]

_TRIES = 400
_WHOLE = "to_jsonb(t.*), t.tableoid::bigint, t.ctid::text"
_USER_NAMES = re.compile(r"(^|_)(user|owner|author|creator|created_by|uid)(_id)?$")


@dataclass
class Planter:
    """Plants through ``connection``, whose role bypasses row level security."""

    connection: psycopg.Connection[Any]
    catalogue: Catalogue
    declaration: Declaration
    subjects: list[Subject]
    mark: str
    mending: str = ""

    def __post_init__(self) -> None:
        self.users = self.catalogue.by_title.get(self.declaration.users or "")
        self.by_relation = {
            subject.relation.oid: subject for subject in self.subjects if not subject.bucket
        }
        self.prefer = dict(self._preferences())
        self.owners = {
            (subject.relation.oid, rule.by)
            for subject in self.subjects
            for rule in subject.rules
            if rule.who == "owner" and rule.by and not subject.bucket
        }
        for membership in self.declaration.memberships.values():
            if (relation := self.catalogue.by_title.get(membership.table)) is not None:
                self.owners.add((relation.oid, membership.user))

    def _preferences(self) -> Iterator[tuple[tuple[int, str], str]]:
        """What makes a member's row strong: the role that most rules ask for."""
        for name, membership in self.declaration.memberships.items():
            relation = self.catalogue.by_title.get(membership.table)
            asked = [
                rule.roles for s in self.subjects for rule in s.rules if rule.of == name and rule.roles
            ]
            if relation is None:
                continue
            if membership.role and asked:
                everyone = [role for roles in asked for role in roles]
                yield (relation.oid, membership.role), max(dict.fromkeys(everyone), key=everyone.count)
            for column in relation.columns:
                found = re.search(
                    rf"\b{column.name}\b\W*(?:::\w+\W*)?=\W*'([^']+)'", membership.where or ""
                )
                if found:
                    yield (relation.oid, column.name), found[1]
                elif column.base == "bool" and re.search(rf"\b{column.name}\b", membership.where or ""):
                    yield (relation.oid, column.name), "true"
                elif re.search(rf"\b{column.name}\b is not null", membership.where or "", re.I):
                    yield (relation.oid, column.name), plausible(column, self.mark)

    # --- worlds -------------------------------------------------------------------------------------

    def world(self, name: str, role: str, user: str | None = None) -> World:
        """A user (with the id ``user``, when given), with a row in the table of users where there is one.

        Raises:
            CannotPlant: when the user cannot be made.
        """
        world = World(Actor(name, role, user or str(uuid.uuid4())))
        if self.users is None:
            return world
        self.act(world)
        local = re.sub(r"\W+", "-", f"{self.mark}-{name}".lower())
        known = {
            "aud": "authenticated",
            "role": "authenticated",
            "email": f"probe-{local}-{uuid.uuid4().hex[:4]}@probe.invalid",
        }
        values = {c: v for c, v in known.items() if self.users.column(c)}
        key = self.users.key[0] if self.users.key else "id"
        column = self.users.column(key)
        if column is not None and column.base == "uuid":
            values[key] = world.user
        row = self.insert(self.users, world, values)
        world.actor = Actor(name, role, as_text(row.data[key]))
        world.rows[self.users.oid, ""] = row
        return world

    def act(self, world: World) -> None:
        """Triggers and defaults that ask who is calling shall see the world's user."""
        settings = {"request.jwt.claims": world.actor.token} | {
            name: value.replace("{user}", world.user) for name, value in self.declaration.settings.items()
        }
        calls = ", ".join(f"set_config({literal(k)}, {literal(v)}, true)" for k, v in settings.items())
        self.connection.execute(f"select {calls}".encode())

    def plant(self, world: World, subject: Subject) -> Planted:
        """The row of ``subject`` in ``world``, made when it is not there yet.

        Raises:
            CannotPlant: when it cannot be made.
        """
        if (there := world.row(subject)) is not None:
            return there
        if subject.bucket:
            world.rows[subject.key] = self.insert(subject.relation, world, self.filled(world, subject))
        else:
            self.ensure(world, subject.relation)
        return world.rows[subject.key]

    def filled(self, world: World, subject: Subject) -> dict[str, str]:
        """The subject's fixed values, with the world's user, folder and mark in them."""
        folder = world.user
        for rule in subject.rules:
            membership = self.declaration.memberships.get(rule.of or "")
            if rule.by == "folder" and membership and rule.who == "members":
                relation = self.catalogue.by_title.get(membership.table)
                if relation is not None:
                    folder = as_text(self.ensure(world, relation).data[membership.group])
        words = {
            "{user}": world.user,
            "{folder}": folder,
            "{mark}": fresh(self.mark),
            "{number}": str(10**8 + uuid.uuid4().int % 10**8),
        }
        values = {}
        for name, template in subject.fixed.items():
            value = template
            for word, meant in words.items():
                value = value.replace(word, meant)
            if subject.relation.column(name):
                values[name] = value
        return values

    def ensure(self, world: World, relation: Relation) -> Planted:
        """The row of ``relation`` in ``world``; rows that it refers to are made first."""
        if (there := world.rows.get((relation.oid, ""))) is not None:
            return there
        if relation.oid in world.busy:
            raise CannotPlant(f"{relation.title}: foreign keys lead in a circle that no null breaks")
        world.busy.add(relation.oid)
        try:
            subject = self.by_relation.get(relation.oid)
            fixed = self.filled(world, subject) if subject else {}
            planted = self.insert(relation, world, fixed)
        finally:
            world.busy.discard(relation.oid)
        world.rows[relation.oid, ""] = planted
        return planted

    # --- one row ------------------------------------------------------------------------------------

    def insert(self, relation: Relation, world: World, fixed: dict[str, str]) -> Planted:
        """Insert a row with ``fixed`` values, mending it until the database takes it."""
        if not relation.table:
            raise CannotPlant(f"{relation.title} is no table")
        values = self._values(relation, world, fixed)
        tried: dict[str, Iterator[dict[str, str]]] = {}
        latest: dict[str, str | None] = values
        for _ in range(_TRIES):
            try:
                with self.connection.transaction():
                    return self._execute(relation, latest)
            except psycopg.OperationalError:
                raise
            except psycopg.Error as error:
                if error.diag.sqlstate == "23505" and (there := self._existing(relation, error, latest)):
                    return there
                latest = self._mended(relation, world, error, latest, tried)
        raise CannotPlant(f"{relation.title}: no row that its constraints take, after {_TRIES} tries")

    def _execute(self, relation: Relation, values: dict[str, str | None]) -> Planted:
        names = [relation.column(name) for name in values]
        columns = ", ".join(column.sql for column in names if column)
        if columns:
            body = (
                f"({columns}) overriding system value values ({', '.join(map(literal, values.values()))})"
            )
        else:
            body = "default values"
        query = f"insert into {relation.sql} as t {body} returning {_WHOLE}"
        row = self.connection.execute(query.encode()).fetchone()
        if row is None:
            raise CannotPlant(f"{relation.title}: a trigger swallowed the row")
        return Planted(relation, *row)

    def _values(self, relation: Relation, world: World, fixed: dict[str, str]) -> dict[str, str | None]:
        values: dict[str, str | None] = dict(fixed)
        for constraint in relation.constraints:
            if constraint.kind == "f":
                self._refer(relation, constraint, world, values)
        unique = unique_columns(relation)
        for column in relation.columns:
            if column.name in values or column.generated or column.identity:
                continue
            if (relation.oid, column.name) in self.owners or self._is_user(column):
                values[column.name] = world.user
            elif (relation.oid, column.name) in self.prefer:
                values[column.name] = self.prefer[relation.oid, column.name]
            elif column.default is None and column.not_null:
                values[column.name] = plausible(column, self.mark, unique=column.name in unique)
            elif column.default is None and column.category == "S" and not column.domain:
                values[column.name] = plausible(column, self.mark)
        return values

    def _is_user(self, column: Column) -> bool:
        if column.default and re.search(r"\buid\(\)|jwt\(\)", column.default):
            return True
        return column.base == "uuid" and column.default is None and bool(_USER_NAMES.search(column.name))

    def _refer(
        self, relation: Relation, constraint: Constraint, world: World, values: dict[str, str | None]
    ) -> None:
        target = self.catalogue.by_oid.get(constraint.target or 0)
        if target is None or all(name in values for name in constraint.columns):
            return
        optional = [c for name in constraint.columns if (c := relation.column(name)) and not c.not_null]
        if target.oid == relation.oid or target.oid in world.busy:
            if not optional:
                raise CannotPlant(
                    f"{relation.title}: {constraint.name} leads in a circle that no null breaks"
                )
            values.update({c.name: None for c in optional if c.name not in values})
            return
        try:
            row = self.ensure(world, target)
        except CannotPlant:
            if not optional:
                raise
            values.update({c.name: None for c in optional if c.name not in values})
            return
        for name, there in zip(constraint.columns, constraint.target_columns, strict=True):
            values.setdefault(name, as_text(row.data.get(there)))

    def _existing(
        self, relation: Relation, error: psycopg.Error, values: dict[str, str | None]
    ) -> Planted | None:
        """The row that was there already, such as a trigger made for this user."""
        constraint = constraint_called(relation, error.diag.constraint_name)
        if constraint is None or any(values.get(name) is None for name in constraint.columns):
            return None
        match = " and ".join(f"t.{_sql(name)} = {literal(values[name])}" for name in constraint.columns)
        query = f"select {_WHOLE} from {relation.sql} t where {match}"
        row = self.connection.execute(query.encode()).fetchone()
        return Planted(relation, *row) if row else None

    def _mended(
        self,
        relation: Relation,
        world: World,
        error: psycopg.Error,
        values: dict[str, str | None],
        tried: dict[str, Iterator[dict[str, str]]],
    ) -> dict[str, str | None]:
        """``values``, changed in the way that ``error`` asks for."""
        diag = error.diag
        name = diag.constraint_name or diag.column_name or "partition"
        if diag.sqlstate == "23502" and (column := relation.column(diag.column_name or "")):
            return values | {column.name: plausible(column, self.mark)}
        if diag.sqlstate == "23514":
            if name not in tried:
                made: Iterable[dict[str, str]] = partition_values(self.catalogue, relation)
                if diag.constraint_name:
                    known = (diag.constraint_name, diag.datatype_name or "", world.user, self.mark)
                    made = candidates(self.catalogue, relation, *known)
                tried[name] = iter(list(made))
            if (change := next(tried[name], None)) is not None:
                self.mending = name
                return values | change
        odd = (diag.sqlstate or "").startswith("22") and self.mending in tried  # what was tried was odd
        if odd and (change := next(tried[self.mending], None)) is not None:
            return values | change
        message = (diag.message_primary or str(error)).strip()
        raise CannotPlant(f"{relation.title}: {message} [{diag.sqlstate}]")

    def refresh(self, world: World) -> None:
        """Look every row up again: triggers of later rows may have changed it."""
        for planted in world.rows.values():
            query = f"select {_WHOLE} from {planted.relation.sql} t where {planted.match()}"
            row = self.connection.execute(query.encode()).fetchone()
            if row is not None:
                planted.data, planted.table, planted.ctid = row


def _sql(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
