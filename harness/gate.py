"""May this release enter this environment? A pure function: what is known goes in, every reason against it
comes out. Deny by default: the gate opens only when there is no reason left.

harness.gate_evidence    what the predecessor's evidence must say
harness.approval         whose approvals count
harness.promotion        gathers what is known, and uses a decision once
"""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from harness.approval import judge_approvals
from harness.artefacts import IMAGE, TREE
from harness.attestation.statement import Statement, TestResult
from harness.attestation.strict_json import Malformed
from harness.environment import Environment, Waiver
from harness.environment.gate import Freeze
from harness.errors import Problem
from harness.gate_evidence import SKEW_SECONDS, Demands, Sealed, judge_evidence, some
from harness.release import Release

__all__ = [
    "SKEW_SECONDS",
    "Decision",
    "Known",
    "approved_level",
    "decide",
    "promotion_id",
    "required_artefacts",
]

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True)
class Known:
    """Everything that a decision follows from.

    ``expected`` are the tests that the predecessor must have passed, read from the feature files;
    ``configuration`` is name: digest of the files that must have configured it; ``used`` is promotion: when
    and by whom it was used. ``later`` is what signed runs about the release say that ended after the
    evidence, newest first; ``waivers`` are those of the predecessor's file; ``items`` is test: the
    checklist items that it proves.
    """

    environment: Environment
    release: Release
    evidence: Sealed | None
    approvals: Sequence[bytes | str]
    expected: Collection[str]
    configuration: Mapping[str, str]
    used: Mapping[str, str]
    now: dt.datetime
    later: Sequence[TestResult] = ()
    waivers: Collection[Waiver] = ()
    items: Mapping[str, Collection[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """What the gate says. ``statement`` is the evidence, once its signature was verified."""

    environment: str
    promotion: str
    reasons: tuple[Problem, ...]
    approved_by: tuple[str, ...] = ()
    statement: Statement[TestResult] | None = field(default=None, repr=False)

    @property
    def open(self) -> bool:
        """Whether the release may enter."""
        return not self.reasons


def promotion_id(environment: str, release: Release, evidence: Sealed | None) -> str:
    """Names one use of one run's evidence about one release: 32 hexadecimal digits.

    The run is named by what is signed: the bytes around it (white space, key ids, further signatures, the
    alphabet of base64) may be changed by anybody. Of what cannot be read, it names the bytes: that opens
    nothing.
    """
    try:
        result = evidence.statement.predicate if evidence else None
        proof = f"{result.environment}\0{result.run}" if result else ""
    except Malformed:
        proof = evidence.digest if evidence else ""
    return hashlib.sha256(f"{environment}\0{release.digest}\0{proof}".encode()).hexdigest()[:32]


def approved_level(count: int) -> str:
    """What a signed decision says when ``count`` people have approved."""
    return f"APPROVED_BY_{count}"


def required_artefacts(environment: Environment) -> set[str]:
    """The artefacts without which ``environment`` cannot be deployed."""
    return {*TREE} | ({IMAGE} if environment.gateway.provider != "local" else set())


def decide(known: Known) -> Decision:
    """Whether the release may enter, and every reason why not, each with what to do."""
    environment = known.environment
    promotion = promotion_id(environment.environment, known.release, known.evidence)
    reasons = [*_frozen(environment.gate.freezes, known.now)]
    if environment.predecessor is None:
        return Decision(environment.environment, promotion, tuple(reasons))
    reasons += _release(environment, known.release)
    if promotion in known.used:
        what = f"promotion {promotion} was used already: {known.used[promotion]}"
        hint = f"evidence counts once; run the checklists of {environment.predecessor} again"
        reasons.append(Problem("gate.promotion", what, hint))
    demands = Demands(
        environment.environment,
        environment.predecessor,
        environment.gate,
        known.expected,
        known.configuration,
        known.waivers,
        known.items,
    )
    statement, problems = judge_evidence(known.evidence, demands, known.release, known.now)
    reasons += [*problems, *_later(known.later, environment.predecessor)]
    approved_by: list[str] = []
    if environment.gate.approvals and known.evidence:
        approved_by, problems = judge_approvals(
            environment, known.approvals, promotion, known.release, known.evidence, statement, known.now
        )
        reasons += problems
    return Decision(
        environment.environment, promotion, tuple(dict.fromkeys(reasons)), tuple(approved_by), statement
    )


def _release(environment: Environment, release: Release) -> list[Problem]:
    name = environment.environment
    reasons = [
        Problem("gate.release", f"the release has no {artefact}: {release.missing.get(artefact, 'none')}")
        for artefact in sorted(required_artefacts(environment) - set(release.artefacts))
    ]
    if release.source.dirty:
        changed = ", ".join(release.source.changed[:5])
        what = f"the release was made from a tree with uncommitted changes ({changed})"
        reasons.append(Problem("gate.release", what, f"commit them: {name} runs only what a commit names"))
    if not release.source.commit:
        what = "the release was made outside a repository: no commit names it"
        reasons.append(Problem("gate.release", what, "make it in a git checkout"))
    return reasons


def _later(later: Sequence[TestResult], predecessor: str) -> list[Problem]:
    """What has happened since: the newest deployment counts, and the newest look at it."""
    deployed = [result for result in later if result.mode == "deploy"][:1]
    looked = list(itertools.takewhile(lambda result: result.mode != "deploy", later))[:1]
    again = f"mend it, run the checklists again: pytest --env {predecessor} features/"
    reasons = []
    for result in (*deployed, *looked):
        against = [*result.reasons, *result.failed_tests]
        # a look that left out its drills, and nothing else, is FAILED without a reason
        if result.result == "FAILED" and (against or result.mode == "deploy"):
            what = f"a later run in {predecessor} ({result.run}, {result.mode}) did not pass: "
            reasons.append(Problem("gate.evidence", what + (some(against) or "no reason given"), again))
    return reasons


def _frozen(freezes: Sequence[Freeze], now: dt.datetime) -> list[Problem]:
    today = _DAYS[now.astimezone(dt.UTC).weekday()]
    reasons = []
    for freeze in freezes:
        begun = freeze.starts is None or now >= freeze.starts
        over = freeze.ends is not None and now >= freeze.ends
        if begun and not over and (not freeze.days or today in freeze.days):
            what = f"nothing is let in {_until(freeze, now)}: {freeze.reason}"
            reasons.append(Problem("gate.freezes", what, "wait, or change the freeze by a reviewed commit"))
    return reasons


def _until(freeze: Freeze, now: dt.datetime) -> str:
    """When it is over, in UTC: at its end, or already with the day; nothing ends one without either."""
    ends = freeze.ends.astimezone(dt.UTC) if freeze.ends else None
    if 0 < len(freeze.days) < len(_DAYS):
        days = ", ".join(day for day in _DAYS if day in freeze.days)
        day = now.astimezone(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        frozen = [day + dt.timedelta(days=ahead) for ahead in range(8)]
        thaws = next(moment for moment in frozen[1:] if _DAYS[moment.weekday()] not in freeze.days)
        over = min(thaws, ends) if ends else thaws
        return f"until {over:%Y-%m-%d %H:%M} UTC (on {days})"
    if ends is None:
        return "until the freeze is lifted (it has no end)"
    return f"until {ends:%Y-%m-%d %H:%M} UTC"
