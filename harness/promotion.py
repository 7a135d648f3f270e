"""Promotions: what is known about a release is gathered, the gate is asked, and a decision is used once.

In the store of an environment (harness.store):

    runs/ENV/RUN.intoto.json         signed evidence of a run; beside it RUN.html (report), RUN.release.json
    approvals/ENV/PROMOTION/WHO.json signed approvals
    promotions/ENV/PROMOTION.json    written once, before anything is deployed; PROMOTION.end.json after it
    decisions/ENV/PROMOTION.*.json   what the gate said, signed (SLSA verification summary)
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness import claims
from harness.artefacts import IMAGE
from harness.attestation import dsse, statement
from harness.attestation.keys import Signer
from harness.attestation.statement import Digest, Input, Policy, Statement, Subject, Summary, Verifier
from harness.attestation.strict_json import LARGEST
from harness.environment import Environment
from harness.environment.loader import environment_path, load
from harness.errors import HarnessError, Problem
from harness.expectations import expected_tests, items_of_tests
from harness.gate import Decision, Known, approved_level, decide, promotion_id, required_artefacts
from harness.gate_evidence import Sealed
from harness.gherkin import read_features
from harness.plain_files import NotPlain, read_plain
from harness.policy import policy_problems
from harness.provenance import who
from harness.release import Release
from harness.runs import ENDING, evidence_about, later_runs
from harness.store import LARGEST_REPORT, AlreadyThere, Store

__all__ = [
    "RELEASE_FILE",
    "Promotion",
    "current_release",
    "in_hand",
    "not_this_tree",
]

RELEASE_FILE = "release.json"
_VERIFIER = "https://chat.example/harness/gate"


def current_release(root: Path, file: Path | None = None) -> Release:
    """The release that is in hand: that of ``file``, or the one that the tree makes.

    Without ``file``, a release.json of this very tree is used for what the tree alone does not tell: the
    digest of the gateway image.

    Raises:
        HarnessError: when ``file`` is no release.
    """
    return in_hand(root, file)[0]


def in_hand(root: Path, file: Path | None = None) -> tuple[Release, str]:
    """The same, and why the release.json that lies in the tree is not used, if there is one that is not.

    Raises:
        HarnessError: when ``file`` is no release.
    """
    if file is not None:
        return Release.read(file), ""
    tree, path = Release.build(root), root / RELEASE_FILE
    if not path.exists():
        return tree, ""
    try:
        found = Release.read(path)
    except HarnessError as error:
        return tree, f"{error}: it was passed over"
    if not (differences := not_this_tree(found, tree)):
        return found, ""
    of = found.source.commit[:12] or "no commit"
    return tree, f"{path} is {found.name} of {of}, not this tree, and was passed over: {differences[0]}"


def not_this_tree(release: Release, tree: Release) -> list[str]:
    """How the tree differs from ``release``, but for the image, which no tree tells."""
    artefacts, missing = dict(tree.artefacts), dict(tree.missing)
    if release.image:
        artefacts[IMAGE] = release.image
        missing.pop(IMAGE, None)
    return release.differences(replace(tree, artefacts=artefacts, missing=missing))


@dataclass
class Promotion:
    """One attempt to let ``release`` into ``environment``."""

    environment: Environment
    root: Path
    store: Store
    release: Release
    evidence_file: Path | None = None
    approval_files: Sequence[Path] = ()
    file: bytes | None = None
    """The environment file as it was loaded; without it, as it stands in the tree now."""
    passed_over: str = ""
    """Why a release.json that lies in the tree is not the release (:func:`in_hand`)."""
    _decision: Decision | None = None
    _evidence: Sealed | None = None

    def decide(self, now: dt.datetime | None = None) -> Decision:
        """Ask the gate, with what is known now.

        Raises:
            HarnessError: when the store or the evidence cannot be read.
        """
        known = self._known(now or dt.datetime.now(dt.UTC))
        promotion = promotion_id(self.environment.environment, self.release, known.evidence)
        given, unread = _given(self.approval_files)
        decision = decide(replace(known, approvals=(*given, *self._approvals(promotion))))
        self._evidence = known.evidence
        self._decision = replace(decision, reasons=(*self._tree(), *decision.reasons, *unread))
        return self._decision

    @property
    def evidence(self) -> Sealed | None:
        """The evidence that the last decision looked at."""
        return self._evidence

    @property
    def content(self) -> bytes:
        """The environment file as it was loaded."""
        if self.file is not None:
            return self.file
        return (self.root / environment_path(self.environment.environment)).read_bytes()

    def claim(self, signer: Signer) -> None:
        """Use the promotion: ask again, write the decision, and take its id. Nothing is deployed before.

        Raises:
            HarnessError: when the gate does not open any more, or when somebody else was faster.
        """
        before = self._decision
        decision = self.decide()
        if before is None or decision.promotion != before.promotion or not decision.open:
            what = "; ".join(map(str, decision.reasons)) or "the evidence is not what it was a moment ago"
            raise HarnessError(f"{self.environment.environment}: the gate has closed: {what}")
        if self.environment.predecessor is None:
            return
        self._take(decision)
        try:  # only now: of several at once, only the one that got in has been let in
            self.write_summary(decision, signer)
        except (HarnessError, OSError) as error:
            self.finish(f"{claims.UNTOUCHED}: the decision could not be written")
            raise HarnessError(f"the decision could not be written: {error}") from None

    def finish(self, outcome: str) -> None:
        """Write down how the run that used the promotion ended.

        Raises:
            HarnessError: when the store cannot be written to.
        """
        if self._decision is not None and self.environment.predecessor is not None:
            claims.end(self.store, self.environment.environment, self._decision.promotion, outcome)

    def write_summary(self, decision: Decision, signer: Signer) -> str:
        """Write the decision as a signed SLSA verification summary; returns where."""
        now = dt.datetime.now(dt.UTC)
        digest = hashlib.sha256(self.content).hexdigest()
        inputs = []
        if self._evidence:
            inputs.append(Input(uri=self._evidence.where, digest=Digest(sha256=self._evidence.digest)))
        levels = [f"PROMOTED_TO_{self.environment.environment.upper().replace('-', '_')}"]
        levels += [approved_level(count + 1) for count in range(len(decision.approved_by))]
        predicate = Summary(
            verifier=Verifier(id=_VERIFIER),
            time_verified=statement.stamp(now),
            resource_uri=f"environment:{self.environment.environment}",
            policy=Policy(uri=environment_path(self.environment.environment), digest=Digest(sha256=digest)),
            input_attestations=tuple(inputs),
            verification_result="PASSED" if decision.open else "FAILED",
            verified_levels=tuple(levels) if decision.open else (),
            reasons=tuple(str(reason) for reason in decision.reasons),
        )
        made = Statement[Summary](
            subject=tuple(
                Subject(name=subject, digest=Digest.of(value))
                for subject, value in sorted(self.release.subjects.items())
            ),
            predicate_type=statement.SUMMARY,
            predicate=predicate,
        )
        place = f"decisions/{self.environment.environment}/{decision.promotion}.{now:%Y%m%dT%H%M%S%fZ}.json"
        self.store.put(place, dsse.seal(statement.write(made), [signer]))
        return self.store.where(place)

    # --- inside ----------------------------------------------------------------------------------

    def _known(self, now: dt.datetime) -> Known:
        predecessor = self.environment.predecessor
        sealed = self._find(predecessor) if predecessor else None
        known = Known(
            environment=self.environment,
            release=self.release,
            evidence=sealed,
            approvals=(),
            expected=set(),
            configuration={},
            used=claims.used(self.store, self.environment.environment),
            now=now,
        )
        if predecessor is None:
            return known
        gate = self.environment.gate
        later = later_runs(self.store, predecessor, self.release, gate, sealed) if sealed else ()
        loaded = load(predecessor, self.root)
        features = read_features(self.root / "features")
        return replace(
            known,
            expected=set(
                expected_tests(features, predecessor, self.root, drills=loaded.environment.drills)
            ),
            configuration={environment_path(predecessor): loaded.digest},
            later=later,
            waivers=loaded.environment.waivers,
            items=items_of_tests(features, self.root),
        )

    def _take(self, decision: Decision) -> None:
        """Use the promotion, and say on which run's evidence it stands."""
        record = {"release": self.release.digest, "by": who()}
        if decision.statement is not None:
            result = decision.statement.predicate
            record |= {"from": result.environment, "run": result.run}
        try:
            claims.take(self.store, self.environment.environment, decision.promotion, record)
        except AlreadyThere:
            raise HarnessError(
                f"{self.environment.environment}: promotion {decision.promotion} has just been begun by "
                "somebody else; wait for it, then look: harness history"
            ) from None

    def _tree(self) -> list[Problem]:
        """The checklists, the environment files and what is deployed come from this tree: it must be the
        release, and what decides must be what a commit holds."""
        reasons = policy_problems(self.environment, self.content, self.root)
        if self.environment.predecessor is None:
            return reasons
        before = load(self.environment.predecessor, self.root)
        reasons += policy_problems(before.environment, before.content, self.root)
        hint = "check out the release's commit, or build the release again: harness release build"
        for difference in not_this_tree(self.release, Release.build(self.root)):
            reasons.append(Problem("gate.release", f"this tree is not the release: {difference}", hint))
        lacking = required_artefacts(self.environment) - set(self.release.artefacts)
        if self.passed_over and IMAGE in lacking:  # it may be what would have told
            reasons.append(Problem("gate.release", self.passed_over, "harness release build"))
        return reasons

    def _find(self, predecessor: str) -> Sealed | None:
        if self.evidence_file is None:
            return evidence_about(self.store, predecessor, self.release)
        raw = read_plain(self.evidence_file, LARGEST)
        if raw is None:
            raise HarnessError(f"{self.evidence_file}: there is no such file")
        name = self.evidence_file.name.removesuffix(ENDING) + ".html"
        report = read_plain(self.evidence_file.with_name(name), LARGEST_REPORT)
        return Sealed(str(self.evidence_file), raw, report)

    def _approvals(self, promotion: str) -> list[bytes | str]:
        """Every approval that is kept; of one that cannot be read, why."""
        found: list[bytes | str] = []
        for name in self.store.names(f"approvals/{self.environment.environment}/{promotion}/"):
            try:
                found.append(self.store.get(name) or b"")
            except NotPlain as error:
                found.append(str(error))
        return found


def _given(files: Sequence[Path]) -> tuple[list[bytes], list[Problem]]:
    """The approvals in ``files``, and why some of them cannot be read: who names a file means it."""
    hint = "name the file that harness approve has written, or leave --approval out"
    found, unread = [], []
    for path in files:
        try:
            raw = read_plain(path, LARGEST)
        except NotPlain as error:
            unread.append(Problem("gate.approvals", str(error), hint))
            continue
        if raw is None:
            unread.append(Problem("gate.approvals", f"{path}: there is no such file", hint))
        else:
            found.append(raw)
    return found, unread
