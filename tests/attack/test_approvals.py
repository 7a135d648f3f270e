"""Attacks on approvals: each leaves the gate closed, and says why the approval does not count."""

from __future__ import annotations

import base64
import datetime as dt
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from harness.approval import approve
from harness.attestation import dsse, strict_json
from harness.attestation.dsse import unseal
from harness.environment.gate import Approvals, Approver
from tests.attack.stand import DANA, EVE, NOW, REPORT, RUNNER, Stand, ssh_key

MISSING = "0 of 1 approvals (allowed: dana, sam) (read the decision page"


def alone(stand: Stand, *approvals: bytes) -> Stand:
    return replace(stand, approvals=approvals)


def allowing(stand: Stand, count: int, *approvers: Approver) -> Stand:
    return stand.gate(approvals=Approvals(count=count, approvers=approvers))


def test_nobody_has_approved(honest: Stand) -> None:
    alone(honest).is_denied_only_for(MISSING)


def test_an_approver_who_is_not_allowed(honest: Stand) -> None:
    stand = alone(honest, honest.approval("eve", EVE))
    stand.is_denied(MISSING, "approval 1 is signed by none of the allowed approvers")


def test_a_name_that_is_not_that_of_the_key(honest: Stand) -> None:
    stand = alone(honest, honest.approval("sam", DANA))
    stand.is_denied("approval 1 is signed by dana, and says that it is sam's")


def test_the_approver_is_the_runner_by_key(honest: Stand) -> None:
    stand = allowing(honest, 1, Approver(name="dana", key=RUNNER.public.text))
    alone(stand, honest.approval("dana", RUNNER)).is_denied("by a key that also speaks for the run")


@pytest.mark.parametrize(
    "by",
    [
        "dana on laptop",
        "dana-at-forge on laptop",
        "Dana on laptop",
        "DANA-AT-FORGE (run 7)",
        "\uff44ana on laptop",  # a d of full width
        "dana",
        "dana and somebody else",
    ],
)
def test_the_approver_is_who_ran_it_in_any_spelling(honest: Stand, by: str) -> None:
    stand = alone(honest.ran(lambda p: p["predicate"].update(by=by))).approved()
    stand.is_denied("approval 1 by dana, who ran it: somebody else has to approve")


def test_an_approval_for_another_environment(honest: Stand) -> None:
    raw = approve("staging", honest.promotion, honest.release, honest.evidence, "dana", NOW, DANA)
    alone(honest, raw).is_denied("approval 1 by dana is for staging")


def test_an_approval_of_another_promotion(honest: Stand) -> None:
    raw = approve("production", "0" * 32, honest.release, honest.evidence, "dana", NOW, DANA)
    alone(honest, raw).is_denied(f"by dana is for another promotion: {'0' * 32}")


def test_an_approval_of_yesterdays_evidence(honest: Stand) -> None:
    other = honest.ran(lambda p: p["predicate"].update(run="20260303T110000Z-old"))
    alone(honest, other.approval()).is_denied("by dana is for another promotion")


def test_one_changed_byte_in_the_report_voids_it(honest: Stand) -> None:
    stand = honest.carrying(honest.evidence.raw, REPORT + b" ")
    stand.is_denied("approval 1 by dana is about another report or other evidence")


def test_one_changed_byte_in_the_evidence_voids_it(honest: Stand) -> None:
    """A space after the envelope changes nothing of what is signed; the approval is void all the same."""
    stand = honest.carrying(honest.evidence.raw + b" ")
    stand.is_denied("0 of 1 approvals", "approval 1 by dana is about another report or other evidence")


def test_an_approval_from_the_future(honest: Stand) -> None:
    stand = alone(honest).approved(at=NOW + dt.timedelta(minutes=2))
    stand.is_denied("approval 1 by dana is from the future")


def test_an_approval_that_is_older_than_what_it_approves(honest: Stand) -> None:
    stand = alone(honest).approved(at=NOW - dt.timedelta(hours=2))
    stand.is_denied("approval 1 by dana is older than the evidence")


def test_evidence_in_the_place_of_an_approval(honest: Stand) -> None:
    raw = dsse.seal(unseal(honest.evidence.raw).payload, [DANA])
    alone(honest, raw).is_denied("is of type 'https://in-toto.io/attestation/test-result/v0.1'")


def test_an_approval_of_another_type(honest: Stand) -> None:
    raw = dsse.seal(unseal(honest.approvals[0]).payload, [DANA], "text/plain")
    alone(honest, raw).is_denied("approval 1 is of type 'text/plain'")


def test_a_truncated_approval(honest: Stand) -> None:
    alone(honest, honest.approvals[0][:-9]).is_denied("approval 1 is not JSON")


def test_two_people_in_one_envelope(honest: Stand) -> None:
    raw = dsse.seal(unseal(honest.approvals[0]).payload, [DANA, EVE])
    stand = allowing(
        honest, 1, Approver(name="dana", key=DANA.public.text), Approver(name="eve", key=EVE.public.text)
    )
    alone(stand, raw).is_denied("is signed by 2 of the allowed approvers; it must be one")


