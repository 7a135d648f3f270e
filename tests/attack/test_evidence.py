"""Attacks on evidence: each is denied, and for the right reason."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.artefacts import IMAGE
from harness.attestation import dsse, strict_json
from harness.attestation.dsse import unseal
from harness.provenance import Source
from tests.attack.stand import DANA, EVE, LOCAL_RUNNER, NOW, OTHER_RUNNER, REPORT, RUNNER, Stand

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


# --- what it is about ------------------------------------------


def subjects(change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Payload], None]:
    return lambda payload: change(payload["subject"]) and None


def test_a_subject_is_missing(honest: Stand) -> None:
    stand = honest.ran(subjects(lambda s: s.pop(0)))
    replace(stand, approvals=[]).approved().is_denied_only_for("it is not about checklist")


def test_there_is_a_subject_more(honest: Stand) -> None:
    extra = {"name": "zz-extra", "digest": {"sha256": "0" * 64}}
    stand = honest.ran(subjects(lambda s: s.append(extra)))
    replace(stand, approvals=[]).approved().is_denied_only_for(
        "it is about zz-extra, which the release does not"
    )


def test_subjects_in_another_order(honest: Stand) -> None:
    stand = honest.ran(subjects(lambda s: s.reverse()))
    replace(stand, approvals=[]).approved().is_denied_only_for("its subjects are not in the order")


def test_the_digests_of_two_subjects_are_swapped(honest: Stand) -> None:
    def swap(listed: list[dict[str, Any]]) -> None:
        listed[1]["digest"], listed[2]["digest"] = listed[2]["digest"], listed[1]["digest"]

    honest.ran(subjects(swap)).is_denied("it is about another gateway-image", "another gateway-source")


def test_another_digest(honest: Stand) -> None:
    stand = honest.ran(subjects(lambda s: s[1].update(digest={"sha256": "b" * 64})))
    replace(stand, approvals=[]).approved().is_denied_only_for(
        "it is about another gateway-image: sha256:bbbb"
    )


@pytest.mark.parametrize("digest", [{"sha256": "zz"}, {"md5": "0" * 32}, {"sha256": "A" * 64}])
def test_a_digest_that_is_none(honest: Stand, digest: dict[str, str]) -> None:
    honest.ran(subjects(lambda s: s[1].update(digest=digest))).is_denied("subject.1.digest")


@pytest.mark.parametrize("digest", [{}, {"sha256": "a" * 64, "gitCommit": "b" * 40}])
def test_a_digest_of_several_kinds_or_none(honest: Stand, digest: dict[str, str]) -> None:
    stand = honest.ran(subjects(lambda s: s[1].update(digest=digest)))
    stand.is_denied("has a digest that is not exactly one of sha256 and gitCommit")


def test_a_subject_twice(honest: Stand) -> None:
    honest.ran(subjects(lambda s: s.insert(0, s[0]))).is_denied("it names a subject twice")


def test_evidence_of_another_release(honest: Stand) -> None:
    other = {**honest.release.artefacts, IMAGE: "sha256:" + "c" * 64}
    replace(honest, release=replace(honest.release, artefacts=other)).is_denied(
        "it is about another gateway-image", "it is about another release"
    )


def test_evidence_of_a_dirty_tree(honest: Stand) -> None:
    stand = honest.ran(predicate(dirty=True))
    replace(stand, approvals=[]).approved().is_denied_only_for("made from a tree with uncommitted changes")


def test_a_release_of_a_dirty_tree(honest: Stand) -> None:
    source = Source(honest.release.source.commit, True, ("gateway/app.py",))
    replace(honest, release=replace(honest.release, source=source)).is_denied(
        "the release was made from a tree with uncommitted changes (gateway/app.py)"
    )


def test_a_release_that_no_commit_names(honest: Stand) -> None:
    replace(honest, release=replace(honest.release, source=Source())).is_denied("no commit names it")


def test_a_release_without_an_image(honest: Stand) -> None:
    artefacts = {k: v for k, v in honest.release.artefacts.items() if k != IMAGE}
    release = replace(honest.release, artefacts=artefacts, missing={IMAGE: "not built"})
    replace(honest, release=release).is_denied("the release has no gateway-image: not built")


def test_what_the_predecessor_did_not_deploy_was_not_tested(honest: Stand) -> None:
    honest.ran(predicate(undeployed=["gateway-image"])).is_denied("staging did not deploy gateway-image")


# --- how it went ------------------------------------------


def test_a_failed_run(honest: Stand) -> None:
    honest.ran(predicate(result="FAILED", reasons=["GW-3: refuted"])).is_denied(
        "did not pass: GW-3: refuted"
    )


def test_passed_with_a_skipped_check(honest: Stand) -> None:
    def change(payload: Payload) -> None:
        result = payload["predicate"]
        result["skippedTests"] = [result["passedTests"].pop()]

    stand = replace(honest.ran(change), approvals=[]).approved()
    stand.is_denied_only_for("tests were skipped or left out: features/gateway.feature: It refuses")


def test_passed_with_a_failed_check(honest: Stand) -> None:
    def change(payload: Payload) -> None:
        result = payload["predicate"]
        result["failedTests"] = [result["passedTests"].pop()]

    replace(honest.ran(change), approvals=[]).approved().is_denied_only_for("tests failed: ")


def test_fewer_expected_tests(honest: Stand) -> None:
    def change(payload: Payload) -> None:
        result = payload["predicate"]
        result["passedTests"].pop()
        result["expectedTests"].pop()

    stand = replace(honest.ran(change), approvals=[]).approved()
    stand.is_denied_only_for("the run did not expect what the checklists demand: features/gateway.feature")


def test_no_tests_at_all(honest: Stand) -> None:
    honest.ran(predicate(passedTests=[], expectedTests=[])).is_denied("the run did not expect what")


def test_an_expected_test_that_did_not_pass(honest: Stand) -> None:
    stand = honest.ran(lambda p: p["predicate"]["passedTests"].pop() and None)
    replace(stand, approvals=[]).approved().is_denied_only_for("tests that were expected did not pass")


def test_tests_of_another_feature_set(honest: Stand) -> None:
    stand = honest.ran(predicate(passedTests=["a.feature: A"], expectedTests=["a.feature: A"]))
    stand.is_denied("the run expected what stands in no checklist: a.feature: A")


def test_a_test_counted_twice(honest: Stand) -> None:
    stand = honest.ran(lambda p: p["predicate"]["passedTests"].append(p["predicate"]["passedTests"][0]))
    stand.is_denied("tests are counted twice")


def configured(name: str, digest: str) -> Callable[[Payload], None]:
    def change(payload: Payload) -> None:
        for entry in payload["predicate"]["configuration"]:
            if entry["name"] == name:
                entry["digest"] = {"sha256": digest}

    return change


def test_another_checklist(honest: Stand) -> None:
    honest.ran(configured("checklist", "d" * 64)).is_denied(
        "another checklist than this tree has (sha256:ddd"
    )


def test_another_environment_file(honest: Stand) -> None:
    stand = honest.ran(configured("environments/staging.yaml", "d" * 64))
    stand.is_denied("another environments/staging.yaml than this tree has (sha256:dddd")


def test_the_configuration_is_not_named(honest: Stand) -> None:
    honest.ran(predicate(configuration=[])).is_denied("another checklist than this tree has (not named)")


def test_a_setting_was_replaced(honest: Stand) -> None:
    stand = honest.ran(predicate(overrides=["gateway.limits.user_concurrency=999"]))
    stand.is_denied("--set gateway.limits.user_concurrency=999")


def test_a_run_that_only_verified(honest: Stand) -> None:
    honest.ran(predicate(mode="verify-only")).is_denied("the run was verify-only: it deployed nothing")


def test_evidence_from_an_environment_that_is_no_predecessor(honest: Stand) -> None:
    stand = honest.ran(predicate(environment="local"))
    stand.is_denied("it speaks of local; a release comes to production from staging")


def waived(expires: str) -> Callable[[Payload], None]:
    def change(payload: Payload) -> None:
        result = payload["predicate"]
        result["warnedTests"] = [result["passedTests"].pop()]
        result["result"] = "WARNED"
        reason = "the restore drill moves"
        result["waivers"] = [{"check": "GW-3", "owner": "dana", "reason": reason, "expires": expires}]

    return change


def test_an_expired_waiver(honest: Stand) -> None:
    stand = replace(honest.ran(waived("2026-03-03")), approvals=[]).approved()
    stand.is_denied_only_for("the waiver of GW-3 by dana ran out on 2026-03-03")


def test_waived_tests_without_a_waiver(honest: Stand) -> None:
    def change(payload: Payload) -> None:
        waived("2027-01-01")(payload)
        payload["predicate"]["waivers"] = []

    honest.ran(change).is_denied("tests are waived, and there is no waiver")


def test_waived_tests_that_call_themselves_passed(honest: Stand) -> None:
    def change(payload: Payload) -> None:
        waived("2027-01-01")(payload)
        payload["predicate"]["result"] = "PASSED"

    honest.ran(change).is_denied("the run says PASSED, with 1 waived tests")


# --- when ------------------------------------------


def test_stale(honest: Stand) -> None:
    stand = replace(honest, now=NOW + dt.timedelta(hours=11, minutes=1))
    stand.is_denied_only_for("it is 12.0 hours old; at most 12 are accepted")


def test_an_old_run_that_ended_just_now(honest: Stand) -> None:
    honest.ran(predicate(startedOn="2026-03-01T00:00:00Z")).is_denied("84.0 hours old")


def test_from_the_future(honest: Stand) -> None:
    stand = honest.ran(predicate(finishedOn="2026-03-04T13:00:00Z"))
    stand.is_denied("it is from the future, by 3600 s (set the clocks")


def test_a_clock_that_is_more_than_a_minute_ahead(honest: Stand) -> None:
    honest.ran(predicate(finishedOn="2026-03-04T12:01:01Z")).is_denied("from the future, by 61 s")


def test_ended_before_it_began(honest: Stand) -> None:
    honest.ran(predicate(finishedOn="2026-03-04T10:00:00Z")).is_denied("the run ended before it began")


@pytest.mark.parametrize("time", ["2026-13-04T10:00:00Z", "2026-02-30T10:00:00Z"])
def test_a_time_that_does_not_exist(honest: Stand, time: str) -> None:
    honest.ran(predicate(finishedOn=time)).is_denied("a time that does not exist")


@pytest.mark.parametrize("time", ["2026-03-04T11:00:00+00:00", "yesterday", "2026-03-04 11:00:00"])
def test_a_time_in_another_form(honest: Stand, time: str) -> None:
    honest.ran(predicate(finishedOn=time)).is_denied("predicate.finishedOn")


def test_a_freeze(honest: Stand) -> None:
    from harness.environment.gate import Freeze

    freeze = Freeze(
        reason="the year ends", starts=NOW - dt.timedelta(hours=1), ends=NOW + dt.timedelta(hours=1)
    )
    honest.gate(freezes=(freeze,)).is_denied_only_for(
        "nothing is let in until 2026-03-04 13:00 UTC: the year"
    )
    honest.gate(freezes=(Freeze(reason="no Wednesdays", days=("wed",)),)).is_denied_only_for(
        "no Wednesdays"
    )


# --- used twice, and the report ------------------------------------------


def test_a_replayed_promotion(honest: Stand) -> None:
    used = {honest.promotion: "begun yesterday by pipeline; it ended: GO"}
    replace(honest, used=used).is_denied_only_for("was used already: begun yesterday by pipeline")


def test_killed_between_deploy_and_evidence(honest: Stand) -> None:
    used = {honest.promotion: "begun 02:10 by pipeline; it never ended: it was killed"}
    replace(honest, used=used).is_denied_only_for("it never ended: it was killed")


def test_an_edited_report(honest: Stand) -> None:
    stand = honest.carrying(honest.evidence.raw, REPORT.replace(b"GO", b"go"))
    stand.is_denied("the report is not the one that it was signed with", "0 of 1 approvals")


def test_a_report_that_is_gone(honest: Stand) -> None:
    honest.carrying(honest.evidence.raw, None).is_denied("the report that it was signed with is missing")


def test_two_runners_are_asked_for_and_both_have_signed(honest: Stand) -> None:
    stand = replace(honest.gate(signatures=2).ran(signers=[RUNNER, OTHER_RUNNER]), approvals=[])
    stand.approved().is_let_in()
