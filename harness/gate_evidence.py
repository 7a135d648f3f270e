"""What the predecessor's evidence must say before it counts: verified first, then read, then compared."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from harness.artefacts import CHECKLIST
from harness.attestation import dsse, statement
from harness.attestation.keys import PublicKey
from harness.attestation.statement import Statement, TestResult
from harness.attestation.strict_json import Malformed
from harness.environment import Waiver
from harness.environment.gate import Gate
from harness.errors import Problem
from harness.invocation import FOREIGN
from harness.items import ITEMS
from harness.release import Release
from harness.secrets import redact

__all__ = ["SKEW_SECONDS", "Demands", "Sealed", "judge_evidence", "signed_by_runners", "some"]

SKEW_SECONDS = 60
"""By how much the clocks of two machines may differ."""
_NAMED = 4  # tests, before the rest is only counted
_WHERE = "gate.evidence"


# the same bytes are looked at by whoever chooses, names, judges and compares them: read once
@lru_cache(maxsize=8)
def _unsealed(raw: bytes) -> dsse.Envelope:
    return dsse.unseal(raw)


@lru_cache(maxsize=8)
def _stated(raw: bytes) -> Statement[TestResult]:
    return statement.read(_unsealed(raw).payload, TestResult, statement.TEST_RESULT)


@dataclass(frozen=True)
class Sealed:
    """Evidence as it lies somewhere: its bytes, read once, and those of its report.

    ``run`` is the run that it is called by where it lies; empty where it may be called anything.
    """

    where: str
    raw: bytes
    report: bytes | None
    run: str = ""

    @property
    def envelope(self) -> dsse.Envelope:
        """What was signed; nobody has looked at the signatures yet.

        Raises:
            Malformed: when it is no envelope.
        """
        return _unsealed(self.raw)

    @property
    def statement(self) -> Statement[TestResult]:
        """What it says; to be believed only once :func:`judge_evidence` has verified the envelope.

        Raises:
            Malformed: when it is no test result.
        """
        return _stated(self.raw)

    @property
    def digest(self) -> str:
        """sha256 of the bytes, in hexadecimal."""
        return hashlib.sha256(self.raw).hexdigest()

    @property
    def report_digest(self) -> str:
        """The same of the report; empty without one."""
        return hashlib.sha256(self.report).hexdigest() if self.report is not None else ""


@dataclass(frozen=True)
class Demands:
    """What ``environment`` demands of evidence from ``predecessor``."""

    environment: str
    predecessor: str
    gate: Gate
    expected: Collection[str]
    configuration: Mapping[str, str]
    waivers: Collection[Waiver] = ()
    """Those of the predecessor's environment file, in this tree."""
    items: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Test: the checklist items that it proves."""


def judge_evidence(
    sealed: Sealed | None, demands: Demands, release: Release, now: dt.datetime
) -> tuple[Statement[TestResult] | None, list[Problem]]:
    """The statement, once it is verified and read, and every reason why it does not count."""
    again = f"run the checklists there: pytest --env {demands.predecessor} features/"
    if sealed is None:
        what = f"there is no evidence of a run in {demands.predecessor}"
        return None, [Problem(_WHERE, what, again)]
    try:
        envelope = sealed.envelope
        if problem := _signed(envelope, demands, sealed):
            return None, [problem]
        if envelope.payload_type != dsse.IN_TOTO:
            raise Malformed(f"is of type {envelope.payload_type[:80]!r}, not {dsse.IN_TOTO}")
        found = sealed.statement
    except Malformed as malformed:
        return None, [Problem(_WHERE, f"{sealed.where} {malformed}", again)]
    reasons = [
        Problem(_WHERE, what, hint or again)
        for what, hint in (
            *_origin(found.predicate, demands, sealed.run),
            *_outcome(found.predicate),
            *_tests(found.predicate, demands.expected),
            *_waivers(found.predicate, demands, now),
            *_waived_tests(found.predicate, demands),
            *_subjects(found, release),
            *_made_from(found.predicate, demands, release),
            *_age(found.predicate, demands.gate, now),
            *_report(found.predicate, sealed),
        )
    ]
    return found, reasons


def signed_by_runners(envelope: dsse.Envelope, gate: Gate) -> bool:
    """Whether as many runners as the gate asks for have signed ``envelope``."""
    pinned = {PublicKey.parse(runner.key) for runner in gate.runners}
    return bool(pinned) and len(envelope.signed_by(pinned)) >= gate.signatures


def _signed(envelope: dsse.Envelope, demands: Demands, sealed: Sealed) -> Problem | None:
    pinned = {PublicKey.parse(runner.key) for runner in demands.gate.runners}
    file = f"environments/{demands.environment}.yaml"
    if not pinned:
        what = f"{demands.environment} accepts no runner key: nobody may speak for {demands.predecessor}"
        hint = f"harness keys show --env {demands.predecessor}; pin it under gate.runners in {file}"
        return Problem("gate.runners", what, hint)
    signers = envelope.signed_by(pinned)
    if len(signers) >= demands.gate.signatures:
        return None
    if not envelope.signatures:
        return Problem(_WHERE, f"{sealed.where} is not signed", "unsigned evidence is none")
    what = (
        f"{sealed.where} is signed by no key that {demands.environment} accepts for {demands.predecessor}"
    )
    if signers:
        what = f"{sealed.where} is signed by {len(signers)} of {demands.gate.signatures} keys"
    hint = f"if the key is right, pin it by a reviewed commit: gate.runners in {file}"
    return Problem(_WHERE, what, hint)


Found = Iterator[tuple[str, str]]


def _origin(result: TestResult, demands: Demands, run: str) -> Found:
    if run and result.run != run:
        yield (
            f"it is the evidence of run {result.run}, copied under the name {run}",
            "remove the copy; it is no newer than what it was copied from",
        )
    if result.environment != demands.predecessor:
        yield (
            (
                f"it speaks of {result.environment}; a release comes to {demands.environment} from "
                f"{demands.predecessor}"
            ),
            "",
        )
    for setting in result.overrides:
        if setting.startswith(FOREIGN):
            bent = setting.removeprefix(FOREIGN)
            yield f"the run was not that of this tree alone: {bent}", "run it without that"
            continue
        yield f"the run replaced a setting of the environment file: --set {setting}", "run it without --set"


def _outcome(result: TestResult) -> Found:
    if result.mode != "deploy":
        yield f"the run was {result.mode}: it deployed nothing, so it proves no deployment", ""
    if result.result == "FAILED":
        yield f"the run did not pass: {some(result.reasons) or 'no reason given'}", "mend it, run it again"
    elif result.reasons:
        yield f"the run says {result.result} and names reasons against it: {some(result.reasons)}", ""
    if (result.result == "WARNED") != bool(result.warned_tests):
        yield f"the run says {result.result}, with {len(result.warned_tests)} waived tests", ""


def _tests(result: TestResult, wanted: Collection[str]) -> Found:
    if result.failed_tests:
        yield f"tests failed: {some(result.failed_tests)}", "mend what failed, run it again"
    if result.skipped_tests:
        yield f"tests were skipped or left out: {some(result.skipped_tests)}", "run all of them"
    every = [*result.passed_tests, *result.warned_tests, *result.failed_tests, *result.skipped_tests]
    if twice := [name for name, count in Counter(every).items() if count > 1]:
        yield f"tests are counted twice: {some(twice)}", ""
    if absent := sorted(set(wanted) - set(result.expected_tests)):
        yield f"the run did not expect what the checklists demand: {some(absent)}", ""
    if strange := sorted(set(result.expected_tests) - set(wanted)):
        yield f"the run expected what stands in no checklist: {some(strange)}", ""
    passed = {*result.passed_tests, *result.warned_tests}
    if unproven := sorted(
        set(result.expected_tests) - passed - {*result.failed_tests, *result.skipped_tests}
    ):
        yield f"tests that were expected did not pass: {some(unproven)}", ""
    if beyond := sorted(passed - set(result.expected_tests)):
        yield f"tests passed that were not expected: {some(beyond)}", ""


def _waivers(result: TestResult, demands: Demands, now: dt.datetime) -> Found:
    """The waivers must be those of the predecessor's file, and none may have run out."""
    today = now.astimezone(dt.UTC).date()
    again = "mend it, or renew the waiver, and run the checklists again"
    for waiver in result.waivers:
        if dt.date.fromisoformat(waiver.expires) < today:
            yield f"the waiver of {waiver.check} by {waiver.owner} ran out on {waiver.expires}", again
    file = f"environments/{demands.predecessor}.yaml"
    wanted = Counter(
        (w.check, redact(w.where or ""), w.owner, redact(w.reason), w.expires.isoformat())
        for w in demands.waivers
    )
    seen = Counter((w.check, w.where, w.owner, w.reason, w.expires) for w in result.waivers)
    for check, _, owner, _, expires in sorted(seen - wanted):
        yield f"the waiver of {check} by {owner} until {expires} does not stand in {file}", ""
    for check, _, owner, _, expires in sorted(wanted - seen):
        yield f"the run does not name the waiver of {check} by {owner} until {expires}, of {file}", ""


