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

from harness.database.expressions import bare, split

__all__ = ["narrower_buckets", "narrower_tables"]

_VALUES = r"(ANY \(+ARRAY\[[^\]]*\]|'[^']+')"
_LITERAL = re.compile(r"'([^']+)'")
_QUOTED = re.compile(r"'[^']+'")
_ANY = re.compile(r"= ANY \(+(ARRAY\[[^\]]*\])\)+")
_AND = re.compile(r"\s+and\s+", re.I)


@dataclass(frozen=True)
class _Members:
    """What one condition asks of a membership. ``where``: of the membership's own row."""

    membership: str
    by: str
    roles: tuple[str, ...]
    where: str
    rest: tuple[str, ...] = field(default=())
    """What else the rule asks."""

    def rule(self, may: list[str]) -> dict[str, Any]:
        """As a declaration has it."""
        found: dict[str, Any] = {"who": "members", "of": self.membership, "by": self.by, "may": may}
        if self.roles:
            found["roles"] = list(self.roles)
        if self.rest:
            found["where"] = " AND ".join(self.rest)
        return found


def narrower_tables(data: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Tables (by title) with their conditions about memberships as rules of members.

    Where all of them ask the same of a membership's row (that it was accepted, say), that becomes the
    membership's own condition.
    """
    read = {
        (title, index): found
        for title, entry in data.get("tables", {}).items()
        for index, rule in enumerate(entry.get("rules", ()))
        if (found := _read(data, title.rpartition(".")[2], rule))
    }
    for name, described in data.get("memberships", {}).items():
        asked = {found.where for found in read.values() if found.membership == name}
        if len(asked) == 1 and (where := asked.pop()):
            described["where"] = where
    for title, entry in data.get("tables", {}).items():
        rules = [
            found.rule(rule["may"])
            if (found := read.get((title, index)))
            and found.where == data["memberships"][found.membership].get("where", "")
            else rule
            for index, rule in enumerate(entry.get("rules", ()))
        ]
        if rules != entry.get("rules", []):
            yield title, {**entry, "rules": rules}


def narrower_buckets(data: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Buckets (by id) whose folders are a group's."""
    for bucket, entry in data.get("buckets", {}).items():
        rules = [
            found.rule(rule["may"]) if (found := _read(data, "", rule, bucket)) else rule
            for rule in entry.get("rules", ())
        ]
        if rules != entry.get("rules", []):
            yield bucket, {**entry, "rules": rules}


def _read(data: dict[str, Any], table: str, rule: dict[str, Any], bucket: str = "") -> _Members | None:
    """The condition of ``rule`` about a membership, when it is one that this reads."""
    if rule["who"] not in ("anyone", "signed-in") or "check" in rule:
        return None
    parts = [bare(part) for part in split(bare(str(rule.get("where") or "")), " AND ")]
    parts = [part for part in parts if not (bucket and part.startswith("bucket_id"))]
    for name, described in data.get("memberships", {}).items():
        about = [part for part in parts if described["table"] in part]
        if (
            len(about) != 1
            or len(split(about[0], " OR ")) > 1
            or (by := _by(table, about[0], bucket)) is None
        ):
            continue
        rest = () if bucket else tuple(f"({part})" for part in parts if part not in about)
        return _Members(name, by, _roles(described, about[0]), _where(described, table, about[0]), rest)
    return None


def _by(table: str, text: str, bucket: str) -> str | None:
    """The column of ``table`` that the condition is about; `folder` for files."""
    if bucket:
        return "folder" if "foldername" in text else None
    found = re.search(rf'"?\b{re.escape(table)}\b"?\."?(\w+)"?', text)
    return found[1] if found else None


def _roles(described: dict[str, str], text: str) -> tuple[str, ...]:
    if "role" not in described:
        return ()
    compared = re.search(rf"(?:\b{re.escape(described['role'])}|\))(?:::\w+)?\)*\s*=\s*{_VALUES}", text)
    return tuple(_LITERAL.findall(compared[1])) if compared else ()


def _where(described: dict[str, str], table: str, text: str) -> str:
    """What is asked of the membership's row beside its user, its group and its role."""
    asked = re.search(rf"{re.escape(described['table'])}\s+(?:as\s+)?(\w+)\s+where\s+(.*)", text, re.I)
    if asked is None:
        return ""
    alias, conditions = asked[1], _balanced(asked[2])
    known = {described["user"], described["group"], described.get("role", described["user"])}
    names = "|".join(re.escape(f"{alias}.{name}") for name in sorted(known))
    kept = [
        bare(part)
        for part in _AND.split(bare(conditions))
        if not re.search(rf'\b(?:{names})\b|auth\.uid\(|"?\b{re.escape(table)}\b"?\.', part)
    ]
    return " and ".join(_short(part.replace(f"{alias}.", "")) for part in kept)


def _short(text: str) -> str:
    """A list of values as people write it, in place of PostgreSQL's way."""
    return _ANY.sub(lambda found: f"in ({', '.join(_QUOTED.findall(found[1]))})", text)


def _balanced(text: str) -> str:
    """Up to the parenthesis that was opened before ``text``."""
    depth = 0
    for index, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if depth < 0:
            return text[:index].strip()
    return text
