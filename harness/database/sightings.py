"""What probes have seen: that something happened which should not have, or did not which should have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.database.findings import Found
from harness.database.oracle import Actor, Subject
from harness.database.session import Outcome

__all__ = ["Sighting", "broken"]


@dataclass(frozen=True)
class Sighting:
    """Something that should not have happened, or should have: ``row`` is what it happened to."""

    kind: str
    """foreign-read, foreign-update, foreign-delete, owner-reassigned, forged-insert, trigger-escalates,
    missing-access, policy-error."""
    subject: Subject
    actor: Actor
    command: str
    row: dict[str, Any]
    did: str
    saw: str
    new_row: dict[str, Any] | None = None
    variant: str = ""
    blame: tuple[Found, ...] | None = None
    """Who is to blame, where that had to be found out at once."""


def broken(subject: Subject, actor: Actor, command: str, row: dict[str, Any], outcome: Outcome) -> Sighting:
    """Something broke where a policy was to decide."""
    saw = f"{outcome.message} [{outcome.sqlstate}]"
    return Sighting("policy-error", subject, actor, command, row, f"{command} on {subject.title}", saw)
