"""Attacks between the decision and its use: files, stores, races, kills."""

from __future__ import annotations

import datetime as dt
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.attestation import dsse, strict_json
from harness.attestation.statement import SUMMARY, Summary, read
from harness.environment.loader import load
from harness.errors import HarnessError
from harness.gate import promotion_id
from harness.promotion import Promotion
from harness.release import Release
from harness.store import AlreadyThere
from tests.attack.stand import REPORT, RUNNER, write_tree
from tests.promotion_stand import BASE, PRODUCTION, Deposit
from tests.release_tree import change


@pytest.fixture
def deposit(tmp_path: Path) -> Iterator[Deposit]:
    made = Deposit(write_tree(tmp_path / "tree"))
    made.approve()
    decision = made.promotion().decide()
    assert decision.open, decision.reasons
    yield made


def test_a_promotion_that_is_used_leaves_a_signed_summary(deposit: Deposit) -> None:
    promotion = deposit.promotion()
    decision = promotion.decide()
    promotion.claim(PRODUCTION)
    [name] = deposit.store.names("decisions/production/")
    envelope = dsse.unseal(deposit.store.get(name) or b"")
    assert envelope.signed_by([PRODUCTION.public])
    summary = read(envelope.payload, Summary, SUMMARY)
    assert summary.predicate.verification_result == "PASSED"
    assert summary.predicate.verified_levels == ("PROMOTED_TO_PRODUCTION", "APPROVED_BY_1")
    assert {s.name: s.digest.text for s in summary.subject} == promotion.release.subjects
    [proof] = summary.predicate.input_attestations
    assert promotion.evidence and proof.digest.sha256 == promotion.evidence.digest
    assert deposit.store.names("promotions/production/") == [
        f"promotions/production/{decision.promotion}.json"
    ]


def test_a_promotion_counts_once(deposit: Deposit) -> None:
    promotion = deposit.promotion()
    promotion.decide()
    promotion.claim(PRODUCTION)
    promotion.finish("GO")
    deposit.is_denied("was used already: begun ")
    deposit.is_denied("it ended ")


def without_approvals(deposit: Deposit, **more: Any) -> Promotion:
    """An environment that asks for none: the evidence alone is used."""
    environment = load("production", deposit.root).environment
    gate = environment.gate.model_copy(update={"approvals": None})
    environment = environment.model_copy(update={"gate": gate})
    return Promotion(environment, deposit.root, deposit.store, deposit.stand.release, **more)


def other_alphabet(text: str) -> str:
    return text.replace("+", "-").replace("/", "_")


