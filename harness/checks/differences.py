"""How two schemas differ, object by object."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.providers.database import Scope

__all__ = ["Different", "changed_lines", "differing_objects", "own_lines"]

_MOST = 20
_PLATFORMS = re.compile(r" SCHEMA public\b|^ALTER DEFAULT PRIVILEGES FOR ROLE supabase_")
_NAME = r'(?:"(?:[^"]|"")*"|[^\s("])+'
_TITLE = re.compile(rf"^((?:relation )?\w+ {_NAME}(?:\.{_NAME})*(?:\([^)]*\))?)")
"""The kind of an object, its name with its schema, and the arguments of a function."""


@dataclass(frozen=True)
class Different:
    """One object as it was ``before`` and is ``after``; empty where it is not there."""

    title: str
    before: str
    after: str


def differing_objects(before: Sequence[str], after: Sequence[str]) -> list[Different]:
    """What differs between two lists of :func:`harness.checks.catalog.catalog_lines`; at most twenty."""
    old, new = _by_title(before, after), _by_title(after, before)
    titles = sorted({*old, *new})
    return [Different(t, _short(old.get(t, "")), _short(new.get(t, ""))) for t in titles[:_MOST]]


def _by_title(lines: Sequence[str], others: Sequence[str]) -> dict[str, str]:
    there = set(others)
    return {_title(line): line for line in lines if line not in there}


def _title(line: str) -> str:
    match = _TITLE.match(line)
    return match.group(1) if match else line[:60]


def _short(line: str) -> str:
    return line if len(line) <= 200 else f"{line[:199]}…"


def own_lines(lines: Sequence[str], scope: Scope) -> list[str]:
    """Lines of a schema as SQL, without what whoever manages the database has made of `public` itself."""
    return [line for line in lines if not (scope.managed and _PLATFORMS.search(line))]


def changed_lines(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """The lines that only one of two texts has, with - and + before them."""
    diff = difflib.unified_diff(before, after, lineterm="", n=0)
    return [line for line in diff if line[:1] in "+-" and line[:3] not in ("+++", "---")]
