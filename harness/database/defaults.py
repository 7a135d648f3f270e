"""What the database puts into the columns that a caller may not fill."""

from __future__ import annotations

from typing import Any

from harness.database.catalogue import Relation
from harness.database.oracle import Actor, literal
from harness.database.session import Session

__all__ = ["as_made"]


def as_made(session: Session, actor: Actor, relation: Relation, row: dict[str, Any]) -> dict[str, Any]:
    """``row`` as an insert of ``actor`` would make it: what they may not fill has its default."""
    filled = {column.name for column in relation.columns_for(actor.role, "INSERT")}
    left = [
        column
        for column in relation.columns
        if column.name in row and column.name not in filled and column.default and not column.generated
    ]
    known = [column for column in left if not (column.default or "").startswith("nextval")]
    if not known:
        return row
    pairs = ", ".join(f"{literal(column.name)}, {column.default}" for column in known)
    try:
        [made] = session.inside(actor, f"select jsonb_build_object({pairs})")
    except ValueError:  # a default that asks for more than there is
        return row
    found: dict[str, Any] = row | made
    return found
