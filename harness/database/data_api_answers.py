"""What answers of a Data API come to."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx

from harness.database.catalogue import Relation
from harness.database.findings import Found
from harness.database.session import Outcome

__all__ = [
    "READ_ONLY",
    "answered_by_database",
    "asked",
    "outcome",
    "route",
    "rows",
    "shown",
    "token_accepted",
    "unknown",
]

READ_ONLY = "25006"
"""It would have written, and may not in a read-only transaction."""
_UNKNOWN = ("42P01", "PGRST106", "PGRST200", "PGRST202", "PGRST203", "PGRST205")
"""It knows no such relation, schema or function; or cannot tell which one is meant."""


def asked(answer: httpx.Response) -> str:
    """The request that was answered."""
    request = answer.request
    return f"{request.method} {request.url.raw_path.decode()[:120]}"


def outcome(answer: httpx.Response) -> Outcome:
    """The answer as the database's own: PostgREST says the SQLSTATE."""
    if answer.is_success:
        return Outcome(len(rows(answer)))
    said = _document(answer)
    said = said if isinstance(said, dict) else {}
    code = str(said.get("code") or f"HTTP {answer.status_code}")
    return Outcome(sqlstate=code, message=str(said.get("message") or f"HTTP {answer.status_code}")[:200])


def route(relation: Relation) -> str:
    """Where the Data API has a table or view."""
    return f"/rest/v1/{quote(relation.name, safe='')}"


def rows(answer: httpx.Response) -> list[Any]:
    """The rows that came; none, when none did."""
    found = _document(answer) if answer.status_code == 200 else []
    return found if isinstance(found, list) else []


def unknown(answer: httpx.Response) -> bool:
    """Whether the Data API does not know what it was asked for: that denies nothing."""
    return answer.is_client_error and outcome(answer).sqlstate in _UNKNOWN


def answered_by_database(answer: httpx.Response) -> bool:
    """Whether the request came as far as the database, whatever that said of it."""
    said = _document(answer)
    code = str(said.get("code") or "") if isinstance(said, dict) else ""
    return len(code) == len("42501") and code.isalnum()


def shown(answer: httpx.Response, mark: str) -> str:
    """Of an answer, the row that holds ``mark``; nobody else's."""
    found = _document(answer)
    for row in found if isinstance(found, list) else [found]:
        if mark in str(row):
            return str(dict(list(row.items())[:3]) if isinstance(row, dict) else row)[:160]
    return mark


def _document(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return answer.text


def token_accepted(title: str, answer: httpx.Response) -> Found:
    """Somebody was served with a token that is none."""
    return Found(
        "token-accepted",
        "Data API",
        f"it serves whoever brings an {title}",
        "a token that has expired, or that others have signed, is refused",
        "-- give PostgREST the project's own jwt-secret alone; let nothing before it drop Authorization",
        ("authenticated",),
        proofs=(f"{title}: {asked(answer)}: HTTP {answer.status_code}",),
    )
