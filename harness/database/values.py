"""Values of planted rows as SQL and as people read them."""

from __future__ import annotations

import json
from typing import Any

from harness.database.catalogue import Column
from harness.database.oracle import literal
from harness.database.synthesise import fresh

__all__ = ["again", "equals", "shown", "value"]


def value(column: Column, given: Any) -> str:
    """``given`` (from JSON) as a literal of the column's type."""
    if given is None:
        return "null"
    if isinstance(given, bool):
        return "true" if given else "false"
    if column.category == "A" and isinstance(given, list):
        return (
            f"array(select jsonb_array_elements_text({literal(json.dumps(given))}::jsonb))::{column.type}"
        )
    if isinstance(given, dict | list):
        return literal(json.dumps(given))
    return literal(given)


def equals(column: Column, given: Any) -> str:
    """A condition: the column has this value."""
    return f"{column.sql} is null" if given is None else f"{column.sql} = {value(column, given)}"


def again(text: str, mark: str) -> str:
    """``text`` with another made-up part: as unique as before, and different."""
    token = fresh(mark)
    before, _, after = text.partition(f"probe-{mark}-")
    return f"{before}{token}{after[6:]}" if after else token[-len(text) :]


def shown(row: dict[str, Any], most: int = 6) -> str:
    """The row, short enough for a line."""
    parts = [f"{name}={str(value)[:40]}" for name, value in list(row.items())[:most]]
    return "(" + ", ".join(parts) + (", …" if len(row) > most else "") + ")"
