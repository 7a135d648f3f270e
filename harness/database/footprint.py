"""What a transaction has put into the database, rows of triggers included; and whether it goes again.

Rows for the Data API are committed, so before that it is tried, inside the same transaction, whether they
can be removed. What was there before is never on the list: a witness, whose snapshot is older than the
first planted row, is asked about each.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import psycopg

from harness.database.catalogue import Catalogue, Relation
from harness.database.oracle import literal
from harness.database.planting_journal import Row, remove, there
from harness.database.row_maker import OURS
from harness.database.session import raise_if_lost

__all__ = ["Footprint", "Unsafe"]

_COUNTS = b"select relid::bigint, n_tup_ins from pg_stat_xact_all_tables where n_tup_ins > 0"
_LARGE = 200_000
_ROUNDS = 3


class Unsafe(Exception):
    """Rows that could not be removed again, or not be told from others; says which."""


@dataclass
class Footprint:
    """What ``connection`` inserts. ``witness`` sees the database as it was; ``marks`` tell what is ours.

    ``texts``: what is in rows that are known by their key.
    """

    connection: psycopg.Connection[Any]
    witness: psycopg.Connection[Any]
    catalogue: Catalogue
    marks: list[str]
    rows: list[Row] = field(default_factory=list)
    texts: dict[Row, str] = field(default_factory=dict)
    _counts: dict[int, int] = field(default_factory=dict)

    def silent(self, row: Row) -> bool:
        """Whether the row, known by its key, does not say whose it is."""
        text = self.texts.get(row)
        return text is not None and not any(mark in text for mark in self.marks)

    def echo(self, connection: psycopg.Connection[Any]) -> list[Row]:
        """Rows that triggers have made of a removal, in the transaction that is open on ``connection``."""
        self.connection = connection
        try:
            return self.new(expected=False)
        except Unsafe:
            return []  # looked for again at the end, by what is in them

    def new(self, *, expected: bool = True) -> list[Row]:
        """Rows that this transaction has inserted, and that are not in ``rows`` yet.

        Raises:
            Unsafe: when one of them could not be told from others later on.
        """
        counts = self.connection.execute(_COUNTS).fetchall()
        if not counts and expected:
            raise Unsafe("the server counts no rows (track_counts): what triggers make would stay unseen")
        found: list[Row] = []
        seen = self._counts if expected else {}  # of this transaction; others count from nothing
        oids = [oid for oid, count in counts if seen.get(oid) != count]
        self._counts = dict(counts)
        relations = [r for oid in oids if (r := self.catalogue.by_oid.get(oid)) and r.table]
        for relation in sorted(relations, key=lambda r: not r.key):  # whose keys may be marks come first
            try:
                with self.connection.transaction():
                    found += self._of(relation, OURS)
            except psycopg.Error as error:
                raise_if_lost(error)
                raise Unsafe(f"what it makes in {relation.title}: {error.diag.message_primary}") from None
        known = set(self.rows)
        return [row for row in found if row not in known]

    def _of(self, relation: Relation, condition: str) -> list[Row]:
        keys = ", ".join(f"t.{_sql(name)}::text" for name in relation.key)
        query = f"select t::text{', ' + keys if keys else ''} from only {relation.sql} t where {condition}"
        found = []
        for text, *key in self.connection.execute(query.encode()).fetchall():
            marked = any(mark in text for mark in self.marks)
            if relation.key:
                pairs = zip(relation.key, key, strict=True)
                match = " and ".join(f"t.{_sql(n)} = {literal(v)}" for n, v in pairs)
                row = Row(f"{relation.sql} as t", match)
                self.texts[row] = text
            elif marked:
                row = Row(f"{relation.sql} as t", f"t::text = {literal(text)}")
            else:
                raise Unsafe(f"{relation.title} has no primary key: its row could not be told from others")
            try:
                before = there(self.witness, row)
            except psycopg.Error as error:  # not known to be ours: then it is not
                raise Unsafe(f"{row}: whether it was there before: {error}") from None
            if not before:
                found.append(row)
                self._mark(relation, key)
        return found

    def _mark(self, relation: Relation, key: list[str]) -> None:
        """A key made up for this row alone: what names it, is ours as well."""
        linked = {n for c in relation.constraints if c.kind == "f" for n in c.columns}
        column = relation.column(relation.key[0]) if len(relation.key) == 1 else None
        alone = column is not None and column.base == "uuid" and column.name not in linked
        if alone and key[0] not in self.marks:
            self.marks.append(key[0])

    def rehearse(self, rows: Iterable[Row]) -> None:
        """Remove ``rows`` and see that they are gone; undone at once.

        Raises:
            Unsafe: when something would stay.
        """
        rows = list(rows)
        with self.connection.transaction(force_rollback=True):
            try:
                self.connection.execute(b"set constraints all immediate")
            except psycopg.Error as error:
                raise_if_lost(error)
                raise Unsafe(f"{error.diag.message_primary}") from None
            before = list(self.rows)
            try:
                for _ in range(_ROUNDS):
                    stays = remove(self.connection, rows)
                    if stays:
                        raise Unsafe("; ".join(str(one) for one in stays[:3]))
                    rows = self.new()  # what triggers make of a removal
                    if not rows:
                        return
                raise Unsafe(f"removing {rows[0]} makes new rows every time")
            finally:
                self.rows = before

    def mentioned(self) -> tuple[list[Row], list[str]]:
        """After everything: rows that name a planted user or mark and are new; and what else there is."""
        new: list[Row] = []
        others: list[str] = []
        tests = " or ".join(f"strpos(t::text, {literal(mark)}) > 0" for mark in self.marks)
        managed = ("pg_catalog", "information_schema")
        for relation in self.catalogue.relations:
            if relation.kind != "r" or relation.schema in managed or relation.rows > _LARGE:
                continue
            try:
                with self.connection.transaction():
                    new += self._of(relation, f"({tests})")
                    seen = self.connection.execute(
                        f"select count(*) from only {relation.sql} t where {tests}".encode()
                    ).fetchone()
            except (psycopg.Error, Unsafe) as error:
                if isinstance(error, psycopg.Error):
                    raise_if_lost(error)
                    if (
                        error.diag.sqlstate == "42501"
                    ):  # a table of the platform: no trigger of ours got there
                        continue
                others.append(f"{relation.title} could not be looked through: {str(error).splitlines()[0]}")
                continue
            mine = sum(1 for row in new if row.table == f"{relation.sql} as t")
            if seen and seen[0] > mine:
                count = seen[0] - mine
                others.append(f"{relation.title}: {count} rows that were there before name a planted user")
        return new, others


def _sql(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
