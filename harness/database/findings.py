"""One shape for everything that is found, whoever found it: reading, trying, or Supabase's advisors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from harness.evidence import Finding
from harness.secrets import redact

__all__ = ["Found", "Gap", "Report", "Severity", "merged"]


class Severity(StrEnum):
    """How bad: ``error`` crosses a boundary between users, ``warning`` weakens one."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Found:
    """One mistake. ``rule`` and ``object`` together identify it; ``proofs`` are what was done and seen.

    ``object`` names the culprit: ``public.notes``, ``policy "x" on public.notes``, ``bucket files``.
    ``table`` is the relation that suffers, where that is another thing.
    """

    rule: str
    object: str
    what: str
    expected: str
    fix: str
    roles: tuple[str, ...] = ()
    table: str = ""
    proofs: tuple[str, ...] = ()
    severity: Severity = Severity.ERROR
    source: str = ""
    """file:line of the migration that last defined the object, where that is known."""

    @property
    def key(self) -> tuple[str, str]:
        """What makes two findings one."""
        return self.rule, self.object

    def finding(self) -> Finding:
        """As evidence of a check."""
        observed = self.what + (f" ({'; '.join(self.proofs[:3])})" if self.proofs else "")
        roles = f" as {', '.join(self.roles)}" if self.roles else ""
        place = f" [{self.source}]" if self.source else ""
        return Finding(self.expected, observed, f"{self.object}{roles}: {self.rule}{place}", self.fix)


@dataclass(frozen=True)
class Gap:
    """Something that could not be proven: never a pass. ``reason`` says why, ``hint`` what to do."""

    object: str
    reason: str
    hint: str = ""

    def __str__(self) -> str:
        return redact(
            f"{self.object}: not proven: {self.reason}" + (f" ({self.hint})" if self.hint else "")
        )


@dataclass
class Report:
    """What a check of a database ended with."""

    found: list[Found] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    tables: int = 0
    probes: int = 0
    writes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What was tried in one way alone, and why: it is counted in no other."""

    @property
    def holds(self) -> bool:
        """Whether nothing was found, and everything was proven."""
        return not self.found and not self.gaps


def merged(found: Iterable[Found]) -> list[Found]:
    """Each mistake once, with the roles and proofs of all its sightings, in a stable order."""
    kept: dict[tuple[str, str], Found] = {}
    for one in found:
        if (other := kept.get(one.key)) is None:
            kept[one.key] = one
            continue
        kept[one.key] = replace(
            other, roles=_union(other.roles, one.roles), proofs=_union(other.proofs, one.proofs)
        )
    return sorted(kept.values(), key=lambda one: (one.severity, one.object, one.rule))


def _union(first: Sequence[str], second: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *second)))
