"""Attacks on what is newest: copies under newer names, older evidence by option, later failures."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.attestation import dsse, strict_json
from harness.attestation.statement import stamp
from harness.errors import HarnessError
from harness.history import running_release
from harness.runs import newest_first
from tests.attack.stand import EVE, IMAGE, LOCAL_RUNNER, REPORT, RUNNER, Stand, write_tree
from tests.promotion_stand import BASE, PRODUCTION, Deposit
from tests.release_tree import commit

FAILED = {"result": "FAILED", "reasons": ["GW-3: refuted"]}
COPIED = "it is the evidence of run 20260304T110000Z-abc, copied under the name 20990101T000000Z-x"


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(microsecond=0)


@pytest.fixture
def deposit(tmp_path: Path) -> Deposit:
    made = Deposit(write_tree(tmp_path / "tree"))
    made.approve()
    assert made.promotion().decide().open
    return made


def ran(
    deposit: Deposit, minutes_ago: float = 0.5, minutes: float = 1, signer: Any = RUNNER, **predicate: Any
) -> str:
    """A run of staging that ended so many minutes ago; its name."""
    end = _now() - dt.timedelta(minutes=minutes_ago)
    start = end - dt.timedelta(minutes=minutes)
    run = f"{start:%Y%m%dT%H%M%S}.000000Z-{len(deposit.store.names('runs/')):06x}"

    def made(payload: dict[str, Any]) -> None:
        payload["predicate"].update(startedOn=stamp(start), finishedOn=stamp(end), run=run, **predicate)

    deposit.keep(f"runs/staging/{run}", deposit.stand.ran(made, signers=[signer]))
    return run


def copied(deposit: Deposit, base: str, other: str) -> None:
    """Without any key: the same bytes under another name."""
    for name in deposit.store.names(base):
        deposit.store.put(other + name.removeprefix(base), deposit.store.get(name) or b"")


def outside(deposit: Deposit, folder: Path) -> Path:
    """The pass that is in the store, kept elsewhere too."""
    path = folder / "run.intoto.json"
    path.write_bytes(deposit.promotion_evidence())
    path.with_name("run.html").write_bytes(REPORT)
    return path


# --- copies ------------------------------------------


def test_an_old_pass_under_a_newer_name_does_not_hide_a_failure(deposit: Deposit) -> None:
    ran(deposit, **FAILED)
    deposit.is_denied("the run did not pass: GW-3: refuted")
    copied(deposit, BASE, "runs/staging/20990101T000000Z-x")
    deposit.is_denied(COPIED)


def test_a_copy_counts_for_nothing_by_itself(deposit: Deposit) -> None:
    copied(deposit, BASE, "runs/staging/20990101T000000Z-x")
    deposit.is_denied(COPIED)


def test_a_run_of_another_environment_in_the_folder(deposit: Deposit) -> None:
    ran(deposit, environment="local")
    deposit.is_denied("it speaks of local; a release comes to production from staging")


def test_a_copy_does_not_bring_back_an_older_release(deposit: Deposit) -> None:
    """What runs in production decides what a rollback goes to."""
    deposit.ran_in_production("20260101T000000Z-a")
    (deposit.root / "gateway" / "app.py").write_text("x = 1\n")
    commit(deposit.root, "two")
    deposit.stand = replace(Stand.honest(deposit.root), evidence=None, approvals=[])
    deposit.ran_in_production("20260201T000000Z-b")
    copied(deposit, "runs/production/20260101T000000Z-a", "runs/production/20990101T000000Z-x")
    running = running_release(deposit.store, "production", PRODUCTION.public)
    assert running is not None
    assert running.release == deposit.stand.release
    done = deposit.harness("release", "fetch", "--env", "production")
    assert done.stdout.strip() == deposit.stand.release.source.commit, done.stderr
    told = deposit.harness("history", "--env", "production").stdout
    assert "not believed  is the evidence of run 20260101T000000Z-a, under another name" in told


def test_a_run_of_staging_among_those_of_production(deposit: Deposit) -> None:
    deposit.ran_in_production("20260101T000000Z-a", lambda p: p["predicate"].update(environment="staging"))
    assert running_release(deposit.store, "production", PRODUCTION.public) is None


# --- older evidence by option ------------------------------------------


def test_evidence_by_option_does_not_hide_a_failure_in_the_store(deposit: Deposit, tmp_path: Path) -> None:
    file = outside(deposit, tmp_path)
    run = ran(deposit, **FAILED)
    reasons = [str(r) for r in deposit.promotion(evidence_file=file).decide().reasons]
    assert len(reasons) == 1
    assert f"a later run in staging ({run}, deploy) did not pass: GW-3: refuted" in reasons[0]


def test_rubbish_and_copies_do_not_hide_it_either(deposit: Deposit, tmp_path: Path) -> None:
    """However many there are."""
    file = outside(deposit, tmp_path)
    ran(deposit, **FAILED)
    for number in range(210):
        deposit.store.put(f"runs/staging/2099{number:04}T000000Z-x.intoto.json", b"{}")
    reasons = "\n".join(str(r) for r in deposit.promotion(evidence_file=file).decide().reasons)
    assert "did not pass: GW-3: refuted" in reasons


def test_a_failure_under_another_name_is_one_all_the_same(deposit: Deposit, tmp_path: Path) -> None:
    """Moved away, or said of the same run: the runner has signed it."""
    file = outside(deposit, tmp_path)
    base = f"runs/staging/{ran(deposit, **FAILED)}"
    copied(deposit, base, "runs/staging/20990101T000000Z-x")
    for name in deposit.store.names(base):
        deposit.store.delete(name)
    reasons = "\n".join(str(r) for r in deposit.promotion(evidence_file=file).decide().reasons)
    assert "did not pass: GW-3: refuted" in reasons
    for name in deposit.store.names("runs/staging/2099"):
        deposit.store.delete(name)
    assert deposit.promotion(evidence_file=file).decide().open
    twice = deposit.stand.ran(
        lambda p: p["predicate"].update(startedOn=stamp(_now()), finishedOn=stamp(_now()), **FAILED)
    )
    deposit.keep("runs/staging/20990101T000000Z-y", twice)
    reasons = "\n".join(str(r) for r in deposit.promotion(evidence_file=file).decide().reasons)
    assert "did not pass: GW-3: refuted" in reasons


def test_evidence_by_option_that_is_still_the_newest(deposit: Deposit, tmp_path: Path) -> None:
    file = outside(deposit, tmp_path)
    ran(deposit, minutes_ago=30, **FAILED)
    ran(deposit, minutes_ago=0.1, signer=EVE, **FAILED)
    ran(deposit, minutes_ago=0.1, release="sha256:" + "e" * 64, **FAILED)
    assert deposit.promotion(evidence_file=file).decide().open, "older, a stranger's, of another release"


def test_an_older_pass_where_a_newer_one_is_in_the_store(deposit: Deposit, tmp_path: Path) -> None:
    file = outside(deposit, tmp_path)
    ran(deposit, minutes_ago=0.7, **FAILED)
    ran(deposit, minutes_ago=0.1)
    assert deposit.promotion(evidence_file=file).decide().open


# --- what came later ------------------------------------------


def test_a_later_look_that_did_not_hold(deposit: Deposit) -> None:
    run = ran(deposit, mode="verify-only", **FAILED)
    reasons = [str(r) for r in deposit.promotion().decide().reasons]
    assert len(reasons) == 1
    assert f"a later run in staging ({run}, verify-only) did not pass: GW-3: refuted" in reasons[0]


def test_a_look_that_holds_again(deposit: Deposit) -> None:
    ran(deposit, minutes_ago=0.7, mode="verify-only", **FAILED)
    ran(deposit, minutes_ago=0.2, mode="verify-only")
    assert deposit.promotion().decide().open


def test_a_look_is_no_deployment(deposit: Deposit) -> None:
    """A deployment failed; that everything holds to whoever looks afterwards is no pass."""
    ran(deposit, minutes_ago=0.7, **FAILED)
    ran(deposit, minutes_ago=0.2, mode="verify-only")
    deposit.is_denied("the run did not pass: GW-3: refuted")


def test_a_look_that_left_out_its_drills_says_nothing_against_it(deposit: Deposit) -> None:
    """As every one does where there are drills: they disturb."""
    drill = "features/gateway.feature: It recovers"
    ran(deposit, mode="verify-only", result="FAILED", skippedTests=[drill])
    assert deposit.promotion().decide().open


@pytest.mark.parametrize(
    "more",
    [{"minutes_ago": 30}, {"signer": EVE}, {"signer": LOCAL_RUNNER}, {"release": "sha256:" + "e" * 64}],
)
def test_a_look_before_by_a_stranger_or_of_another_release(deposit: Deposit, more: dict[str, Any]) -> None:
    ran(deposit, **{"mode": "verify-only", **FAILED, **more})
    assert deposit.promotion().decide().open


def test_a_run_that_began_before_and_ended_after(deposit: Deposit) -> None:
    """Names are by the beginning; what ended last counts."""
    ran(deposit, minutes_ago=0.6, minutes=1)
    ran(deposit, minutes_ago=0.2, minutes=20, **FAILED)
    deposit.is_denied("the run did not pass: GW-3: refuted")


def test_between_the_decision_and_its_use(deposit: Deposit) -> None:
    promotion = deposit.promotion()
    assert promotion.decide().open
    ran(deposit, minutes_ago=0, mode="verify-only", **FAILED)
    with pytest.raises(HarnessError, match=r"the gate has closed: .*did not pass: GW-3: refuted"):
        promotion.claim(PRODUCTION)


# --- the order itself ------------------------------------------


def test_the_order_is_that_of_the_ends_and_rubbish_stays_where_its_name_puts_it(deposit: Deposit) -> None:
    one = ran(deposit, minutes_ago=50, minutes=1)
    long = ran(deposit, minutes_ago=10, minutes=60)
    other = ran(deposit, minutes_ago=30, minutes=1)
    deposit.store.put("runs/staging/20000101T000000Z-old.intoto.json", b"{}")
    deposit.store.put("runs/staging/20991399T999999Z-new.intoto.json", b"{}")
    order = [kept.run for kept in newest_first(deposit.store, "staging") if kept.base != BASE]
    assert order == [
        "20991399T999999Z-new",
        long,
        other,
        one,
        "20000101T000000Z-old",
    ]


def test_rubbish_between_two_runs_does_not_part_them(deposit: Deposit) -> None:
    """The failure began first and ended last; what lies between their names must not let the pass by."""
    failed = ran(deposit, minutes_ago=0.2, minutes=20, **FAILED)
    passed = ran(deposit, minutes_ago=0.6, minutes=1)
    between = f"{_now() - dt.timedelta(minutes=10):%Y%m%dT%H%M%S}.000000Z-x"
    payload = deposit.stand.payload()
    payload["predicate"].update(
        run=between, startedOn="1970-01-01T00:00:00Z", finishedOn="1970-01-01T00:00:00Z"
    )
    raw = dsse.seal(strict_json.dumps(payload), [EVE])
    deposit.store.put(f"runs/staging/{between}.intoto.json", raw)
    order = [kept.run for kept in newest_first(deposit.store, "staging")]
    assert order.index(failed) < order.index(passed)
    deposit.is_denied("the run did not pass: GW-3: refuted")


def test_the_image_of_the_stand_is_one(deposit: Deposit) -> None:
    assert deposit.stand.release.image == IMAGE
