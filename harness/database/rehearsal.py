"""Statements rehearsed before a Data API is asked for them: what they would write, seen and undone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.database.oracle import Actor
from harness.database.session import Outcome, Session

__all__ = ["Rehearsed", "rehearsed"]

_COUNTS = (
    "select coalesce(json_object_agg(relid::bigint::text,"
    " json_build_array(n_tup_ins, n_tup_upd, n_tup_del)), '{}') from pg_stat_xact_all_tables"
    " where n_tup_ins + n_tup_upd + n_tup_del > 0"
    " and schemaname not in ('pg_catalog', 'information_schema', 'pg_toast')"
)
_NOTHING = [0, 0, 0]


@dataclass(frozen=True)
class Rehearsed:
    """How a statement ended, and the rows it inserted, updated and deleted, by the oid of their table.

    ``counted``: whether the server counts at all; where it does not, nothing is known.
    """

    outcome: Outcome
    touched: dict[int, list[int]]
    counted: bool

    def stays_within(self, tables: set[int]) -> bool:
        """Whether it wrote nothing, or one row of ``tables`` alone."""
        if self.outcome.sqlstate:
            return not self.outcome.interrupted  # an error undoes everything
        written = sum(map(sum, self.touched.values()))
        return self.counted and set(self.touched) <= tables and written <= 1

    @property
    def harmless(self) -> bool:
        """Whether it wrote nothing."""
        return self.counted and not self.outcome.interrupted and not self.touched


def rehearsed(session: Session, actor: Actor, statement: str) -> Rehearsed:
    """What ``statement`` would write, carried out as ``actor`` and undone.

    Raises:
        psycopg.OperationalError: when the connection is lost.
    """
    with session.opened():
        counted = session.inside(actor, "select current_setting('track_counts')")[0] == "on"
        before = session.inside(actor, _COUNTS)[0]
        outcome = session.attempt(actor, statement, _COUNTS)
    after = outcome.seen[0][0] if outcome.seen else before
    return Rehearsed(outcome, _difference(before, after), counted)


def _difference(before: dict[str, Any], after: dict[str, Any]) -> dict[int, list[int]]:
    found = {}
    for oid, now in after.items():
        more = [n - then for n, then in zip(now, before.get(oid, _NOTHING), strict=True)]
        if any(more):
            found[int(oid)] = more
    return found
