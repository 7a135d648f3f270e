"""What a first declaration may say of buckets whose folders are a group's: candidates, for trying."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

__all__ = ["narrower_buckets"]

_LITERAL = re.compile(r"'([^']+)'")


def narrower_buckets(data: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Buckets (by id) with conditions about a folder and a membership, written as rules of its members."""
    for bucket, entry in data.get("buckets", {}).items():
        for membership, described in data.get("memberships", {}).items():
            rules = [_of_members(membership, described, bucket, rule) for rule in entry.get("rules", ())]
            if rules != entry.get("rules", []):
                yield bucket, {**entry, "rules": rules}


def _of_members(
    membership: str, described: dict[str, str], bucket: str, rule: dict[str, Any]
) -> dict[str, Any]:
    where = str(rule.get("where") or "")
    about = "foldername" in where and described["table"] in where
    if rule["who"] not in ("anyone", "signed-in") or not about or "check" in rule:
        return rule
    found: dict[str, Any] = {"who": "members", "of": membership, "by": "folder", "may": rule["may"]}
    roles = [name for name in _LITERAL.findall(where) if name != bucket]
    if roles and "role" in described:
        found["roles"] = list(dict.fromkeys(roles))
    return found
