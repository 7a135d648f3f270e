"""What a column, a constraint and a rewrite rule are, as the catalogue has them."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Column", "Constraint", "Rewrite"]


@dataclass(frozen=True)
class Column:
    """A column. ``base`` is its type's name below any domain; ``grants``: where columns are granted."""

    name: str
    type: str
    not_null: bool
    generated: bool
    identity: str
    default: str | None
    kind: str
    category: str
    base: str
    domain: str | None
    length: int | None
    labels: list[str] | None
    grants: dict[str, list[str]] | None

    @property
    def sql(self) -> str:
        """Its name, quoted where needed."""
        return '"' + self.name.replace('"', '""') + '"'


@dataclass(frozen=True)
class Constraint:
    """A constraint; ``kind`` is pg_constraint.contype."""

    name: str
    kind: str
    deferrable: bool
    columns: list[str]
    target: int | None
    target_columns: list[str]
    text: str | None


@dataclass(frozen=True)
class Rewrite:
    """A rewrite rule (CREATE RULE); what it does is done with the rights of its relation's owner."""

    name: str
    relation: int
    command: str
    instead: bool
    conditional: bool
    enabled: bool
    definition: str
