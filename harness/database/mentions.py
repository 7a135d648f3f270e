"""Which tables a text of SQL speaks of: qualified or not, quoted or not, read without a parser."""

from __future__ import annotations

import re

from harness.database.catalogue import Catalogue, quoted

__all__ = ["spoken_of", "tables_in"]

_NAME = r'(?:"(?:[^"]|"")+"|\w+)'
_QUALIFIED = re.compile(rf"({_NAME})\s*\.\s*({_NAME})")
_READ = re.compile(rf"\b(?:from|join|update|into|using)\s+(?:only\s+)?({_NAME})(?!\s*[.(])", re.I)


def spoken_of(name: str, text: str) -> bool:
    """Whether ``text`` speaks of a column or table; its name may hold signs of any kind."""
    return bool(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text))


def tables_in(catalogue: Catalogue, text: str) -> set[str]:
    """Titles of the tables that ``text`` names; an unqualified name may be one of any schema."""
    found = {
        f"{quoted(_plain(schema))}.{quoted(_plain(name))}" for schema, name in _QUALIFIED.findall(text)
    }
    names = {_plain(name) for name in _READ.findall(text)}
    return found | {r.title for r in catalogue.relations if r.name in names}


def _plain(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()