def _waived_tests(result: TestResult, demands: Demands) -> Found:
    """Every waived test by a waiver that names it; one of a checklist item, only what proves that item."""
    covered = {test for waiver in result.waivers for test in waiver.tests}
    if uncovered := sorted(set(result.warned_tests) - covered):
        yield f"tests are waived, and there is no waiver of theirs: {some(uncovered)}", ""
    if beyond := sorted(covered - set(result.warned_tests)):
        yield f"a waiver covers tests that are not counted as waived: {some(beyond)}", ""
    for waiver in result.waivers:
        of_others = [t for t in waiver.tests if waiver.check not in demands.items.get(t, ())]
        if waiver.check in ITEMS and of_others:
            yield f"the waiver of {waiver.check} covers what is none of it: {some(of_others)}", ""


def _subjects(found: Statement[TestResult], release: Release) -> Found:
    listed = [(subject.name, subject.digest.text) for subject in found.subject]
    seen, wanted = dict(listed), release.subjects
    again = "build the release and run the checklists from the same commit"
    if len(seen) != len(listed):
        yield "it names a subject twice", ""
    for name in sorted(wanted.keys() - seen.keys()):
        yield f"it is not about {name}, which the release holds", again
    for name in sorted(seen.keys() - wanted.keys()):
        yield f"it is about {name}, which the release does not hold", again
    for name in sorted(wanted.keys() & seen.keys()):
        if wanted[name] != seen[name]:
            yield f"it is about another {name}: {_short(seen[name])}, not {_short(wanted[name])}", again
    if [name for name, _ in listed] != sorted(seen):
        yield "its subjects are not in the order in which a runner writes them", ""
    if found.predicate.release != release.digest:
        yield f"it is about another release: {_short(found.predicate.release)}", again


