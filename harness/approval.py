"""Approvals: a person has read the report, and signs for the release with a key of their own.

An approval names the promotion (so that it counts for one environment, one release and one piece of
evidence) and is about the digests of the report and of the evidence: one changed byte in either voids it.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.dsse import Envelope as Dsse

from harness.attestation import dsse, statement, strict_json
from harness.attestation.keys import PublicKey, Signer
from harness.attestation.sshsig import raw_ed25519, ssh_sign, ssh_verifies
from harness.attestation.statement import Approval, Digest, Statement, Subject, TestResult
from harness.attestation.strict_json import Malformed
from harness.environment import Environment
from harness.environment.gate import Approver
from harness.errors import Problem
from harness.gate_evidence import SKEW_SECONDS, Sealed
from harness.release import Release

__all__ = ["approve", "judge_approvals", "public_bytes"]

_WHERE = "gate.approvals"
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


def public_bytes(approver: Approver) -> bytes:
    """What tells the keys of two approvers apart, however they are written."""
    if approver.key.startswith("ed25519:"):
        return PublicKey.parse(approver.key).raw
    return raw_ed25519(approver.key) or approver.key.partition(" ")[2].encode()


def judge_approvals(
    environment: Environment,
    approvals: Sequence[bytes],
    promotion: str,
    release: Release,
    sealed: Sealed,
    result: Statement[TestResult] | None,
    now: dt.datetime,
) -> tuple[list[str], list[Problem]]:
    """Who has validly approved, and every reason why that is not enough."""
    gate = environment.gate
    assert gate.approvals is not None  # noqa: S101 - for the type checker
    case = _Case(environment, promotion, release, sealed, result, now)
    names: list[str] = []
    keys: set[bytes] = set()
    reasons: list[Problem] = []
    for number, raw in enumerate(approvals, 1):
        try:
            approver, approval = _opened(raw, gate.approvals.approvers)
            case.check(approver, approval)
        except Malformed as malformed:
            hint = "an approval is made with: harness approve"
            reasons.append(Problem(_WHERE, f"approval {number} {malformed}", hint))
            continue
        if public_bytes(approver) not in keys and approver.name not in names:
            keys.add(public_bytes(approver))
            names.append(approver.name)
    if len(names) < gate.approvals.count:
        allowed = ", ".join(approver.name for approver in gate.approvals.approvers)
        what = f"{len(names)} of {gate.approvals.count} approvals (allowed: {allowed})"
        hint = f"read the decision page, then: harness approve --env {environment.environment}"
        reasons.insert(0, Problem(_WHERE, what, hint))
    return names, reasons if len(names) < gate.approvals.count else []


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
        if public_bytes(approver) in runners:
            raise Malformed(f"by {approver.name} is signed by a key that also speaks for the run")
        by = self.result.predicate.by.partition(" ")[0] if self.result else ""
        if by and by in (approver.name, *approver.accounts):
            raise Malformed(f"by {approver.name}, who ran it: somebody else has to approve")

    def _when(self, approver: Approver, approval: Approval) -> None:
        try:
            when = dt.datetime.fromisoformat(approval.approved_on)
        except ValueError:
            raise Malformed(f"by {approver.name} names a time that does not exist") from None
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
