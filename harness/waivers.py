"""Findings that somebody accepts until a day: they pass, they are shown first, and they run out."""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Sequence
from dataclasses import replace

from harness.environment import Waiver
from harness.errors import Problem
from harness.evidence import Evidence, Verdict

__all__ = ["Waivers"]


class Waivers:
    """The waivers of one environment on the day ``today``."""

    def __init__(self, waivers: Sequence[Waiver], today: dt.date) -> None:
        self._waivers, self._today = tuple(waivers), today
        self.used: list[str] = []

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

    def apply(self, evidence: Evidence, items: tuple[str, ...] = ()) -> Evidence:
        """``evidence``, turned into ``waived`` when it is refuted and an unexpired waiver covers it."""
        if evidence.verdict is not Verdict.REFUTED:
            return evidence
        for waiver in self._waivers:
            if waiver.check in (evidence.check, *items) and waiver.expires >= self._today:
                note = f"waived by {waiver.owner} until {waiver.expires}: {waiver.reason}"
                if f"{evidence.check}: {note}" not in self.used:
                    self.used.append(f"{evidence.check}: {note}")
                return replace(evidence, verdict=Verdict.WAIVED, summary=f"{note} ({evidence.summary})")
        return evidence
