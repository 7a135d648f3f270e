"""Findings that somebody accepts until a day: they pass, they are shown first, and they run out."""

from __future__ import annotations

import datetime as dt
import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.environment import Waiver
from harness.errors import Problem
from harness.evidence import Evidence, Finding, Verdict

__all__ = ["Waived", "Waivers", "told"]


@dataclass(frozen=True)
class Waived:
    """One finding of ``check``, and the waiver that accepts it."""

    check: str
    finding: Finding
    waiver: Waiver

    def __str__(self) -> str:
        return f"{self.check}: {_note(self.waiver)} ({self.seen})"

    @property
    def seen(self) -> str:
        """What is accepted, where."""
        return f"{self.finding.where}: {self.finding.observed}"


class Waivers:
    """The waivers of one environment on the day ``today``."""

    def __init__(self, waivers: Sequence[Waiver], today: dt.date) -> None:
        self._waivers, self._today = tuple(waivers), today
        self.used: list[str] = []
        """A line for each finding that was waived."""

    def unknown(self, names: set[str]) -> list[Problem]:
        """A problem for each waiver of a check that does not exist."""
        problems = []
        for waiver in self._waivers:
            if waiver.check not in names:
                near = difflib.get_close_matches(waiver.check, sorted(names), 1)
                hint = f"did you mean {near[0]}?" if near else "remove it"
                problems.append(Problem("waivers", f"there is no check {waiver.check!r}", hint))
        return problems

    def expired(self) -> list[str]:
        """A trouble for each waiver that has run out: none may linger."""
        return [
            f"the waiver of {waiver.check} by {waiver.owner} ran out on {waiver.expires}: mend or renew it"
            for waiver in self._waivers
            if waiver.expires < self._today
        ]

    def covering(self, evidence: Evidence, items: tuple[str, ...] = ()) -> tuple[Waived, ...]:
        """Every finding of ``evidence`` with its waiver; nothing unless all of them are covered."""
        if evidence.verdict is not Verdict.REFUTED:
            return ()
        names = (evidence.check, *items)
        waivers = [w for w in self._waivers if w.check in names and w.expires >= self._today]
        found = []
        for finding in evidence.findings:
            waiver = next((w for w in waivers if _is_at(w, finding)), None)
            if waiver is None:
                return ()
            found.append(Waived(evidence.check, finding, waiver))
        return tuple(found)

    def apply(self, evidence: Evidence, items: tuple[str, ...] = ()) -> Evidence:
        """``evidence``, turned into ``waived`` when it is refuted and waivers cover all that it found."""
        waived = self.covering(evidence, items)
        if not waived:
            return evidence
        self.used += [line for line in map(str, waived) if line not in self.used]
        notes = "; ".join(dict.fromkeys(_note(one.waiver) for one in waived))
        return replace(evidence, verdict=Verdict.WAIVED, summary=f"{notes} ({evidence.summary})")


def told(waiver: Waiver) -> str:
    """The waiver as it stands in the environment file, in a line."""
    place = f" at {waiver.where}" if waiver.where else ""
    return f"{waiver.check}{place} by {waiver.owner} until {waiver.expires}: {waiver.reason}"


def _is_at(waiver: Waiver, finding: Finding) -> bool:
    """Whether the waiver is about the place of ``finding``; without a place, it is about all of them."""
    if not waiver.where:
        return True
    pattern = ".*".join(map(re.escape, waiver.where.split("*")))
    return re.fullmatch(pattern, finding.where, re.DOTALL) is not None


def _note(waiver: Waiver) -> str:
    return f"waived by {waiver.owner} until {waiver.expires}: {waiver.reason}"
