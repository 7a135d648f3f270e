"""The values of a row that is to be made: whose it is, where its references lead, what else it needs."""

from __future__ import annotations

import abc
import json
import re
import uuid
from dataclasses import dataclass, field
from typing import Any

import psycopg

from harness.database.catalogue import Catalogue, Column, Constraint, Relation
from harness.database.oracle import literal
from harness.database.planted import CannotPlant, Planted, World, as_text
from harness.database.session import raise_if_lost
from harness.database.synthesise import plausible, unique_columns
from harness.database.whose import held, joined

__all__ = ["WHOLE", "RowValues", "sql_name"]

WHOLE = "to_jsonb(t.*), t.tableoid::bigint, t.ctid::text"
_USER_NAMES = re.compile(r"(^|_)(user|owner|author|creator|created_by|uid)(_id)?$")
_MAIL_NAMES = re.compile(r"(^|_)e?mail(_address)?$")


@dataclass
class RowValues(abc.ABC):
    """Makes values, looking at what is there through ``connection``."""

    connection: psycopg.Connection[Any]
    catalogue: Catalogue
    mark: str
    mending: str = ""
    worlds: list[World] = field(default_factory=list)
    shared: dict[int, Planted] = field(default_factory=dict)
    """By relation: rows that were there before, and that worlds have to share."""
    prefer: dict[tuple[int, str], str] = field(default_factory=dict)
    owners: set[tuple[int, str]] = field(default_factory=set)
    documents: dict[tuple[int, str], list[tuple[str, ...]]] = field(default_factory=dict)
    """By relation and column: where documents name whose they are."""
    counterparts: dict[tuple[int, str], list[tuple[int, str]]] = field(default_factory=dict)
    """By relation and column: those with which conditions want it to be the same."""
    users: Relation | None = None

    @abc.abstractmethod
    def ensure(self, world: World, relation: Relation) -> Planted:
        """The row of ``relation`` in ``world``."""

    @abc.abstractmethod
    def insert(self, relation: Relation, world: World, fixed: dict[str, str]) -> Planted:
        """A new row of ``relation`` with ``fixed`` values."""

    def _values(self, relation: Relation, world: World, fixed: dict[str, str]) -> dict[str, str | None]:
        values: dict[str, str | None] = dict(fixed)
        links = [c for c in relation.constraints if c.kind == "f"]
        while known := next((c for c in links if fixed and self._known(c, world, values)), None):
            links.remove(known)  # what is given decides: the organisation of the team that is joined
        for constraint in links:
            self._refer(relation, constraint, world, values)
        for name, value in world.promised.get(relation.oid, {}).items():
            values.setdefault(name, value)
        unique = unique_columns(relation)
        for column in relation.columns:
            if column.name in values or column.generated or column.identity:
                continue
            if (own := self._own(relation, column, world)) is not None:
                values[column.name] = own
            elif (relation.oid, column.name) in self.prefer:
                values[column.name] = self.prefer[relation.oid, column.name]
            elif (same := self._as_in_its_counterpart(relation, column, world)) is not None:
                values[column.name] = same
            elif column.category == "S" and _MAIL_NAMES.search(column.name) and not column.default:
                values[column.name] = world.actor.claims.get("email") or plausible(column, self.mark)
            elif column.default is None and column.not_null:
                values[column.name] = plausible(column, self.mark, unique=column.name in unique)
            elif column.default is None and column.category == "S" and not column.domain:
                values[column.name] = plausible(column, self.mark)
        return values

    def _own(self, relation: Relation, column: Column, world: World) -> str | None:
        """What makes the row the user's; nothing, where the column does not say whose it is."""
        place = (relation.oid, column.name)
        if place in world.told:
            return world.told[place]
        if place in self.documents:
            document: dict[str, Any] = {}
            for path in self.documents[place]:
                document = joined(document, held(path, world.user))
            return json.dumps(document)
        return world.user if place in self.owners or self._is_user(column) else None

    def _as_in_its_counterpart(self, relation: Relation, column: Column, world: World) -> str | None:
        """What another row of the world has in the column that conditions compare this one with."""
        for oid, name in self.counterparts.get((relation.oid, column.name), ()):
            row = world.rows.get((oid, ""))
            if row is not None and not row.found and row.data.get(name) is not None:
                return as_text(row.data[name])
        return None

    def _is_user(self, column: Column) -> bool:
        if column.default and re.search(r"\buid\(\)|jwt\(\)", column.default):
            return True
        return column.base == "uuid" and column.default is None and bool(_USER_NAMES.search(column.name))

    def _known(self, constraint: Constraint, world: World, values: dict[str, str | None]) -> bool:
        """Whether a part of the key is given, and a row with it is there: the rest is taken from that."""
        target = self.catalogue.by_oid.get(constraint.target or 0)
        pairs = list(zip(constraint.columns, constraint.target_columns, strict=True))
        given = {there: values[name] for name, there in pairs if values.get(name) is not None}
        if target is None or not given or len(given) == len(pairs):
            return False
        match = " and ".join(f"t.{sql_name(name)} = {literal(value)}" for name, value in given.items())
        row = self._look(target, match)
        if row is None:
            return False
        values.update({name: as_text(row.data[there]) for name, there in pairs})
        return True

    def _refer(
        self, relation: Relation, constraint: Constraint, world: World, values: dict[str, str | None]
    ) -> None:
        target = self.catalogue.by_oid.get(constraint.target or 0)
        pairs = list(zip(constraint.columns, constraint.target_columns, strict=True))
        if target is None or all(name in values for name in constraint.columns):
            if target is not None and len(pairs) > 1 and target is not self.users:
                self._complete(target, world, {there: values[name] for name, there in pairs})
            return
        optional = [c for name in constraint.columns if (c := relation.column(name)) and not c.not_null]
        if target.oid == relation.oid or target.oid in world.busy:
            if optional:
                values.update({c.name: None for c in optional if c.name not in values})
            else:
                self._promise(relation, constraint, target, world, values)
            return
        try:
            row = self.ensure(world, target)
        except CannotPlant:
            if not optional:
                raise
            values.update({c.name: None for c in optional if c.name not in values})
            return
        for name, there in pairs:
            values.setdefault(name, as_text(row.data.get(there)))

    def _complete(self, target: Relation, world: World, key: dict[str, str | None]) -> None:
        """The row with that key, which another refers to, is made when it is not there."""
        if any(value is None for value in key.values()):
            return
        match = " and ".join(f"t.{sql_name(name)} = {literal(value)}" for name, value in key.items())
        if self._look(target, match) is None:
            self.insert(target, world, {name: str(value) for name, value in key.items()})

    def _promise(
        self,
        relation: Relation,
        constraint: Constraint,
        target: Relation,
        world: World,
        values: dict[str, str | None],
    ) -> None:
        """In a circle, refer to a row that is yet to be made, where the database looks only at the end."""
        pairs = list(zip(constraint.columns, constraint.target_columns, strict=True))
        keys = [target.column(there) for _, there in pairs]
        later = constraint.deferrable or target.oid == relation.oid
        if not later or not all(c is not None and c.base == "uuid" for c in keys):
            raise CannotPlant(f"{relation.title}: {constraint.name} leads in a circle that no null breaks")
        if constraint.deferrable:
            self.connection.execute(b"set constraints all deferred")
        promised = world.promised.setdefault(target.oid, {})
        for name, there in pairs:
            values[name] = promised.setdefault(there, str(uuid.uuid4()))

    def again(self, planted: Planted) -> Planted | None:
        """The row as it is now; None, when it is gone."""
        return self._look(planted.relation, planted.match())

    def _look(self, relation: Relation, match: str) -> Planted | None:
        query = f"select {WHOLE} from {relation.sql} t where {match} limit 1"
        try:
            with self.connection.transaction():
                row = self.connection.execute(query.encode()).fetchone()
        except psycopg.Error as error:
            raise_if_lost(error)
            return None
        return Planted(relation, *row) if row else None


def sql_name(name: str) -> str:
    """``name`` in double quotes."""
    return '"' + name.replace('"', '""') + '"'
