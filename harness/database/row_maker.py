"""Makes one row: fills it from the catalogue, and mends it until the database takes it.

A value that somebody has already is never a reason to take their row: other values are looked for. Only
where nothing else fits (both codes of a table of plans are there) the row that is there is *found*: good
enough to be referred to, and nobody's own.
"""

from __future__ import annotations

import abc
import re
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg

from harness.database.catalogue import Relation
from harness.database.oracle import literal
from harness.database.planted import CannotPlant, Planted, World, as_text
from harness.database.row_values import WHOLE, RowValues, sql_name
from harness.database.session import raise_if_lost
from harness.database.synthesise import (
    alternatives,
    candidates,
    constraint_called,
    partition_values,
    plausible,
)

__all__ = ["OURS", "RowMaker"]

_TRIES = 400
_TAKEN = ("23505", "23P01")
OURS = """
coalesce(pg_xact_status((
    select greatest(n + (t.xmin::text::bigint - n % 4294967296), 0)::text::xid8
    from (select pg_current_xact_id()::text::bigint as n) now
)) = 'in progress', false)"""
"""Of a row that is seen: whether this very transaction wrote it."""


@dataclass
class RowMaker(RowValues):
    """Makes rows through ``connection``, whose role bypasses row level security."""

    def insert(self, relation: Relation, world: World, fixed: dict[str, str]) -> Planted:
        """Insert a row with ``fixed`` values, mending it until the database takes it.

        Raises:
            CannotPlant: when it takes none; psycopg.OperationalError: when the connection is lost.
        """
        if not relation.table:
            raise CannotPlant(f"{relation.title} is no table")
        latest = self._values(relation, world, fixed)
        tried: dict[str, Iterator[dict[str, str | None]]] = {}
        taken: Planted | None = None
        for _ in range(_TRIES):
            try:
                with self.connection.transaction():
                    return self._execute(relation, latest)
            except psycopg.Error as error:
                raise_if_lost(error)
                try:
                    if error.diag.sqlstate in _TAKEN:
                        names, there = self._taken(relation, error, latest)
                        if there is not None and self._mine(there):
                            return there
                        taken = there or taken
                        latest = self._otherwise(relation, world, error, latest, tried, names, fixed)
                    else:
                        latest = self._mended(relation, world, error, latest, tried)
                except CannotPlant:
                    if taken is None:
                        raise
                    break
        if taken is not None:
            taken.found = True
            return taken
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
        query = f"insert into {relation.sql} as t {body} returning {WHOLE}"
        row = self.connection.execute(query.encode()).fetchone()
        if row is None:
            raise CannotPlant(f"{relation.title}: a trigger swallowed the row")
        return Planted(relation, *row)

    def _taken(
        self, relation: Relation, error: psycopg.Error, values: dict[str, str | None]
    ) -> tuple[list[str], Planted | None]:
        """The columns whose values are taken, and the row that has them."""
        constraint = constraint_called(relation, error.diag.constraint_name)
        said = re.search(r"\((.+?)\)=\((.*?)\)", error.diag.message_detail or "", re.S)
        keys = said[1].split(", ") if said else []
        if constraint is not None and constraint.kind in ("p", "u"):
            names = list(constraint.columns)
        else:  # an index, perhaps of expressions, or an exclusion
            words = set(re.findall(r"\w+", said[1])) if said else set()
            names = [c.name for c in relation.columns if c.name in words]
        given = {name: values.get(name) for name in names}
        held = said[2].split(", ") if said else []
        if len(keys) == len(held):  # what a default or a trigger made of it
            given |= {
                k: v for k, v in zip((key.strip('"') for key in keys), held, strict=True) if k in given
            }
        if error.diag.sqlstate != "23505" or not given or any(value is None for value in given.values()):
            return names, None
        match = " and ".join(f"t.{sql_name(name)} = {literal(value)}" for name, value in given.items())
        return names, self._look(relation, match)

    def _mine(self, there: Planted) -> bool:
        """Whether the row is new and nobody's yet: such as a trigger made for this very user."""
        mine = self._look(there.relation, f"{there.match()} and {OURS}")
        others = [row for world in self.worlds for row in world.rows.values()]
        return mine is not None and not any(
            row.relation.oid == there.relation.oid and row.match() == there.match() for row in others
        )

    def _otherwise(
        self,
        relation: Relation,
        world: World,
        error: psycopg.Error,
        values: dict[str, str | None],
        tried: dict[str, Iterator[dict[str, str | None]]],
        names: list[str],
        fixed: dict[str, str],
    ) -> dict[str, str | None]:
        """``values``, other ones where somebody has the same already."""
        name = f"taken {error.diag.constraint_name}"
        if name not in tried:
            free = [n for n in names if n not in fixed]
            tried[name] = alternatives(self.catalogue, relation, free, world.user, self.mark)
        self.mending = name
        if (change := next(tried[name], None)) is not None:
            return values | change
        raise CannotPlant(f"{relation.title}: {error.diag.message_primary} [{error.diag.sqlstate}]")

    def _mended(
        self,
        relation: Relation,
        world: World,
        error: psycopg.Error,
        values: dict[str, str | None],
        tried: dict[str, Iterator[dict[str, str | None]]],
    ) -> dict[str, str | None]:
        """``values``, changed in the way that ``error`` asks for."""
        diag = error.diag
        name = diag.constraint_name or diag.column_name or "partition"
        if diag.sqlstate == "23502" and (column := relation.column(diag.column_name or "")):
            return values | {column.name: plausible(column, self.mark)}
        if diag.sqlstate == "23514":
            if name not in tried:
                tried[name] = iter(list(self._candidates(relation, world, error)))
            if (change := next(tried[name], None)) is not None:
                self.mending = name
                return values | change
        odd = (diag.sqlstate or "").startswith("22") and self.mending in tried  # what was tried was odd
        if odd and (change := next(tried[self.mending], None)) is not None:
            return values | change
        message = (diag.message_primary or str(error)).strip()
        raise CannotPlant(f"{relation.title}: {message} [{diag.sqlstate}]")

    def _candidates(
        self, relation: Relation, world: World, error: psycopg.Error
    ) -> Iterator[dict[str, str | None]]:
        diag = error.diag
        if not diag.constraint_name:
            for values in partition_values(self.catalogue, relation):
                yield dict(values)
            yield from self._hashed(relation)
            return
        yield from self._different(relation, world, diag.constraint_name)
        known = (diag.constraint_name, diag.datatype_name or "", world.user, self.mark)
        yield from candidates(self.catalogue, relation, *known)

    def _hashed(self, relation: Relation) -> Iterator[dict[str, str | None]]:
        """Values for a partition that is chosen by a hash: one of a few dozen falls into it."""
        parents = [self.catalogue.by_oid[oid] for oid in relation.parents if oid in self.catalogue.by_oid]
        for parent in parents if (relation.bound or "").startswith("FOR VALUES WITH") else ():
            names = re.findall(r"\w+", (parent.partition_key or "").partition("(")[2])
            columns = [c for name in names if (c := relation.column(name))]
            for _ in range(64):
                yield {c.name: plausible(c, self.mark, unique=True) for c in columns}

    def _different(
        self, relation: Relation, world: World, constraint: str
    ) -> Iterator[dict[str, str | None]]:
        """Two references that must not be the same: the second one leads to another row."""
        check = constraint_called(relation, constraint)
        said = re.search(r'\(\(?"?(\w+)"? <> "?(\w+)"?', check.text or "") if check else None
        if said is None:
            return
        for name in (said[2], said[1]):
            link = next((c for c in relation.constraints if c.kind == "f" and c.columns == [name]), None)
            target = self.catalogue.by_oid.get(link.target or 0) if link else None
            if link is None or target is None:
                continue
            try:
                yield {name: self._another(world, target, link.target_columns[0])}
            except CannotPlant:
                continue

    def _another(self, world: World, target: Relation, column: str) -> str:
        """A key of a further row of ``target``."""
        if target is self.users:
            return self.stranger().user
        if self._is_profile(target, column):
            return as_text(self.ensure(self.stranger(), target).data[column])
        return as_text(self.insert(target, world, {}).data[column])

    def _is_profile(self, relation: Relation, column: str) -> bool:
        """Whether ``column`` is the key of a user, who has but one row there."""
        links = [c for c in relation.constraints if c.kind == "f" and c.columns == [column]]
        return any(self.users is not None and link.target == self.users.oid for link in links)

    @abc.abstractmethod
    def stranger(self) -> World:
        """A user who has nothing to do with anybody."""
