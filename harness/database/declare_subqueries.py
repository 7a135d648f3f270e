"""Subqueries of a policy, as who is asked sees them.

In a policy, `exists (select from invoices …)` sees the invoices that the caller may read; a `where` of a
declaration is evaluated on all rows. So such a table is written as its own policies narrow it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial

from harness.database.catalogue import Catalogue, Relation, quoted

__all__ = ["NO_ALIAS", "Written", "seen_by", "seen_within"]

Written = Callable[[Relation, str], str]
"""A condition of a relation with its helper functions written out."""

_DEPTH = 3
NO_ALIAS = "where|on|join|left|right|full|inner|cross|natural|group|order|having|limit|union|using|for"


def seen_by(
    catalogue: Catalogue, role: str, relation: Relation, text: str, written: Written, depth: int = _DEPTH
) -> str:
    """``text``, a condition of ``relation``, after ``written``; its tables as ``role`` sees them."""
    return seen_within(catalogue, role, text, lambda marked: written(relation, marked), written, depth)


def seen_within(
    catalogue: Catalogue,
    role: str,
    text: str,
    given: Callable[[str], str],
    written: Written,
    depth: int = _DEPTH,
) -> str:
    """``text`` after ``given``; its tables as ``role`` sees them, their policies after ``written``."""
    hidden = [] if depth == 0 else list(_guarded(catalogue, text))
    for number, table in enumerate(hidden):
        text = _name(table).sub(partial(_marked, f"{depth}_{number}", table), text)
    text = given(text)
    for number, table in enumerate(hidden):
        condition = seen_by(catalogue, role, table, _readable(catalogue, role, table), written, depth - 1)
        rows = (
            f"(select * from {_title(table)} where {condition})" if condition != "true" else _title(table)
        )
        text = text.replace(f"__seen_{depth}_{number}__", rows)
    return text


def _marked(number: str, table: Relation, found: re.Match[str]) -> str:
    return f"{found[1]}__seen_{number}__{found[2] or f' {quoted(table.name)}'}"


def _guarded(catalogue: Catalogue, text: str) -> Iterator[Relation]:
    return (r for r in catalogue.relations if r.table and r.rls and _name(r).search(text))


def _title(table: Relation) -> str:
    return f"{quoted(table.schema)}.{quoted(table.name)}"


def _name(table: Relation) -> re.Pattern[str]:
    """The table after FROM or JOIN, and the alias that it may have there."""
    return re.compile(
        rf'(\b(?:FROM|JOIN)\s+\(*){re.escape(_title(table))}(?![\w."])'
        rf'(\s+(?:AS\s+)?(?!(?:{NO_ALIAS})\b)(?:\w+|"[^"]+"))?',
        re.I,
    )


def _readable(catalogue: Catalogue, role: str, table: Relation) -> str:
    """The rows of ``table`` that its policies let ``role`` read."""
    policies = [p for p in catalogue.policies_of(table) if p.concerns(role, "SELECT")]
    wide = [f"({p.using or 'true'})" for p in policies if p.permissive]
    narrow = [f"({p.using or 'true'})" for p in policies if not p.permissive]
    if "(true)" in wide:
        return " AND ".join(narrow) or "true"
    return " AND ".join([f"({' OR '.join(wide) or 'false'})", *narrow])
