"""The evidence of a run: what it saw, as a signed in-toto statement, and the report that a person reads."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.artefacts import CHECKLIST, IMAGE
from harness.attestation import dsse, statement
from harness.attestation.keys import Signer
from harness.attestation.statement import (
    Configuration,
    Digest,
    Statement,
    Subject,
    TestResult,
    WaiverRecord,
)
from harness.environment import Environment, Waiver
from harness.environment.loader import environment_path
from harness.evidence import Verdict
from harness.expectations import test_name
from harness.ledger import Decision, Ledger
from harness.release import Release
from harness.secrets import redact
from harness.store import Store

__all__ = ["RunFacts", "test_result", "write_evidence"]

_LONGEST = 2000  # characters of a reason


@dataclass(frozen=True)
class RunFacts:
    """What a statement needs beside the ledger."""

    environment: Environment
    release: Release
    root: Path
    content: bytes
    """The environment file that configured the run, as it was loaded."""
    overrides: Sequence[str] = ()
    arguments: Sequence[str] = ()
    """What pytest was told."""

    @property
    def configuration(self) -> dict[str, str]:
        """Name: digest of everything that configured the run."""
        shown = environment_path(self.environment.environment)
        configuration = {shown: f"sha256:{hashlib.sha256(self.content).hexdigest()}"}
        if CHECKLIST in self.release.artefacts:
            configuration[CHECKLIST] = self.release.artefacts[CHECKLIST]
        return configuration


def test_result(ledger: Ledger, facts: RunFacts, report: bytes) -> Statement[TestResult]:
    """What ``ledger`` saw, as a statement about the artefacts of the release."""
    tests = _tests(ledger, facts.root)
    ended = ledger.finished or dt.datetime.now(dt.UTC)
    predicate = TestResult(
        result=_result(ledger, tests),
        configuration=tuple(
            Configuration(name=name, digest=Digest.of(digest))
            for name, digest in sorted(facts.configuration.items())
        ),
        passed_tests=tests["passed"],
        warned_tests=tests["warned"],
        failed_tests=tests["failed"],
        environment=ledger.environment,
        run=ledger.run_id,
        mode="verify-only" if ledger.verify_only else "deploy",
        by=redact(ledger.by) or "unknown",
        started_on=statement.stamp(ledger.started),
        finished_on=statement.stamp(ended),
        expected_tests=tuple(sorted({name for names in tests.values() for name in names})),
        skipped_tests=tests["skipped"],
        reasons=tuple(redact(reason)[:_LONGEST] for reason in ledger.reasons),
        waivers=tuple(_waiver(waiver, ledger, facts.root) for waiver in facts.environment.waivers),
        overrides=tuple(redact(setting)[:_LONGEST] for setting in facts.overrides),
        arguments=tuple(redact(argument)[:_LONGEST] for argument in facts.arguments),
        dirty=facts.release.source.dirty,
        undeployed=(IMAGE,) if _without_image(facts) else (),
        release=facts.release.digest,
        report_digest=Digest(sha256=hashlib.sha256(report).hexdigest()),
    )
    subjects = tuple(
        Subject(name=name, digest=Digest.of(digest))
        for name, digest in sorted(facts.release.subjects.items())
    )
    return Statement[TestResult](
        subject=subjects, predicate_type=statement.TEST_RESULT, predicate=predicate
    )


def write_evidence(ledger: Ledger, facts: RunFacts, report: bytes, signer: Signer, store: Store) -> str:
    """Sign what ``ledger`` saw and keep it with its report and its release; returns where it is.

    Raises:
        HarnessError: when the store cannot be written to.
    """
    base = f"runs/{ledger.environment}/{ledger.run_id}"
    release = json.dumps(facts.release.as_dict(), indent=2).encode() + b"\n"
    store.put(f"{base}.html", report)
    store.put(f"{base}.release.json", release)
    store.put(f"{base}.environment.yaml", facts.content)
    payload = statement.write(test_result(ledger, facts, report))
    store.put(f"{base}.intoto.json", dsse.seal(payload, [signer]))  # last: what it names is there
    return store.where(f"{base}.intoto.json")


def _waiver(waiver: Waiver, ledger: Ledger, root: Path) -> WaiverRecord:
    """``waiver``, with every test that passed by it and every finding that it accepts."""
    covered = [s for s in ledger.scenarios if waiver in [one.waiver for one in s.waived]]
    seen = [one for s in covered if s.verdict is Verdict.WAIVED for one in s.waived if one.waiver == waiver]
    return WaiverRecord(
        check=waiver.check,
        owner=waiver.owner,
        reason=redact(waiver.reason),
        expires=waiver.expires.isoformat(),
        where=redact(waiver.where or ""),
        tests=tuple(sorted(_name(root, s.where, s.title) for s in covered if s.verdict is Verdict.WAIVED)),
        findings=tuple(dict.fromkeys(f"{one.check}: {one.seen}"[:_LONGEST] for one in seen)),
    )


def _without_image(facts: RunFacts) -> bool:
    return facts.environment.gateway.provider == "local" and bool(facts.release.image)


def _tests(ledger: Ledger, root: Path) -> dict[str, tuple[str, ...]]:
    """Every test that applies here, by how it ended."""
    ends: dict[str, set[str]] = {"passed": set(), "warned": set(), "failed": set(), "skipped": set()}
    for record in ledger.scenarios:
        kind = {Verdict.HOLDS: "passed", Verdict.WAIVED: "warned"}.get(record.verdict, "failed")
        ends[kind].add(_name(root, record.where, record.title))
    for entry in (*ledger.left_out, *ledger.drills_left_out):
        ends["skipped"].add(_name(root, entry.where, entry.name))
    return {kind: tuple(sorted(names)) for kind, names in ends.items()}


def _name(root: Path, where: str, title: str) -> str:
    return redact(test_name(root, Path.cwd() / where.rpartition(":")[0], title))


def _result(ledger: Ledger, tests: Mapping[str, Sequence[str]]) -> Literal["PASSED", "WARNED", "FAILED"]:
    """Any skip, any failure, any reason against it: FAILED."""
    if ledger.decision is Decision.NO_GO or tests["failed"] or tests["skipped"]:
        return "FAILED"
    return "WARNED" if tests["warned"] else "PASSED"
