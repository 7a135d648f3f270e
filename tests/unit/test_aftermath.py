"""After a run: was anything touched, what drifted, where is its evidence, and who controls the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from unittest import mock

import pytest

from harness import cli_history
from harness.release import Release
from tests.attack.stand import IMAGE, ssh_key, write_tree
from tests.promotion_stand import PRODUCTION, Deposit, pem


@pytest.fixture
def deposit(tmp_path: Path) -> Deposit:
    public = ssh_key(tmp_path / "sam")
    made = Deposit(write_tree(tmp_path / "tree", public))
    made.stand.release.write(made.root / "release.json")
    return made


def touched(deposit: Deposit) -> str:
    done = deposit.harness("gate", "touched", "--env", "production", "--release", "release.json")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def in_its_tree(deposit: Deposit, monkeypatch: pytest.MonkeyPatch) -> Deposit:
    monkeypatch.chdir(deposit.root)
    return deposit


def test_a_closed_gate_has_touched_nothing(in_its_tree: Deposit) -> None:
    assert touched(in_its_tree) == "touched=false\n"


@pytest.mark.parametrize("outcome", ["", "NO-GO", "GO"])
def test_what_began_and_did_not_pass_has_touched_something(in_its_tree: Deposit, outcome: str) -> None:
    deposit = in_its_tree
    deposit.approve()
    promotion = deposit.promotion()
    promotion.decide()
    promotion.claim(PRODUCTION)
    if outcome:
        promotion.finish(outcome)
    assert touched(deposit) == f"touched={'false' if outcome == 'GO' else 'true'}\n"
    later = {"release": "sha256:of-the-rollback", "begun": "2999-01-01T00:00:00Z", "by": "pipeline"}
    deposit.store.put("promotions/production/zzz.json", json.dumps(later).encode())
    assert touched(deposit) == "touched=false\n", "a rollback has come after it"


def test_the_evidence_of_a_run_is_copied_out_of_the_store(deposit: Deposit, tmp_path: Path) -> None:
    out = tmp_path / "exported"
    arguments = ("history", "--env", "production", "--export", str(out))
    missing = deposit.harness(*arguments)
    assert (
        missing.returncode == 4 and "nothing of production has been run on this machine" in missing.stderr
    )
    for run in ("20260304T120000Z-aaa", "20260305T120000Z-bbb"):
        deposit.ran_in_production(run)
    state = deposit.root / ".harness" / "production"
    state.mkdir(parents=True)
    (state / "last-run.json").write_text(json.dumps({"schema": 1, "run": "20260304T120000Z-aaa"}))
    assert deposit.harness(*arguments).returncode == 0
    kinds = ("environment.yaml", "html", "intoto.json", "release.json")
    assert sorted(path.name for path in out.iterdir()) == [f"20260304T120000Z-aaa.{kind}" for kind in kinds]


def test_drift_asks_with_the_release_that_runs_there(
    deposit: Deposit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, no container could be that of the release: no tree tells the digest of an image."""
    deposit.ran_in_production("20260304T120000Z-aaa")
    deposit.ran_in_production("20260305T120000Z-bbb", lambda p: p["predicate"].update(result="FAILED"))
    (deposit.root / "release.json").unlink()
    asked: list[Release] = []

    def run(argv: list[str], **_: object) -> None:
        asked.append(Release.read(Path(argv[argv.index("--release") + 1])))
        said = {
            "schema": 1,
            "run": "now",
            "scenarios": [],
            "drills_left_out": [],
            "components": [],
            "troubles": [],
        }
        state = deposit.root / ".harness" / "production"
        state.mkdir(parents=True, exist_ok=True)
        (state / "last-run.json").write_text(json.dumps(said))

    monkeypatch.setattr(cli_history, "subprocess", mock.Mock(run=run))
    secret = pem(tmp_path / "runner.pem", PRODUCTION).read_text()
    done = deposit.harness("drift", "--env", "production", PRODUCTION_RUNNER_KEY=secret)
    assert asked == [deposit.stand.release] and asked[0].image == IMAGE
    assert "by pipeline (run 7)) did not pass: something else may run there now" in done.stdout


def test_what_evidence_says_cannot_control_the_terminal(deposit: Deposit) -> None:
    by = "eve\x1b[2K\x1b]0;title\x07\x9b1A\u202e"
    deposit.ran_in_production("20260304T120000Z-aaa", lambda p: p["predicate"].update(by=by))
    record = {"begun": "x\x1b[1A", "by": by}
    deposit.store.put("promotions/production/abc.json", json.dumps(record).encode())
    done = deposit.harness("history", "--env", "production")
    assert "eve\\x1b[2K\\x1b]0;title" in done.stdout
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(done.stdout)
