"""A realistic schema, mistakes made in it one at a time, and correct schemas that must stay silent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

__all__ = ["DECLARATION", "SCHEMA", "SILENT", "Mutation", "mutations"]

HERE = Path(__file__).parent
SCHEMA = HERE / "schema.sql"
DECLARATION = HERE / "declaration.yaml"
SILENT = sorted((HERE / "silent").glob("*.sql"))


@dataclass(frozen=True)
class Mutation:
    """One mistake: the SQL that makes it, and what must be found. ``also``: rules that may be too."""

    kind: str
    sql: str
    expect: tuple[dict[str, Any], ...]
    also: frozenset[str]
    superuser: bool

    @property
    def wanted(self) -> set[tuple[str, str]]:
        """Rule and object of each finding."""
        return {(entry["rule"], entry["object"]) for entry in self.expect}


def mutations() -> list[Mutation]:
    """Every mutation of the corpus."""
    text = (HERE / "mutations.yaml").read_text(encoding="utf-8")
    return [
        Mutation(kind, m["sql"], tuple(m["expect"]), frozenset(m.get("also", ())), bool(m.get("superuser")))
        for kind, entries in yaml.safe_load(text).items()
        for m in entries
    ]
