"""Attacks on what evidence says: each is denied, and for the right reason."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.artefacts import IMAGE
from harness.environment import Waiver
from harness.provenance import Source
from tests.attack.stand import Stand

Payload = dict[str, Any]
NO_KEY = "is signed by no key that production accepts for staging"


def predicate(**changes: object) -> Callable[[Payload], None]:
    return lambda payload: payload["predicate"].update(changes)


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
        test = result["passedTests"].pop()
        result["warnedTests"] = [test]
        result["result"] = "WARNED"
        told = {"check": "GW-3", "owner": "dana", "reason": MOVES, "expires": expires}
        result["waivers"] = [{**told, "tests": [test], "findings": ["database.restored: old"]}]

    return change


MOVES = "the restore drill moves"


def accepting(stand: Stand, expires: str, **other: object) -> Stand:
    """With this waiver in staging's file; and with the evidence of a run that needed it."""
    told = {"check": "GW-3", "owner": "dana", "reason": MOVES, "expires": dt.date.fromisoformat(expires)}
    waiver = Waiver.model_validate({**told, **other})
    items = {stand.payload()["predicate"]["passedTests"][-1]: ["GW-3"]}
    return replace(stand.ran(waived(expires)), approvals=[], waivers=[waiver], items=items).approved()


def test_an_expired_waiver(honest: Stand) -> None:
    stand = accepting(honest, "2026-03-03")
    stand.is_denied_only_for("the waiver of GW-3 by dana ran out on 2026-03-03")


def test_a_waiver_that_ends_on_no_day(honest: Stand) -> None:
    def change(payload: Payload) -> None:
        waived("9999-99-99")(payload)

    honest.ran(change).is_denied("predicate.waivers.0.expires")


def test_a_waiver_that_does_not_stand_in_the_predecessors_file(honest: Stand) -> None:
    stand = replace(accepting(honest, "2026-04-01"), waivers=[])
    told = "the waiver of GW-3 by dana until 2026-04-01 does not stand in environments/staging.yaml"
    stand.is_denied_only_for(told)


@pytest.mark.parametrize(
    "other",
    [{"owner": "eve"}, {"reason": "another reason altogether"}, {"where": "public.notes"}],
    ids=["owner", "reason", "place"],
)
def test_a_waiver_that_is_not_as_it_stands_there(honest: Stand, other: dict[str, object]) -> None:
    stand = accepting(honest, "2026-04-01", **other)
    stand.is_denied(
        "does not stand in environments/staging.yaml", "the run does not name the waiver of GW-3"
    )


def test_a_waiver_of_the_file_that_the_run_does_not_name(honest: Stand) -> None:
    with_one = accepting(honest, "2026-04-01")
    honest_run = replace(with_one, evidence=honest.evidence, approvals=honest.approvals)
    honest_run.is_denied_only_for("the run does not name the waiver of GW-3 by dana until 2026-04-01")


def test_one_waiver_for_every_test(honest: Stand) -> None:
    """Of a check that has nothing to do with any of them."""
    every = honest.payload()["predicate"]["passedTests"]

    def change(payload: Payload) -> None:
        waived("2026-04-01")(payload)
        payload["predicate"].update(passedTests=[], warnedTests=every)

    stand = replace(accepting(honest, "2026-04-01").ran(change), approvals=[]).approved()
    stand.is_denied_only_for("tests are waived, and there is no waiver of theirs: ")

    def covering(payload: Payload) -> None:
        change(payload)
        payload["predicate"]["waivers"][0]["tests"] = every

    stand = replace(stand.ran(covering), approvals=[]).approved()
    stand.is_denied_only_for("the waiver of GW-3 covers what is none of it: ")


def test_a_waiver_for_tests_that_call_themselves_passed(honest: Stand) -> None:
    def change(payload: Payload) -> None:
        waived("2026-04-01")(payload)
        result = payload["predicate"]
        result.update(result="PASSED", passedTests=[*result["passedTests"], *result["warnedTests"]])
        result["warnedTests"] = []

    stand = replace(accepting(honest, "2026-04-01").ran(change), approvals=[]).approved()
    stand.is_denied_only_for("a waiver covers tests that are not counted as waived: ")


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
