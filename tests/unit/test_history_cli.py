"""The commands about what was, run as people run them: history, drift, what is fetched and comes back."""

from __future__ import annotations

import datetime as dt
import json
import re
from pathlib import Path

import pytest

from harness.environment.loader import load
from harness.history import expired
from harness.release import Release
from harness.store import DirectoryStore
from tests.attack.stand import EVE, RUNNER, ssh_key, write_tree
from tests.promotion_stand import PRODUCTION, Deposit, pem
from tests.release_tree import change, commit


@pytest.fixture
def deposit(tmp_path: Path) -> Deposit:
    public = ssh_key(tmp_path / "sam")
    made = Deposit(write_tree(tmp_path / "tree", public))
    made.stand.release.write(made.root / "release.json")
    return made


def test_history_says_what_ran(deposit: Deposit, tmp_path: Path) -> None:
    deposit.ran_in_production("20260304T120000Z-aaa")
    deposit.ran_in_production(
        "20260305T120000Z-bbb",
        lambda payload: payload["predicate"].update(result="FAILED", reasons=["GW-3: refuted"]),
    )
    secret = pem(tmp_path / "runner.pem", PRODUCTION).read_text()
    done = deposit.harness("history", "--env", "production", PRODUCTION_RUNNER_KEY=secret)
    lines = done.stdout.splitlines()
    assert "FAILED" in lines[0] and "20260305T120000Z-bbb.intoto.json" in lines[1]
    assert (
        "PASSED" in lines[2] and deposit.stand.release.name in lines[2] and "pipeline (run 7)" in lines[2]
    )
    told = json.loads(
        deposit.harness("history", "--env", "production", "--json", PRODUCTION_RUNNER_KEY=secret).stdout
    )
    assert [entry["trust"] for entry in told] == ["verified", "verified"]
    assert told[0]["reasons"] == ["GW-3: refuted"]


def unpinned(deposit: Deposit) -> None:
    """Production as an environment that nobody relies on, whose key is not known on this machine."""
    path = deposit.root / "environments" / "production.yaml"
    text = re.sub(r"  public_key: .*\n", "", path.read_text())
    path.write_text(re.sub(r"(?ms)^  approvals:.*?(?=^$|^[a-z])", "", text))


def test_history_is_verified_without_any_secret(deposit: Deposit) -> None:
    deposit.ran_in_production("20260304T120000Z-aaa")
    done = deposit.harness("history", "--env", "production", "--json")
    assert [entry["trust"] for entry in json.loads(done.stdout)] == ["verified"]


def test_history_without_the_key_says_that_it_is_not_verified(deposit: Deposit) -> None:
    unpinned(deposit)
    deposit.ran_in_production("20260304T120000Z-aaa")
    assert "unverified" in deposit.harness("history", "--env", "production").stdout


def test_history_does_not_believe_what_another_key_signed(deposit: Deposit) -> None:
    deposit.ran_in_production("20260304T120000Z-aaa", signer=EVE)
    done = deposit.harness("history", "--env", "production")
    assert "not believed  not signed by this environment's key" in done.stdout


def test_a_forged_history_moves_nothing(deposit: Deposit) -> None:
    """Written by nobody's key: it would show an approver that nothing changes, and fetch what never ran."""
    deposit.ran_in_production("20990101T000000Z-zzz", signer=EVE)
    done = deposit.harness("approve", "--env", "production")
    assert "  changes   gateway-image: none -> sha256:" in done.stdout, done.stdout
    fetched = deposit.harness("release", "fetch", "--env", "production")
    assert fetched.returncode == 4
    assert "no run of production has passed yet" in fetched.stderr


def test_without_a_key_no_release_is_fetched(deposit: Deposit) -> None:
    unpinned(deposit)
    deposit.ran_in_production("20260304T120000Z-aaa")
    done = deposit.harness("release", "fetch", "--env", "production", "--output", str(deposit.root / "x"))
    assert done.returncode == 4
    assert "what has run in production cannot be verified here" in done.stderr
    assert "pin gate.public_key in environments/production.yaml" in done.stderr
    assert not (deposit.root / "x").exists()


def test_a_decision_is_not_signed_with_a_key_that_is_not_pinned(deposit: Deposit, tmp_path: Path) -> None:
    secret = pem(tmp_path / "other.pem", EVE).read_text()
    done = deposit.harness("gate", "check", "--env", "production", PRODUCTION_RUNNER_KEY=secret)
    assert (
        "not signed: env:PRODUCTION_RUNNER_KEY: is not the private half of gate.public_key" in done.stdout
    )
    assert not deposit.store.names("decisions/")


def test_history_names_a_promotion_that_never_ended(deposit: Deposit) -> None:
    deposit.approve()
    deposit.ran_in_production("20260304T120000Z-aaa")
    promotion = deposit.promotion()
    decision = promotion.decide()
    promotion.claim(PRODUCTION)
    done = deposit.harness("history", "--env", "production")
    assert f"promotion {decision.promotion}: begun " in done.stdout
    assert "0 minutes ago, and not ended yet: it is running, or was killed" in done.stdout
    assert "was it killed?" not in done.stdout
    record = deposit.path(f"promotions/production/{decision.promotion}.json")
    record.write_text(json.dumps({**json.loads(record.read_text()), "begun": "2026-01-01T00:00:00Z"}))
    assert "never ended: was it killed?" in deposit.harness("history", "--env", "production").stdout
    promotion.finish("GO")
    assert "never ended" not in deposit.harness("history", "--env", "production").stdout


