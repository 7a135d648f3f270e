"""Parts of a first declaration that nothing in the catalogue says: found out by trying, the best first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from harness.database.findings import Report

__all__ = ["Part", "Try", "settle"]

Part = tuple[str, str]
"""Where an entry of the declaration stands: (``tables`` or ``buckets``, its name)."""
Try = Callable[[dict[str, Any]], Report]
"""Checks the database against a declaration."""

_ROUNDS = 8
"""Each costs a check of the whole database."""


def settle(data: dict[str, Any], candidates: Mapping[Part, Iterable[dict[str, Any]]], tried: Try) -> None:
    """Replace each part by the first of its candidates of which ``tried`` has nothing to say.

    What stands in ``data`` is the last candidate of each part, and stays where no other is kept.
    """
    widest = {(kind, name): data[kind][name] for kind, name in candidates}
    left = {part: iter([*narrower, widest[part]]) for part, narrower in candidates.items()}
    for (kind, name), entries in left.items():
        data[kind][name] = next(entries)
    for _ in range(_ROUNDS if left else 0):
        report = tried(data)
        failed = [part for part in left if _concerned(report, part)]
        if not failed:
            return
        for kind, name in failed:
            data[kind][name] = next(left[kind, name], widest[kind, name])
    for (kind, name), entry in widest.items():
        data[kind][name] = entry


def _concerned(report: Report, part: Part) -> bool:
    """Whether something is said of it: found, or not proven."""
    said = [f"{one.object} {one.table} {one.what}" for one in report.found] + [str(g) for g in report.gaps]
    return any((f"bucket {part[1]}" if part[0] == "buckets" else part[1]) in text for text in said)
