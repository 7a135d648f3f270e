"""What is planted: a row and where it is, and the world of rows of one user."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from harness.database.catalogue import Relation
from harness.database.oracle import Actor, Subject, literal

__all__ = ["CannotPlant", "Planted", "World", "as_text"]


class CannotPlant(Exception):
    """No row of this relation could be made; says why."""


@dataclass
class Planted:
    """A planted row: ``data`` as JSON; where it is (``table`` is its partition's oid).

    ``found``: it was there before, because nothing else fits; it is nobody's, and never to be removed.
    """

    relation: Relation
    data: dict[str, Any]
    table: int
    ctid: str
    found: bool = False

    def match(self) -> str:
        """A condition that is true of this row alone: by primary key, else by place."""
        if self.relation.key and all(self.data.get(name) is not None for name in self.relation.key):
            return " and ".join(
                f"{self.relation.column(name).sql} = {literal(as_text(self.data[name]))}"  # type: ignore[union-attr]
                for name in self.relation.key
            )
        return f"tableoid = {self.table} and ctid = {literal(self.ctid)}"


@dataclass
class World:
    """One user, and a row of everything that is theirs. ``host``: whose groups a mate belongs to."""

    actor: Actor
    rows: dict[tuple[int, str], Planted] = field(default_factory=dict)
    busy: set[int] = field(default_factory=set)
    host: World | None = None
    promised: dict[int, dict[str, str]] = field(default_factory=dict)
    """Keys of rows that are yet to be made, as another row refers to them already."""

    told: dict[tuple[int, str], str] = field(default_factory=dict)
    """By relation and column: what the user's token says that is compared with it."""

    @property
    def user(self) -> str:
        """The user's id."""
        return self.actor.user or ""

    def row(self, subject: Subject) -> Planted | None:
        """The user's row of ``subject``."""
        return self.rows.get(subject.key)


def as_text(value: Any) -> str:
    """A value of JSON as PostgreSQL reads it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
