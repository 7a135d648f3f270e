"""What a run saw, from which its decision follows: may this release be promoted?"""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass, field
from typing import Any

from harness.conductor import ComponentRecord
from harness.evidence import Evidence, Verdict
from harness.waivers import Waived

__all__ = ["Decision", "Ledger", "NotRun", "ScenarioRecord"]


_NAMED = 5  # of what was left out, before the rest is only counted


class Decision(enum.StrEnum):
    """What a run is worth."""

    GO = "GO"
    """Every check that applies holds: the release may be promoted."""
    VERIFIED = "VERIFIED"
    """A verify-only run in which everything that was asked holds; it is no ground for a promotion."""
    NO_GO = "NO-GO"


@dataclass(frozen=True)
class NotRun:
    """A scenario, or an item, that was not run, and why. It counts as nothing."""

    name: str
    reason: str
    item: str = ""
    where: str = ""
    feature: str = ""


@dataclass(frozen=True)
class ScenarioRecord:
    """How one scenario ended. ``row`` is the Examples row of an outline."""

    feature: str
    rule: str
    name: str
    row: str
    items: tuple[str, ...]
    where: str
    verdict: Verdict
    message: str
    evidence: tuple[Evidence, ...]
    seconds: float
    waived: tuple[Waived, ...] = ()
    """Every finding that a waiver accepts."""

    @property
    def title(self) -> str:
        """The scenario as people say it."""
        return f"{self.name} [{self.row}]" if self.row else self.name

    @property
    def label(self) -> str:
        """Its checklist items before its title."""
        return f"{', '.join(self.items)} {self.title}" if self.items else self.title


@dataclass
class Ledger:
    """One run, written down as it goes."""

    environment: str
    run_id: str
    verify_only: bool
    started: dt.datetime
    finished: dt.datetime | None = None
    components: list[ComponentRecord] = field(default_factory=list)
    scenarios: list[ScenarioRecord] = field(default_factory=list)
    not_applicable: list[NotRun] = field(default_factory=list)
    left_out: list[NotRun] = field(default_factory=list)
    """Applies here and was not run: deselected, skipped, stopped early. One is enough for a no-go."""
    drills_left_out: list[NotRun] = field(default_factory=list)
    """Drills under --verify-only, which must disturb nothing."""
    troubles: list[str] = field(default_factory=list)
    """Anything else that forbids a pass: errors in collection, an interrupt, an expired waiver."""
    waived: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    """What was not as the tree says: replaced settings, foreign plug-ins. Opens no gate."""
    by: str = ""
    """Who ran it."""
    revision: str = ""
    """The commit that it ran from."""

    @property
    def reasons(self) -> list[str]:
        """Why this run is not a pass; empty when it is one."""
        reasons = list(self.troubles)
        reasons += [f"{c.component}: {c.summary}" for c in self.components if not c.verdict.passes]
        reasons += [f"{s.label}: {s.verdict}" for s in self.scenarios if not s.verdict.passes]
        reasons += [
            f"{n.name} applies here and was not run: {n.reason} ({n.where})" for n in self.left_out[:_NAMED]
        ]
        if len(self.left_out) > _NAMED:
            reasons.append(f"{len(self.left_out) - _NAMED} more that apply here were not run")
        if not self.scenarios and not reasons:
            reasons.append("nothing was asked")
        return reasons

    @property
    def decision(self) -> Decision:
        """Go, no-go, or verified."""
        if self.reasons:
            return Decision.NO_GO
        return Decision.VERIFIED if self.verify_only else Decision.GO

    @property
    def seconds(self) -> float:
        """Wall clock of the run so far."""
        return ((self.finished or dt.datetime.now(dt.UTC)) - self.started).total_seconds()

    @property
    def release(self) -> dict[str, str]:
        """Component: digest of its declared state."""
        return {record.component: record.digest for record in self.components if record.digest}

    def count(self, verdict: Verdict) -> int:
        """Scenarios that ended with ``verdict``."""
        return sum(scenario.verdict is verdict for scenario in self.scenarios)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form of the run, for `.harness/<environment>/runs/`."""
        return {
            "schema": 1,
            "environment": self.environment,
            "run": self.run_id,
            "mode": "verify-only" if self.verify_only else "deploy",
            "by": self.by,
            "revision": self.revision,
            "started": self.started.isoformat(timespec="seconds"),
            "seconds": round(self.seconds, 2),
            "decision": str(self.decision),
            "reasons": self.reasons,
            "troubles": self.troubles,
            "release": self.release,
            "components": [_component(record) for record in self.components],
            "scenarios": [_scenario(record) for record in self.scenarios],
            "not_applicable": [vars(entry) for entry in self.not_applicable],
            "left_out": [vars(entry) for entry in self.left_out],
            "drills_left_out": [vars(entry) for entry in self.drills_left_out],
            "waived": self.waived,
            "overrides": self.overrides,
        }


def _component(record: ComponentRecord) -> dict[str, Any]:
    return {**vars(record), "verdict": str(record.verdict), "seconds": round(record.seconds, 2)}


def _scenario(record: ScenarioRecord) -> dict[str, Any]:
    return {
        **vars(record),
        "verdict": str(record.verdict),
        "seconds": round(record.seconds, 3),
        "evidence": [evidence.as_dict() for evidence in record.evidence],
        "waived": [str(waived) for waived in record.waived],
    }
