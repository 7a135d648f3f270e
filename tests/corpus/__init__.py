"""A realistic schema, mistakes made in it one at a time, and correct schemas that must stay silent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.database.findings import Report

__all__ = ["DECLARATION", "SCHEMA", "SILENT", "Mutation", "differences", "mutations", "told"]

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


def told(report: Report) -> str:
    """Everything that a person would read."""
    return "\n".join([*(f"{f.rule}: {f.finding()}" for f in report.found), *map(str, report.gaps)])


def differences(mutation: Mutation, report: Report) -> list[str]:
    """How ``report`` differs from what must be found of ``mutation``: nothing, or one text."""
    found = {one.key: one for one in report.found}
    missing = mutation.wanted - found.keys()
    extra = {key for key in found.keys() - mutation.wanted if key[0] not in mutation.also}
    roles = [
        entry
        for entry in mutation.expect
        if entry.get("role")
        and (one := found.get((entry["rule"], entry["object"])))
        and entry["role"] not in one.roles
    ]
    unexplained = [one.key for one in report.found if not (one.what and one.expected and one.fix)]
    if not (missing or extra or roles or unexplained or report.gaps):
        return []
    return [
        f"{mutation.sql}\nmissing {missing}, beyond {extra}, {roles}, bare {unexplained}\n{told(report)}"
    ]