def test_one_approval_twice_is_one(honest: Stand) -> None:
    stand = allowing(
        honest, 2, Approver(name="dana", key=DANA.public.text), Approver(name="eve", key=EVE.public.text)
    )
    alone(stand, honest.approvals[0], honest.approval()).is_denied_only_for("1 of 2 approvals")


def test_an_account_without_a_name(honest: Stand) -> None:
    """In a container, an account may be called "uid 1000"."""
    stand = allowing(honest, 1, Approver(name="dana", key=DANA.public.text, accounts=("uid 1000",)))
    ran = alone(stand.ran(lambda p: p["predicate"].update(by="uid 1000 on laptop"))).approved()
    ran.is_denied("approval 1 by dana, who ran it")


@pytest.mark.parametrize("other", [{"name": "Dana"}, {"name": "ada", "accounts": ("DANA",)}])
def test_one_person_with_two_keys_is_one_approver(honest: Stand, other: dict) -> None:
    stand = allowing(
        honest, 2, Approver(name="dana", key=DANA.public.text), Approver(key=EVE.public.text, **other)
    )
    alone(stand, honest.approval(), honest.approval(other["name"], EVE)).is_denied_only_for(
        "1 of 2 approvals"
    )


@pytest.mark.parametrize("month", ["13", "00"])
def test_a_time_that_does_not_exist_is_one_clear_reason(honest: Stand, month: str) -> None:
    stand = alone(honest.ran(lambda p: p["predicate"].update(finishedOn=f"2026-{month}-04T10:00:00Z")))
    stand.approved().is_denied("finishedOn: value error, names a time that does not exist")


def test_half_a_character_is_one_clear_reason(honest: Stand) -> None:
    raw = json.dumps({"payload": "e30=", "payloadType": dsse.IN_TOTO, "sshSignature": "\ud800"})
    alone(honest, raw.encode()).is_denied("approval 1 has half of a pair of surrogates")


def test_one_key_under_two_names_is_one_approver(honest: Stand, ssh: Path) -> None:
    """Once as an ssh key, once as a bare one: the same 32 bytes."""
    public = ssh.with_suffix(".pub").read_text().strip()
    blob = base64.b64decode(public.partition(" ")[2])
    bare = f"ed25519:{base64.b64encode(blob[-32:]).decode()}"
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    from harness.attestation.keys import Signer

    private = Signer(load_ssh_private_key(ssh.read_bytes(), None))
    stand = allowing(honest, 2, Approver(name="one", key=bare), Approver(name="two", key=public))
    one, two = honest.approval("one", private), honest.approval("two", ssh)
    alone(stand, one, two).is_denied_only_for("1 of 2 approvals")


# --- ssh ------------------------------------------


def test_an_ssh_key_that_is_not_allowed(honest: Stand, tmp_path: Path) -> None:
    ssh_key(tmp_path / "mallory")
    raw = honest.approval("sam", tmp_path / "mallory")
    alone(honest, raw).is_denied(MISSING, "approval 1 is signed by none of the allowed approvers")


def test_an_ssh_signature_over_something_else(honest: Stand, ssh: Path) -> None:
    mine = json.loads(honest.approval("sam", ssh))
    other = json.loads(replace(honest, used={}).approval("sam", ssh, NOW))
    mixed = {**mine, "payload": other["payload"]}
    alone(honest, strict_json.dumps(mixed)).is_denied("is signed by none of the allowed approvers")


def test_an_ssh_signature_for_another_purpose(honest: Stand, ssh: Path) -> None:
    """What sam signs for git, or for a file, is no approval."""
    from securesystemslib.dsse import Envelope

    found = json.loads(honest.approval("sam", ssh))
    message = Envelope(base64.b64decode(found["payload"]), dsse.IN_TOTO, {}).pae()
    argv = ["ssh-keygen", "-Y", "sign", "-f", str(ssh), "-n", "git"]
    done = subprocess.run(argv, input=message, capture_output=True, check=True)
    found["sshSignature"] = done.stdout.decode()
    alone(honest, strict_json.dumps(found)).is_denied("is signed by none of the allowed approvers")


@pytest.mark.parametrize("signature", ["", "none", 7, None, "-----BEGIN SSH SIGNATURE-----\nAAAA\n"])
def test_an_ssh_signature_that_is_none(honest: Stand, ssh: Path, signature: object) -> None:
    found = {**json.loads(honest.approval("sam", ssh)), "sshSignature": signature}
    alone(honest, strict_json.dumps(found)).is_denied(MISSING, "approval 1 is ")


def test_an_ssh_approval_with_a_field_more(honest: Stand, ssh: Path) -> None:
    found = {**json.loads(honest.approval("sam", ssh)), "alg": "none"}
    alone(honest, strict_json.dumps(found)).is_denied("is no DSSE envelope")
