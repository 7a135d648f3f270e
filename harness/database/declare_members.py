"""Conditions about a membership, written as rules of its members: candidates, for trying.

`exists (select from members m where m.org = docs.org and m.person = auth.uid() and m.role = 'editor')` says
the same as a rule for members with a role, which people read with ease, and for which other members, former
ones and those of other groups are tried.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from harness.database.catalogue import Catalogue
from harness.database.declare_asked import Asked, asked
from harness.database.expressions import bare, split

__all__ = ["narrower_buckets", "narrower_tables"]

_AMONG = re.compile(
    r'\(*"?(\w+)"?\)*(?:::\w+)?\s(?:=|IN)[\s(]*(?:ANY[\s(]*)?(?:ARRAY[\s(]*)?select\b', re.I
)


@dataclass(frozen=True)
class _Members:
    """What one rule asks of a membership, and what else: of rows, and of new ones where that differs."""

    membership: str
    by: str
    asked: Asked
    rest: tuple[str, ...] = field(default=())
    check: tuple[str, ...] | None = None

    def rule(self, may: list[str]) -> dict[str, Any]:
        """As a declaration has it."""
        found: dict[str, Any] = {"who": "members", "of": self.membership, "by": self.by, "may": may}
        if self.asked.roles:
            found["roles"] = list(self.asked.roles)
        if self.rest:
            found["where"] = " AND ".join(self.rest)
        if self.check is not None and self.check != self.rest:
            found["check"] = " AND ".join(self.check) or "true"
        return found


def narrower_tables(catalogue: Catalogue, data: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Tables (by title) with their conditions about memberships as rules of members.

    Where all of them ask the same of a membership's row (that it was accepted, say), that becomes the
    membership's own condition.
    """
    read = {
        (title, index): found
        for title, entry in data.get("tables", {}).items()
        for index, rule in enumerate(entry.get("rules", ()))
        if (found := _read(catalogue, data, title.rpartition(".")[2].strip('"'), rule))
    }
    for name, described in data.get("memberships", {}).items():
        conditions = {found.asked.where for found in read.values() if found.membership == name}
        if len(conditions) == 1 and (where := conditions.pop()):
            described["where"] = where
    for title, entry in data.get("tables", {}).items():
        rules = [
            found.rule(rule["may"])
            if (found := read.get((title, index)))
            and found.asked.where == data["memberships"][found.membership].get("where", "")
            else rule
            for index, rule in enumerate(entry.get("rules", ()))
        ]
        if rules != entry.get("rules", []):
            yield title, {**entry, "rules": rules}


def narrower_buckets(catalogue: Catalogue, data: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Buckets (by id) whose folders are a group's."""
    for bucket, entry in data.get("buckets", {}).items():
        rules = [
            found.rule(rule["may"]) if (found := _read(catalogue, data, "objects", rule, bucket)) else rule
            for rule in entry.get("rules", ())
        ]
        if rules != entry.get("rules", []):
            yield bucket, {**entry, "rules": rules}


def _read(
    catalogue: Catalogue, data: dict[str, Any], table: str, rule: dict[str, Any], bucket: str = ""
) -> _Members | None:
    """The condition of ``rule`` about a membership, when it is one that this reads."""
    if rule["who"] not in ("anyone", "signed-in"):
        return None
    parts = _parts(rule.get("where"), bucket)
    check = _parts(rule["check"], bucket) if "check" in rule else None
    for name, described in data.get("memberships", {}).items():
        about = [part for part in parts if described["table"] in part]
        if len(about) != 1 or (by := _by(table, about[0], bucket)) is None:
            continue
        if check is not None and [part for part in check if described["table"] in part] != about:
            continue
        if (found := asked(catalogue, described, table, about[0])) is None:
            continue
        rest, new = (_without(about[0], those, bucket) for those in (parts, check or []))
        return _Members(name, by, found, rest, None if check is None else new)
    return None


def _parts(condition: str | None, bucket: str) -> list[str]:
    parts = [bare(part) for part in split(bare(str(condition or "")), " AND ")]
    return [part for part in parts if part and not (bucket and part.startswith("bucket_id"))]


def _without(about: str, parts: list[str], bucket: str) -> tuple[str, ...]:
    return () if bucket else tuple(f"({part})" for part in parts if part != about)


def _by(table: str, text: str, bucket: str) -> str | None:
    """The column of ``table`` that the condition is about; `folder` for files."""
    if bucket:
        return "folder" if "foldername" in text else None
    if among := _AMONG.match(text):
        return str(among[1])
    found = re.search(rf'(?<![\w.]){re.escape(table)}"?\.(?:"([^"]+)"|(\w+))', text)
    return found[1] or found[2] if found else None
