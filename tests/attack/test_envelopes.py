"""Attacks on envelopes: who signed, what exactly, and text that two parsers read differently."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.attestation import dsse, strict_json
from harness.attestation.dsse import unseal
from tests.attack.stand import DANA, EVE, LOCAL_RUNNER, RUNNER, Stand

Payload = dict[str, Any]
NO_KEY = "is signed by no key that production accepts for staging"


def predicate(**changes: object) -> Callable[[Payload], None]:
    return lambda payload: payload["predicate"].update(changes)


# --- who signed it, and what exactly ------------------------------------------


def test_no_evidence_at_all(honest: Stand) -> None:
    replace(honest, evidence=None, approvals=()).is_denied("there is no evidence of a run in staging")


def test_unsigned(honest: Stand) -> None:
    honest.ran(signers=[]).is_denied("is not signed")


def test_wrong_key(honest: Stand) -> None:
    honest.ran(signers=[EVE]).is_denied(NO_KEY)


def test_right_key_for_another_environment(honest: Stand) -> None:
    honest.ran(signers=[LOCAL_RUNNER]).is_denied(NO_KEY)


def test_an_approver_cannot_speak_for_a_run(honest: Stand) -> None:
    honest.ran(signers=[DANA]).is_denied(NO_KEY)


def test_no_runner_is_pinned(honest: Stand) -> None:
    honest.gate(runners=()).is_denied("production accepts no runner key")


def test_a_wrong_key_that_claims_the_key_id_of_a_right_one(honest: Stand) -> None:
    envelope = json.loads(honest.ran(signers=[EVE]).evidence.raw)
    envelope["signatures"][0]["keyid"] = RUNNER.public.keyid
    honest.carrying(json.dumps(envelope).encode()).is_denied(NO_KEY)


def test_one_key_under_two_ids_is_one_key(honest: Stand) -> None:
    envelope = json.loads(honest.evidence.raw)
    [signature] = envelope["signatures"]
    envelope["signatures"] = [{**signature, "keyid": "one"}, {**signature, "keyid": "two"}]
    forged = honest.gate(signatures=2).carrying(json.dumps(envelope).encode())
    forged.is_denied("is signed by 1 of 2 keys")


def test_a_swapped_payload_under_the_old_signature(honest: Stand) -> None:
    envelope = json.loads(honest.evidence.raw)
    payload = json.loads(base64.b64decode(envelope["payload"]))
    payload["predicate"]["by"] = "somebody else"
    envelope["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    honest.carrying(json.dumps(envelope).encode()).is_denied(NO_KEY)


def test_one_flipped_bit_in_the_payload(honest: Stand) -> None:
    envelope = json.loads(honest.evidence.raw)
    payload = bytearray(base64.b64decode(envelope["payload"]))
    payload[100] ^= 1
    envelope["payload"] = base64.b64encode(bytes(payload)).decode()
    honest.carrying(json.dumps(envelope).encode()).is_denied(NO_KEY)


def test_another_payload_type_under_the_old_signature(honest: Stand) -> None:
    envelope = {**json.loads(honest.evidence.raw), "payloadType": "text/plain"}
    honest.carrying(json.dumps(envelope).encode()).is_denied(NO_KEY)


def test_another_payload_type_that_was_signed(honest: Stand) -> None:
    honest.ran(payload_type="application/json").is_denied("is of type 'application/json'")


@pytest.mark.parametrize("algorithm", ["none", "HS256", ""])
def test_an_algorithm_in_the_envelope(honest: Stand, algorithm: str) -> None:
    envelope = json.loads(honest.evidence.raw)
    envelope["signatures"] = [{"sig": "", "alg": algorithm}]
    honest.carrying(json.dumps(envelope).encode()).is_denied("has a signature that is not sig and keyid")


def test_none_as_a_signature(honest: Stand) -> None:
    envelope = json.loads(honest.evidence.raw)
    envelope["signatures"] = [{"keyid": RUNNER.public.keyid, "sig": base64.b64encode(b"none").decode()}]
    honest.carrying(json.dumps(envelope).encode()).is_denied(NO_KEY)


def test_an_approval_in_the_place_of_evidence(honest: Stand) -> None:
    raw = dsse.seal(unseal(honest.approvals[0]).payload, [RUNNER])
    honest.carrying(raw).is_denied("is of type 'https://chat.example/attestation/approval/v1'")


def test_a_predicate_type_that_nearly_fits(honest: Stand) -> None:
    def change(payload: Payload) -> None:
        payload["predicateType"] += "x"

    honest.ran(change).is_denied("is of type 'https://in-toto.io/attestation/test-result/v0.1x'")


def test_another_version_of_the_statement(honest: Stand) -> None:
    honest.ran(lambda p: p.update(_type="https://in-toto.io/Statement/v0.1")).is_denied("_type")


# --- text that two parsers read differently ------------------------------------------


def text_of(stand: Stand) -> str:
    return unseal(stand.evidence.raw).payload.decode()


def signed(stand: Stand, text: str) -> Stand:
    return stand.carrying(dsse.seal(text.encode(), [RUNNER]))


def test_duplicate_keys_in_the_payload(honest: Stand) -> None:
    text = text_of(honest).replace('"result":"PASSED"', '"result":"FAILED","result":"PASSED"')
    signed(honest, text).is_denied("has the key 'result' twice")


def test_duplicate_keys_in_the_envelope(honest: Stand) -> None:
    raw = honest.evidence.raw.replace(b'{"payload":', b'{"payloadType":"text/plain","payload":', 1)
    honest.carrying(raw).is_denied("has the key 'payloadType' twice")


@pytest.mark.parametrize("number", ["1.0", "1e3", "NaN", "-Infinity"])
def test_numbers_that_are_no_whole_ones(honest: Stand, number: str) -> None:
    text = text_of(honest).replace('"dirty":false', f'"dirty":{number}')
    signed(honest, text).is_denied(f"has the number {number}")


def test_an_int_where_a_truth_value_belongs(honest: Stand) -> None:
    signed(honest, text_of(honest).replace('"dirty":false', '"dirty":0')).is_denied("predicate.dirty")


def test_an_int_beyond_what_doubles_hold(honest: Stand) -> None:
    text = text_of(honest).replace('"dirty":false', '"dirty":9007199254740993')
    signed(honest, text).is_denied("which parsers read differently")


@pytest.mark.parametrize("cut", [1, 2, 50, 1000])
def test_a_truncated_envelope(honest: Stand, cut: int) -> None:
    honest.carrying(honest.evidence.raw[: -1 - cut]).is_denied("is not JSON")


def test_a_truncated_payload(honest: Stand) -> None:
    signed(honest, text_of(honest)[:-10]).is_denied("is not JSON")


def test_an_empty_file(honest: Stand) -> None:
    honest.carrying(b"").is_denied("is not JSON")


def test_huge_json(honest: Stand) -> None:
    raw = b'{"payload":"' + b"A" * strict_json.LARGEST + b'"}'
    honest.carrying(raw).is_denied("is larger than 4 MiB")


def test_deeply_nested_json(honest: Stand) -> None:
    honest.carrying(b"[" * 100_000).is_denied("is nested more than 16 levels deep")


def test_not_utf8(honest: Stand) -> None:
    honest.carrying(b'{"payload":"\xff"}').is_denied("is not UTF-8")


@pytest.mark.parametrize("value", ["!!!!", "e30", None, 7, "e30=\n"])
def test_a_payload_that_is_no_base64(honest: Stand, value: object) -> None:
    envelope = {**json.loads(honest.evidence.raw), "payload": value}
    honest.carrying(json.dumps(envelope).encode()).is_denied("has a payload that is not base64")


def test_an_unknown_field_beside_the_known_ones(honest: Stand) -> None:
    honest.ran(predicate(approved=True)).is_denied("predicate.approved: extra inputs are not permitted")