def envelope(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    """Another envelope around what was signed."""

    def changed(raw: bytes) -> bytes:
        found = json.loads(raw)
        change(found)
        return json.dumps(found).encode()

    return changed


REWRITTEN: dict[str, Callable[[bytes], bytes]] = {
    "white space": lambda raw: raw + b"\n",
    "several lines": lambda raw: json.dumps(json.loads(raw), indent=2).encode(),
    "another key id": envelope(lambda e: e["signatures"][0].update(keyid="mine")),
    "no key id": envelope(lambda e: e["signatures"][0].pop("keyid")),
    "the signature twice": envelope(lambda e: e["signatures"].append(dict(e["signatures"][0]))),
    "a stranger's signature": envelope(lambda e: e["signatures"].append({"sig": "AAAA"})),
    "the other alphabet": envelope(lambda e: e.update(payload=other_alphabet(e["payload"]))),
    "it, in the signature": envelope(
        lambda e: e["signatures"][0].update(sig=other_alphabet(e["signatures"][0]["sig"]))
    ),
    "keys in another order": lambda raw: json.dumps(dict(reversed(json.loads(raw).items()))).encode(),
}


@pytest.mark.parametrize("how", REWRITTEN)
def test_other_bytes_around_what_was_signed_are_no_other_promotion(
    deposit: Deposit, tmp_path: Path, how: str
) -> None:
    first = without_approvals(deposit)
    assert first.decide().open
    first.claim(PRODUCTION)
    first.finish("GO")
    copy = tmp_path / "copy.intoto.json"
    copy.write_bytes(REWRITTEN[how](deposit.promotion_evidence()))
    assert copy.read_bytes() != deposit.promotion_evidence()
    copy.with_name("copy.html").write_bytes(REPORT)
    again = without_approvals(deposit, evidence_file=copy)
    [reason] = again.decide().reasons
    assert "was used already" in reason.what
    with pytest.raises(HarnessError, match="the gate has closed"):
        again.claim(PRODUCTION)
    assert len(deposit.store.names("promotions/production/")) == 2, "one, and its end"


def test_a_promotion_is_of_one_run_one_release_and_one_environment(deposit: Deposit) -> None:
    stand = deposit.stand
    other_run = stand.ran(lambda payload: payload["predicate"].update(run="20260304T110000Z-def"))
    other_release = replace(stand, release=Release.build(deposit.root, "sha256:" + "b" * 64))
    ids = {s.promotion for s in (stand, other_run, other_release, replace(stand, evidence=None))}
    assert len({*ids, promotion_id("preview", stand.release, stand.evidence)}) == 5


def test_killed_between_deploy_and_evidence(deposit: Deposit) -> None:
    """The claim is there and the end is not; nothing else tells how far it came."""
    promotion = deposit.promotion()
    promotion.decide()
    promotion.claim(PRODUCTION)
    deposit.is_denied(
        "it never ended: it was killed (evidence counts once; run the checklists of staging again)"
    )
    assert not deposit.store.names("runs/production/"), "and there is no evidence to go on from"


def test_two_promotions_at_once(deposit: Deposit) -> None:
    """Both have seen an open gate; one gets in."""
    attempts = [deposit.promotion() for _ in range(8)]
    assert all(attempt.decide().open for attempt in attempts)
    start, told = threading.Barrier(len(attempts)), []

    def claim(attempt: Promotion) -> None:
        start.wait()
        try:
            attempt.claim(PRODUCTION)
            told.append("in")
        except HarnessError as error:
            told.append(str(error))

    threads = [threading.Thread(target=claim, args=(attempt,)) for attempt in attempts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told.count("in") == 1
    assert len(deposit.store.names("decisions/production/")) == 1, "one was let in, and one is said to be"
    others = [text for text in told if text != "in"]
    assert len(others) == 7
    assert all("begun by somebody else" in text or "was used already" in text for text in others), others


def test_a_decision_that_cannot_be_written_uses_the_promotion_and_deploys_nothing(deposit: Deposit) -> None:
    promotion = deposit.promotion()
    assert promotion.decide().open
    deposit.path("decisions").write_text("in the way")
    with pytest.raises(HarnessError, match="the decision could not be written"):
        promotion.claim(PRODUCTION)
    deposit.is_denied("it ended ")
    deposit.is_denied("nothing was deployed: the decision could not be written")


def test_evidence_that_is_changed_between_check_and_use(deposit: Deposit) -> None:
    promotion = deposit.promotion()
    assert promotion.decide().open
    path = deposit.path(f"{BASE}.intoto.json")
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(HarnessError, match="the gate has closed"):
        promotion.claim(PRODUCTION)
    assert not deposit.store.names("promotions/production/")


def test_a_report_that_is_changed_between_check_and_use(deposit: Deposit) -> None:
    promotion = deposit.promotion()
    assert promotion.decide().open
    deposit.path(f"{BASE}.html").write_bytes(REPORT + b"!")
    with pytest.raises(HarnessError, match="the report is not the one"):
        promotion.claim(PRODUCTION)


def test_evidence_that_fails_between_check_and_use(deposit: Deposit) -> None:
    """A newer run of the same release has failed meanwhile: the newest counts."""
    promotion = deposit.promotion()
    assert promotion.decide().open

    def failed(payload: dict) -> None:
        deposit.freshen(payload, dt.datetime.now(dt.UTC))
        payload["predicate"].update(result="FAILED", reasons=["GW-3: refuted"])

    deposit.keep("runs/staging/20260304T120000Z-abc", deposit.stand.ran(failed))
    with pytest.raises(HarnessError, match="the run did not pass: GW-3: refuted"):
        promotion.claim(PRODUCTION)


def test_a_tree_that_is_changed_between_check_and_use(deposit: Deposit) -> None:
    promotion = deposit.promotion()
    assert promotion.decide().open
    change(deposit.root, "gateway/app.py")
    with pytest.raises(HarnessError, match="this tree is not the release: gateway-source"):
        promotion.claim(PRODUCTION)


def test_a_checklist_that_was_shortened_after_the_run(deposit: Deposit) -> None:
    feature = deposit.root / "features" / "gateway.feature"
    feature.write_text(feature.read_text().replace("| floods    |\n", ""))
    deposit.is_denied("it is about another checklist")
    deposit.is_denied(
        "the run expected what stands in no checklist: features/gateway.feature: It refuses floods"
    )


def test_symlinked_evidence(deposit: Deposit, tmp_path: Path) -> None:
    path = deposit.path(f"{BASE}.intoto.json")
    elsewhere = tmp_path / "elsewhere.json"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    with pytest.raises(HarnessError, match="is a symbolic link"):
        deposit.promotion().decide()
    link = tmp_path / "link.intoto.json"
    link.symlink_to(elsewhere)
    with pytest.raises(HarnessError, match="is a symbolic link"):
        deposit.promotion(evidence_file=link).decide()


def test_evidence_that_is_a_pipe_or_a_directory(deposit: Deposit, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, told in ((tmp_path / "pipe", "is not a file"), (tmp_path, "is a directory")):
        with pytest.raises(HarnessError, match=told):
            deposit.promotion(evidence_file=path).decide()


def test_evidence_that_is_not_there(deposit: Deposit, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="there is no such file"):
        deposit.promotion(evidence_file=tmp_path / "none.json").decide()


def test_rubbish_that_is_newer_than_the_evidence_is_named(deposit: Deposit) -> None:
    deposit.store.put("runs/staging/20990101T000000Z-zzz.intoto.json", b"{}")
    deposit.is_denied("20990101T000000Z-zzz.intoto.json is no DSSE envelope")


def test_a_claim_that_cannot_be_read_still_counts(deposit: Deposit) -> None:
    decision = deposit.promotion().decide()
    deposit.store.put(f"promotions/production/{decision.promotion}.json", b"\xff{{")
    deposit.is_denied("was used already")


def test_evidence_is_never_replaced(deposit: Deposit) -> None:
    with pytest.raises(AlreadyThere):
        deposit.store.put(f"{BASE}.intoto.json", b"{}")
    assert json.loads(deposit.store.get(f"{BASE}.intoto.json") or b"")["payload"]


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../b", "", ".hidden", "a//b", "a\0b"])
def test_names_that_lead_out_of_the_store(deposit: Deposit, name: str) -> None:
    with pytest.raises(HarnessError, match="is no name of an object"):
        deposit.store.get(name)


def test_a_decision_that_nobody_asked_for_cannot_be_claimed(deposit: Deposit) -> None:
    with pytest.raises(HarnessError, match="the gate has closed"):
        deposit.promotion().claim(PRODUCTION)


def test_evidence_given_as_a_file_needs_its_report_beside_it(deposit: Deposit, tmp_path: Path) -> None:
    copy = tmp_path / "run.intoto.json"
    copy.write_bytes(deposit.path(f"{BASE}.intoto.json").read_bytes())
    reasons = deposit.promotion(evidence_file=copy).decide().reasons
    assert any("the report that it was signed with is missing" in reason.what for reason in reasons)
    copy.with_name("run.html").write_bytes(REPORT)
    assert deposit.promotion(evidence_file=copy).decide().open


def test_a_signature_by_the_runner_of_production_itself(deposit: Deposit) -> None:
    raw = strict_json.dumps(deposit.stand.payload())
    deposit.store.put("runs/staging/20270101T000000Z-own.intoto.json", dsse.seal(raw, [PRODUCTION]))
    deposit.is_denied("is signed by no key that production accepts for staging")
    assert RUNNER.public != PRODUCTION.public
