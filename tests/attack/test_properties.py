"""Parsing and verifying, for all inputs: never a crash, never a pass that was not signed."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.attestation import dsse, strict_json
from harness.attestation.keys import PublicKey
from harness.attestation.strict_json import Malformed
from harness.gate_evidence import Sealed
from tests.attack.stand import EVE, REPORT, RUNNER, Stand

quiet = settings(
    deadline=None,
    database=None,
    max_examples=80,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)

halves = st.text(st.characters(categories=["Cs"]), min_size=1, max_size=3).filter(
    lambda text: "\ufffd" in text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
)


@given(values)
@quiet
def test_what_is_written_is_read_again(value: object) -> None:
    assert strict_json.loads(strict_json.dumps(value)) == value


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@quiet
def test_any_bytes_are_parsed_as_json_does_or_refused(raw: bytes) -> None:
    try:
        found = strict_json.loads(raw)
    except Malformed:
        return
    assert found == json.loads(raw)


@given(st.text(st.characters(codec=None, categories=["Cs", "L", "P"]), max_size=20), st.booleans())
@quiet
def test_text_is_read_when_utf8_can_write_it(text: str, escaped: bool) -> None:
    """Half of a pair of surrogates is refused, however it is written; a pair is the character it makes."""
    raw = json.dumps({text: [text]}, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    meant = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    try:
        found = strict_json.loads(raw)
    except Malformed:
        assert any("\ud800" <= character <= "\udfff" for character in text)
        return
    assert strict_json.loads(strict_json.dumps(found)) == found == {meant: [meant]}


@given(halves)
@quiet
def test_half_characters_anywhere_are_denied_and_never_a_crash(honest: Stand, text: str) -> None:
    """In evidence that nobody signed, in signed evidence, and in an approval."""
    payload = honest.payload()
    payload["predicate"].update(by=text, reasons=[text])
    raw = json.dumps(payload).encode()
    for signers in ([], [RUNNER]):
        assert not honest.carrying(dsse.seal(raw, signers)).decide().open
    envelope = json.dumps({"payload": text, "payloadType": dsse.IN_TOTO, "sshSignature": text}).encode()
    assert not replace(honest, approvals=[envelope]).decide().open
    assert not honest.carrying(envelope).decide().open


@given(st.floats(allow_nan=True))
@quiet
def test_no_float_is_read(number: float) -> None:
    text = json.dumps({"a": number})
    try:
        strict_json.loads(text.encode())
    except Malformed as malformed:
        assert "only whole numbers" in str(malformed)
    else:
        raise AssertionError(text)


@given(st.binary(max_size=300), st.text(max_size=40))
@quiet
def test_a_sealed_payload_is_what_was_signed(payload: bytes, kind: str) -> None:
    envelope = dsse.unseal(dsse.seal(payload, [RUNNER], kind))
    assert (envelope.payload, envelope.payload_type) == (payload, kind)
    assert envelope.signed_by([RUNNER.public, EVE.public]) == {RUNNER.public}


@given(st.binary(max_size=60), st.binary(max_size=60), st.text(max_size=9), st.text(max_size=9))
@quiet
def test_a_signature_fits_one_payload_and_one_type(
    mine: bytes, other: bytes, kind: str, other_kind: str
) -> None:
    signed = dsse.unseal(dsse.seal(mine, [RUNNER], kind))
    moved = replace(signed, payload=other, payload_type=other_kind)
    assert bool(moved.signed_by([RUNNER.public])) == ((mine, kind) == (other, other_kind))


@given(st.lists(st.binary(max_size=80), max_size=4), st.binary(max_size=60))
@quiet
def test_nothing_but_a_signature_verifies(signatures: list[bytes], payload: bytes) -> None:
    envelope = dsse.Envelope(dsse.IN_TOTO, payload, tuple(signatures))
    assert not envelope.signed_by([RUNNER.public, EVE.public])


@given(st.data())
@quiet
def test_changing_any_byte_of_the_evidence_closes_the_gate(honest: Stand, data: st.DataObject) -> None:
    assert honest.evidence is not None
    raw = bytearray(honest.evidence.raw)
    at = data.draw(st.integers(0, len(raw) - 2))  # the last one is a newline
    raw[at] ^= data.draw(st.integers(1, 255))
    assert not replace(honest, evidence=Sealed("x", bytes(raw), REPORT)).decide().open


@given(st.binary(max_size=400))
@quiet
def test_any_bytes_as_evidence_or_approval_are_denied_and_never_a_crash(honest: Stand, raw: bytes) -> None:
    assert not honest.carrying(raw).decide().open
    assert not replace(honest, approvals=[raw]).decide().open


@given(values, st.sampled_from(["subject", "predicate", "predicateType", "_type"]))
@quiet
def test_any_value_in_the_place_of_a_part_is_denied(honest: Stand, value: object, part: str) -> None:
    stand = honest.ran(lambda payload: payload.update({part: value}))
    assert not replace(stand, approvals=[]).approved().decide().open


@given(st.sampled_from(["release", "environment", "mode", "result"]), st.text(max_size=30))
@quiet
def test_any_text_in_the_place_of_a_claim_is_denied(honest: Stand, part: str, text: str) -> None:
    stand = honest.ran(lambda payload: payload["predicate"].update({part: text}))
    assert not replace(stand, approvals=[]).approved().decide().open


@given(st.text(max_size=60))
@quiet
def test_a_public_key_has_one_spelling(text: str) -> None:
    try:
        found = PublicKey.parse(text)
    except ValueError:
        return
    assert found.text == text
