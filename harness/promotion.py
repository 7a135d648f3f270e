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
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.attestation import dsse, statement, strict_json
from harness.attestation.keys import Signer
from harness.attestation.statement import Digest, Input, Policy, Statement, Subject, Summary, Verifier
from harness.attestation.strict_json import Malformed
from harness.environment import Environment
from harness.environment.loader import load
from harness.errors import HarnessError, Problem
from harness.expectations import expected_tests, items_of_tests
from harness.gate import Decision, Known, approved_level, decide, promotion_id
from harness.gate_evidence import Sealed
from harness.gherkin import read_features
from harness.provenance import who
from harness.release import Release
from harness.store import LARGEST_REPORT, AlreadyThere, Store, read_plain

__all__ = [
    "RELEASE_FILE",
    "Promotion",
    "current_release",
    "environment_file",
    "newest_about",
    "not_this_tree",
    "unended",
]

RELEASE_FILE = "release.json"
_LOOKED_AT = 200  # runs, before the search for evidence gives up
_LONGEST_RUN = 60.0  # minutes; as long as the pipeline's jobs may take
_VERIFIER = "https://chat.example/harness/gate"


def environment_file(root: Path, name: str) -> tuple[str, str]:
    """How the environment file is called in evidence, and its digest."""
    shown = f"environments/{name}.yaml"
    return shown, f"sha256:{hashlib.sha256((root / shown).read_bytes()).hexdigest()}"


def current_release(root: Path, file: Path | None = None) -> Release:
    """The release that is in hand: that of ``file``, or the one that the tree makes.

    Without ``file``, a release.json of this very tree is used for what the tree alone does not tell: the
    digest of the gateway image.

    Raises:
        HarnessError: when ``file`` is no release.
    """
    if file is not None:
        return Release.read(file)
    tree = Release.build(root)
    try:
        found = Release.read(root / RELEASE_FILE)
    except HarnessError:  # none, or of another version: `harness release build` makes a new one
        return tree
    return found if not not_this_tree(found, tree) else tree


def not_this_tree(release: Release, tree: Release) -> list[str]:
    """How the tree differs from ``release``, but for the image, which no tree tells."""
    imaged = replace(tree, artefacts={**tree.artefacts, **_image(release)})
    return release.differences(imaged)


def _image(release: Release) -> dict[str, str]:
    return {name: digest for name, digest in release.artefacts.items() if name == "gateway-image"}


def newest_about(store: Store, environment: str, release: Release) -> Sealed | None:
    """The newest evidence of a deploying run of ``release``; else the newest of all, if any.

    What is read here is not verified yet: it only chooses what the gate will look at. Evidence that cannot
    be read is chosen too, since the gate must name it rather than pass over it.
    """
    names = [n for n in store.names(f"runs/{environment}/") if n.endswith(".intoto.json")]
    newest: Sealed | None = None
    for name in reversed(names[-_LOOKED_AT:]):
        sealed = _sealed(store, name)
        about = _about(sealed.raw)
        if about in (None, (release.digest, "deploy")):
            return sealed
        newest = newest or sealed
    return newest


def _sealed(store: Store, name: str) -> Sealed:
    report = name.removesuffix(".intoto.json") + ".html"
    return Sealed(store.where(name), store.get(name) or b"", store.get(report))


def _about(raw: bytes) -> tuple[str, str] | None:
    """The release and the mode that unverified evidence claims; None when it cannot be read."""
    try:
        found = statement.read(dsse.unseal(raw).payload, statement.TestResult, statement.TEST_RESULT)
    except Malformed:
        return None
    return found.predicate.release, found.predicate.mode