def test_nothing_has_run_yet(deposit: Deposit) -> None:
    done = deposit.harness("history", "--env", "production")
    assert done.returncode == 1
    assert "nothing has run in production yet" in done.stdout


def test_pruning_keeps_the_newest(deposit: Deposit) -> None:
    production = deposit.root / "environments" / "production.yaml"
    text = production.read_text()
    production.write_text(
        text.replace("  maximum_age_hours: 12", "  maximum_age_hours: 12\n  keep_at_least: 2")
    )
    for run in ("20200101T000000Z-a", "20200102T000000Z-b", "20200103T000000Z-c", "20990101T000000Z-d"):
        deposit.ran_in_production(run)
    done = deposit.harness("history", "--env", "production", "--prune")
    assert "removed 8 objects of runs older than 400 days" in done.stdout
    left = {name.rpartition("/")[2].partition(".")[0] for name in deposit.store.names("runs/production/")}
    assert left == {"20200103T000000Z-c", "20990101T000000Z-d"}
    assert DirectoryStore(deposit.path("")).names("runs/staging/"), "another environment's was pruned"


def prunable(deposit: Deposit) -> None:
    """Production keeps one run at least, and everything else for a day."""
    path = deposit.root / "environments" / "production.yaml"
    keep = "  maximum_age_hours: 12\n  keep_at_least: 1\n  keep_days: 1"
    path.write_text(path.read_text().replace("  maximum_age_hours: 12", keep))


def test_pruning_leaves_the_pass_of_what_runs(deposit: Deposit) -> None:
    """Behind whatever was only looked at since, or failed: it is the way back."""
    prunable(deposit)
    deposit.ran_in_production("20250101T000000Z-older")
    deposit.ran_in_production("20250102T000000Z-pass")
    for day, other in (
        (3, {"mode": "verify-only"}),
        (4, {"result": "FAILED"}),
        (5, {"mode": "verify-only"}),
    ):
        deposit.ran_in_production(
            f"2025010{day}T000000Z-x", lambda payload, other=other: payload["predicate"].update(other)
        )
    deposit.harness("history", "--env", "production", "--prune")
    left = {name.rpartition("/")[2].partition(".")[0] for name in deposit.store.names("runs/production/")}
    assert left == {"20250102T000000Z-pass", "20250105T000000Z-x"}
    assert deposit.harness("release", "fetch", "--env", "production").returncode == 0


def test_pruning_leaves_what_a_promotion_stands_on(deposit: Deposit) -> None:
    """It is the proof of what was let in."""
    deposit.approve()
    promotion = deposit.promotion()
    assert promotion.decide().open
    promotion.claim(PRODUCTION)
    for run in ("20250101T000000Z-a", "20990101T000000Z-b"):
        deposit.keep(
            f"runs/staging/{run}", deposit.stand.ran(lambda p, run=run: p["predicate"].update(run=run))
        )
    gate = load("staging", deposit.root).environment.gate
    little = gate.model_copy(update={"keep_at_least": 1, "keep_days": 1})
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=3650)
    gone = expired(deposit.store, "staging", little, later, RUNNER.public)
    assert {name.rpartition("/")[2].partition(".")[0] for name in gone} == {"20250101T000000Z-a"}


def test_drift_without_evidence_is_one_clear_error(deposit: Deposit) -> None:
    done = deposit.harness("drift", "--env", "production")
    assert done.returncode == 4
    assert "no run of production has passed yet" in done.stderr


def test_drift_is_compared_from_the_commit_that_runs_there(deposit: Deposit) -> None:
    deposit.ran_in_production("20260304T120000Z-aaa")
    (deposit.root / "gateway" / "app.py").write_text("changed\n")
    done = deposit.harness("drift", "--env", "production")
    assert done.returncode == 4
    assert "git checkout " in done.stderr


# --- rollback -----------------------------------------------------------------------------------------


def test_the_release_that_passed_last_is_fetched_and_may_come_back(
    deposit: Deposit, tmp_path: Path
) -> None:
    secret = pem(tmp_path / "runner.pem", PRODUCTION).read_text()
    env = {"PRODUCTION_RUNNER_KEY": secret}
    missing = deposit.harness("release", "fetch", "--env", "production", **env)
    assert missing.returncode == 4
    assert "no run of production has passed yet" in missing.stderr
    deposit.ran_in_production("20250101T000000Z-old")
    (deposit.root / "release.json").unlink()
    done = deposit.harness("release", "fetch", "--env", "production", "--this-commit", **env)
    assert done.stdout.strip() == deposit.stand.release.source.commit, done.stderr
    assert Release.read(deposit.root / "release.json") == deposit.stand.release
    done = deposit.harness("gate", "check", "--env", "production", "--rollback", **env)
    assert done.returncode == 0, done.stdout
    change(deposit.root, "gateway/app.py")
    commit(deposit.root, "one more")
    other = deposit.harness("release", "fetch", "--env", "production", "--this-commit", **env)
    assert other.returncode == 4
    assert "let production pass it first" in other.stderr
