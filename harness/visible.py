"""Text from elsewhere, as a terminal may show it."""

from __future__ import annotations

__all__ = ["visible"]


def visible(text: str) -> str:
    """``text`` with what would move the cursor, recolour, reorder or hide it written out."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode("ascii") for c in text
    )