@dataclass
class Promotion:
    """One attempt to let ``release`` into ``environment``."""

    environment: Environment
    root: Path
    store: Store
    release: Release
    evidence_file: Path | None = None
    approval_files: Sequence[Path] = ()
    _decision: Decision | None = None
    _evidence: Sealed | None = None

    def decide(self, now: dt.datetime | None = None) -> Decision:
        """Ask the gate, with what is known now.

        Raises:
            HarnessError: when the store or a file cannot be read.
        """
        now = now or dt.datetime.now(dt.UTC)
        predecessor = self.environment.predecessor
        sealed = self._find(predecessor) if predecessor else None
        known = Known(
            environment=self.environment,
            release=self.release,
            evidence=sealed,
            approvals=(),
            expected=(),
            configuration={},
            used=self._used(),
            now=now,
        )
        known = self._demanding(known, predecessor) if predecessor else known
        promotion = promotion_id(self.environment.environment, self.release, sealed)
        decision = decide(replace(known, approvals=self._approvals(promotion)))
        self._evidence = sealed
        self._decision = replace(decision, reasons=(*self._tree(), *decision.reasons))
        return self._decision

    @property
    def evidence(self) -> Sealed | None:
        """The evidence that the last decision looked at."""
        return self._evidence

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
        self.write_summary(decision, signer)
        record = {"promotion": decision.promotion, "release": self.release.digest, "by": who()}
        record |= {"begun": statement.stamp(dt.datetime.now(dt.UTC))}
        try:
            self.store.put(self._name(decision), json.dumps(record, indent=2).encode())
        except AlreadyThere:
            raise HarnessError(
                f"{self.environment.environment}: promotion {decision.promotion} has just been begun by "
                "somebody else; wait for it, then look: harness history"
            ) from None

    def finish(self, outcome: str) -> None:
        """Write down how the run that used the promotion ended."""
        if self._decision is None or self.environment.predecessor is None:
            return
        ended = {"outcome": outcome, "ended": statement.stamp(dt.datetime.now(dt.UTC))}
        name = self._name(self._decision).removesuffix(".json") + ".end.json"
        self.store.put(name, json.dumps(ended, indent=2).encode())

    def write_summary(self, decision: Decision, signer: Signer) -> str:
        """Write the decision as a signed SLSA verification summary; returns where."""
        now = dt.datetime.now(dt.UTC)
        name, digest = environment_file(self.root, self.environment.environment)
        inputs = []
        if self._evidence:
            inputs.append(Input(uri=self._evidence.where, digest=Digest(sha256=self._evidence.digest)))
        levels = [f"PROMOTED_TO_{self.environment.environment.upper().replace('-', '_')}"]
        levels += [approved_level(count + 1) for count in range(len(decision.approved_by))]
        predicate = Summary(
            verifier=Verifier(id=_VERIFIER),
            time_verified=statement.stamp(now),
            resource_uri=f"environment:{self.environment.environment}",
            policy=Policy(uri=name, digest=Digest.of(digest)),
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

    def _name(self, decision: Decision) -> str:
        return f"promotions/{self.environment.environment}/{decision.promotion}.json"

    def _tree(self) -> list[Problem]:
        """The checklists and what is deployed come from this tree: it must be the release."""
        if self.environment.predecessor is None:
            return []
        differences = not_this_tree(self.release, Release.build(self.root))
        hint = "check out the release's commit, or build the release again: harness release build"
        return [Problem("gate.release", f"this tree is not the release: {d}", hint) for d in differences]

    def _find(self, predecessor: str) -> Sealed | None:
        if self.evidence_file is None:
            return newest_about(self.store, predecessor, self.release)
        raw = read_plain(self.evidence_file)
        if raw is None:
            raise HarnessError(f"{self.evidence_file}: there is no such file")
        name = self.evidence_file.name.removesuffix(".intoto.json") + ".html"
        report = read_plain(self.evidence_file.with_name(name), LARGEST_REPORT)
        return Sealed(str(self.evidence_file), raw, report)

    def _demanding(self, known: Known, predecessor: str) -> Known:
        """``known``, with what the predecessor must have passed, and what must have configured it."""
        before = load(predecessor, self.root).environment
        features = read_features(self.root / "features")
        expected = expected_tests(features, predecessor, self.root, drills=before.drills)
        return replace(
            known,
            expected=set(expected),
            configuration=dict([environment_file(self.root, predecessor)]),
            waivers=before.waivers,
            items=items_of_tests(features, self.root),
        )

    def _used(self) -> dict[str, str]:
        prefix = f"promotions/{self.environment.environment}/"
        used = {}
        for name in self.store.names(prefix):
            promotion, _, rest = name.removeprefix(prefix).partition(".")
            if rest == "json":
                used[promotion] = self._told(name)
        return used

    def _told(self, name: str) -> str:
        begun = _record(self.store, name)
        ended = _record(self.store, name.removesuffix(".json") + ".end.json")
        how = f"it ended {ended['ended']}: {ended['outcome']}" if ended else "it never ended: it was killed"
        return f"begun {begun.get('begun', '?')} by {begun.get('by', '?')}; {how}"

    def _approvals(self, promotion: str) -> list[bytes]:
        found = [read_plain(path) for path in self.approval_files]
        names = self.store.names(f"approvals/{self.environment.environment}/{promotion}/")
        return [raw for raw in (*found, *(self.store.get(name) for name in names)) if raw is not None]


def unended(store: Store, environment: str, now: dt.datetime) -> dict[str, str]:
    """Promotions that were begun and have not ended: what they have deployed is proven by nothing yet."""
    names = store.names(f"promotions/{environment}/")
    begun = {name.rpartition("/")[2].removesuffix(".json"): name for name in names if ".end." not in name}
    ended = {name.rpartition("/")[2].removesuffix(".end.json") for name in names if ".end." in name}
    return {
        promotion: _not_ended(_record(store, name), now)
        for promotion, name in begun.items()
        if promotion not in ended
    }


def _not_ended(record: dict[str, str], now: dt.datetime) -> str:
    """Nobody can see from here whether it runs still; but no run takes longer than a pipeline lets it."""
    begun, by = record.get("begun", "?"), record.get("by", "?")
    try:
        minutes = (now - dt.datetime.fromisoformat(begun)).total_seconds() / 60
    except (ValueError, TypeError):
        minutes = _LONGEST_RUN
    if minutes < _LONGEST_RUN:
        ago = f"{max(0, int(minutes))} minutes ago"
        return f"begun {begun} by {by}, {ago}, and not ended yet: it is running, or was killed"
    return f"begun {begun} by {by}, and never ended: was it killed?"


def _record(store: Store, name: str) -> dict[str, str]:
    """A record of ours; what cannot be read tells nothing, and its being there is what counts."""
    try:
        found = strict_json.loads(store.get(name) or b"{}")
    except Malformed:
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}
