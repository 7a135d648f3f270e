"""Approvals: a person has read the report, and signs for the release with a key of their own.

An approval names the promotion (so that it counts for one environment, one release and one piece of
evidence) and is about the digests of the report and of the evidence: one changed byte in either voids it.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.dsse import Envelope as Dsse

from harness.attestation import dsse, statement, strict_json
from harness.attestation.keys import PublicKey, Signer
from harness.attestation.sshsig import key_bytes, ssh_sign, ssh_verifies
from harness.attestation.statement import Approval, Digest, Statement, Subject, TestResult
from harness.attestation.strict_json import Malformed
from harness.environment import Environment
from harness.environment.gate import Approver, same_name
from harness.errors import Problem
from harness.gate_evidence import SKEW_SECONDS, Sealed
from harness.release import Release

__all__ = ["approve", "judge_approvals"]

_WHERE = "gate.approvals"
_PLACE = re.compile(r" (on \S*|\(run [^()]*\))$")
_SSH_FIELDS = {"payload", "payloadType", "sshSignature"}


def approve(
    environment: str,
    promotion: str,
    release: Release,
    sealed: Sealed,
    approver: str,
    now: dt.datetime,
    key: Signer | Path,
) -> bytes:
    """The signed approval of ``approver``, by an ed25519 key or by the ssh key in a file.

    Raises:
        HarnessError: when ssh-keygen cannot sign.
    """
    predicate = Approval(
        environment=environment,
        promotion=promotion,
        release=release.digest,
        approver=approver,
        approved_on=statement.stamp(now),
    )
    made = Statement[Approval](
        subject=_subjects(sealed), predicate_type=statement.APPROVAL, predicate=predicate
    )
    payload = statement.write(made)
    if isinstance(key, Signer):
        return dsse.seal(payload, [key])
    signature = ssh_sign(Dsse(payload, dsse.IN_TOTO, {}).pae(), key)
    document = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": dsse.IN_TOTO,
        "sshSignature": signature,
    }
    return strict_json.dumps(document) + b"\n"


def judge_approvals(
    environment: Environment,
    approvals: Sequence[bytes | str],
    promotion: str,
    release: Release,
    sealed: Sealed,
    result: Statement[TestResult] | None,
    now: dt.datetime,
) -> tuple[list[str], list[Problem]]:
    """Who has validly approved, and every reason why that is not enough.

    An approval that could not be read is why, as text.
    """
    gate = environment.gate
    assert gate.approvals is not None  # noqa: S101 - for the type checker
    case = _Case(environment, promotion, release, sealed, result, now)
    counted: list[Approver] = []
    reasons: list[Problem] = []
    for number, raw in enumerate(approvals, 1):
        try:
            if isinstance(raw, str):
                raise Malformed(f"cannot be read: {raw}")
            approver, approval = _opened(raw, gate.approvals.approvers)
            case.check(approver, approval)
        except Malformed as malformed:
            hint = "an approval is made with: harness approve"
            reasons.append(Problem(_WHERE, f"approval {number} {malformed}", hint))
            continue
        if not any(_same_person(approver, other) for other in counted):
            counted.append(approver)
    names = [approver.name for approver in counted]
    if len(names) < gate.approvals.count:
        allowed = ", ".join(approver.name for approver in gate.approvals.approvers)
        what = f"{len(names)} of {gate.approvals.count} approvals (allowed: {allowed})"
        hint = f"read the decision page, then: harness approve --env {environment.environment}"
        reasons.insert(0, Problem(_WHERE, what, hint))
    return names, reasons if len(names) < gate.approvals.count else []


def _same_person(one: Approver, other: Approver) -> bool:
    """Whether two entries may be one person: one key under two names, or one name under two keys."""
    return key_bytes(one.key) == key_bytes(other.key) or bool(one.known_as & other.known_as)


def _accounts(by: str) -> set[str]:
    """Who may be meant by ``by``, which is "dana on laptop" or "dana (run 7)" (harness.provenance)."""
    return {same_name(_PLACE.sub("", by)), same_name(by.partition(" ")[0])} - {""}


@dataclass(frozen=True)
class _Case:
    """What an approval must fit."""

    environment: Environment
    promotion: str
    release: Release
    sealed: Sealed
    result: Statement[TestResult] | None
    now: dt.datetime

    def check(self, approver: Approver, found: Statement[Approval]) -> None:
        """Raise Malformed, with what is wrong, unless the approval counts."""
        approval = found.predicate
        if approval.approver != approver.name:
            raise Malformed(f"is signed by {approver.name}, and says that it is {approval.approver}'s")
        if approval.environment != self.environment.environment:
            raise Malformed(f"by {approver.name} is for {approval.environment}")
        if approval.promotion != self.promotion or approval.release != self.release.digest:
            raise Malformed(f"by {approver.name} is for another promotion: {approval.promotion}")
        if found.subject != _subjects(self.sealed):
            raise Malformed(f"by {approver.name} is about another report or other evidence")
        self._who(approver)
        self._when(approver, approval)

    def _who(self, approver: Approver) -> None:
        runners = {PublicKey.parse(runner.key).raw for runner in self.environment.gate.runners}
        if key_bytes(approver.key) in runners:
            raise Malformed(f"by {approver.name} is signed by a key that also speaks for the run")
        if self.result and _accounts(self.result.predicate.by) & approver.known_as:
            raise Malformed(f"by {approver.name}, who ran it: somebody else has to approve")

    def _when(self, approver: Approver, approval: Approval) -> None:
        when = dt.datetime.fromisoformat(approval.approved_on)
        skew = dt.timedelta(seconds=SKEW_SECONDS)
        if when > self.now + skew:
            raise Malformed(f"by {approver.name} is from the future")
        if self.result and when < dt.datetime.fromisoformat(self.result.predicate.finished_on) - skew:
            raise Malformed(f"by {approver.name} is older than the evidence")


def _subjects(sealed: Sealed) -> tuple[Subject, ...]:
    return (
        Subject(name="evidence", digest=Digest(sha256=sealed.digest)),
        Subject(name="report", digest=Digest(sha256=sealed.report_digest or "0" * 64)),
    )


def _opened(raw: bytes, approvers: Sequence[Approver]) -> tuple[Approver, Statement[Approval]]:
    """Who has signed the approval, and what it says."""
    found = strict_json.loads(raw)
    if isinstance(found, dict) and set(found) == _SSH_FIELDS:
        approver, payload = _opened_ssh(found, approvers)
    else:
        envelope = dsse.unseal(raw)
        if envelope.payload_type != dsse.IN_TOTO:
            raise Malformed(f"is of type {envelope.payload_type[:80]!r}, not {dsse.IN_TOTO}")
        pinned = {PublicKey.parse(a.key): a for a in approvers if a.key.startswith("ed25519:")}
        signers = envelope.signed_by(pinned)
        if len(signers) != 1:
            raise Malformed(
                f"is signed by {len(signers) or 'none'} of the allowed approvers; it must be one"
            )
        approver, payload = pinned[next(iter(signers))], envelope.payload
    return approver, statement.read(payload, Approval, statement.APPROVAL)


def _opened_ssh(found: dict[str, object], approvers: Sequence[Approver]) -> tuple[Approver, bytes]:
    signature, text = found["sshSignature"], found["payload"]
    if found["payloadType"] != dsse.IN_TOTO or not isinstance(signature, str) or not isinstance(text, str):
        raise Malformed("is no ssh-signed approval")
    try:
        payload = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("has a payload that is not base64") from None
    message = Dsse(payload, dsse.IN_TOTO, {}).pae()
    for approver in approvers:
        if not approver.key.startswith("ed25519:") and ssh_verifies(signature, message, approver.key):
            return approver, payload
    raise Malformed("is signed by none of the allowed approvers")