def _made_from(result: TestResult, demands: Demands, release: Release) -> Found:
    if result.dirty:
        yield "the run was made from a tree with uncommitted changes", "commit them, run it again"
    for name in sorted(set(result.undeployed) - set(demands.gate.undeployed_before)):
        what = f"{demands.predecessor} did not deploy {name}, so it was not tested there"
        yield (
            what,
            f"gate.undeployed_before in environments/{demands.environment}.yaml lists what is accepted",
        )
    wanted = {**demands.configuration, CHECKLIST: release.artefacts.get(CHECKLIST, "none")}
    listed = [(entry.name, entry.digest.text) for entry in result.configuration]
    seen = dict(listed)
    if len(seen) != len(listed):
        yield "it names a configuration twice", ""
    for name in sorted({*wanted, *seen}):
        if wanted.get(name) != seen.get(name):
            is_what = _short(seen[name]) if name in seen else "not named"
            yield f"it was run with another {name} than this tree has ({is_what})", ""


def _age(result: TestResult, gate: Gate, now: dt.datetime) -> Found:
    started, finished = (dt.datetime.fromisoformat(t) for t in (result.started_on, result.finished_on))
    if started > finished:
        yield "the run ended before it began", ""
    if finished > now + dt.timedelta(seconds=SKEW_SECONDS):
        ahead = int((finished - now).total_seconds())
        yield f"it is from the future, by {ahead} s", "set the clocks of both machines (chrony, ntp)"
    if started < now - dt.timedelta(hours=gate.maximum_age_hours):
        hours = (now - started).total_seconds() / 3600
        yield f"it is {hours:.1f} hours old; at most {gate.maximum_age_hours} are accepted", ""


def _report(result: TestResult, sealed: Sealed) -> Found:
    if sealed.report is None:
        yield "the report that it was signed with is missing", "put it beside the evidence, or run it again"
    elif f"sha256:{sealed.report_digest}" != result.report_digest.text:
        yield "the report is not the one that it was signed with: somebody changed it", ""


def some(names: Sequence[str]) -> str:
    """The first of ``names``, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return "; ".join(names[:_NAMED]) + more


def _short(digest: str) -> str:
    kind, separator, value = digest.partition(":")
    return f"{kind}:{value[:12]}" if separator else digest
