"""Attacks on what decides: an environment file elsewhere, an edit that nobody committed, a link."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.attestation import dsse
from harness.attestation.statement import SUMMARY, Summary, read
from harness.environment.loader import load
from harness.errors import HarnessError
from harness.promotion import Promotion
from harness.store import DirectoryStore
from tests.attack.stand import REPORT, write_tree
from tests.promotion_stand import BASE, PRODUCTION, Deposit, pem
from tests.release_tree import commit, git

NOT_HELD = "gate.policy: environments/production.yaml is not what the commit holds that is checked out"


@pytest.fixture
def deposit(tmp_path: Path) -> Deposit:
    made = Deposit(write_tree(tmp_path / "tree"))
    made.approve()
    made.stand.release.write(made.root / "release.json")
    assert made.promotion().decide().open
    return made


def ungated(text: str) -> str:
    """An environment file without anything that a gate demands."""
    text = text.replace("predecessor: staging\n", "", 1)
    return re.sub(r"^  runners:.*?(?=^[a-z]|^$)", "", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("command", [["gate", "check"], ["approve"], ["release", "fetch"], ["history"]])
def test_an_environment_file_elsewhere(deposit: Deposit, tmp_path: Path, command: list[str]) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(deposit.root / "environments", copy)
    path = copy / "production.yaml"
    path.write_text(ungated(path.read_text()))
    secret = pem(tmp_path / "runner.pem", PRODUCTION).read_text()
    done = deposit.harness(*command, "--env", str(path), PRODUCTION_RUNNER_KEY=secret)
    assert done.returncode == 4
    assert "is a path; an environment is called by its name" in done.stderr
    assert "did you mean production?" in done.stderr
    assert not deposit.store.names("decisions/"), "nothing was signed"


def test_an_edit_that_nobody_committed(deposit: Deposit) -> None:
    path = deposit.root / "environments" / "production.yaml"
    path.write_text(path.read_text().replace("maximum_age_hours: 12", "maximum_age_hours: 99"))
    deposit.is_denied(NOT_HELD)


def test_an_edit_that_git_was_told_to_overlook(deposit: Deposit) -> None:
    """To git the tree is clean; the file is not what was reviewed."""
    path = deposit.root / "environments" / "production.yaml"
    git(deposit.root, "update-index", "--assume-unchanged", "environments/production.yaml")
    path.write_text(path.read_text().replace("maximum_age_hours: 12", "maximum_age_hours: 99"))
    assert not git(deposit.root, "status", "--porcelain")
    reasons = [str(reason) for reason in deposit.promotion().decide().reasons]
    assert [reason for reason in reasons if reason.startswith(NOT_HELD)] == reasons


def test_a_gate_that_was_taken_away_without_a_commit(deposit: Deposit) -> None:
    """Without a predecessor there is no gate; whether there is one, the commit says."""
    path = deposit.root / "environments" / "production.yaml"
    path.write_text(ungated(path.read_text()))
    assert load("production", deposit.root).environment.predecessor is None
    deposit.is_denied(NOT_HELD)


def test_another_repository_in_the_environment_of_the_process(
    deposit: Deposit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    shutil.copytree(deposit.root, other)
    path = deposit.root / "environments" / "production.yaml"
    path.write_text(ungated(path.read_text()))
    (other / "environments" / "production.yaml").write_text(path.read_text())
    commit(other, "no gate here")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    deposit.is_denied(NOT_HELD)


def test_a_file_of_the_predecessor_that_git_was_told_to_overlook(deposit: Deposit) -> None:
    path = deposit.root / "environments" / "staging.yaml"
    git(deposit.root, "update-index", "--assume-unchanged", "environments/staging.yaml")
    path.write_text(path.read_text().replace("drills: true", "drills: false"))
    deposit.is_denied("gate.policy: environments/staging.yaml is not what the commit holds")


def test_a_linked_environment_file(deposit: Deposit, tmp_path: Path) -> None:
    path = deposit.root / "environments" / "production.yaml"
    path.rename(tmp_path / "production.yaml")
    path.symlink_to(tmp_path / "production.yaml")
    done = deposit.harness("gate", "check", "--env", "production")
    assert (done.returncode, "is a symbolic link" in done.stderr) == (4, True)


def test_the_summary_is_about_the_file_that_decided(deposit: Deposit) -> None:
    """It is edited after it was loaded: what is signed names what was decided by."""
    loaded = load("production", deposit.root)
    promotion = deposit.promotion(file=loaded.content)
    decision = promotion.decide()
    (deposit.root / "environments" / "production.yaml").write_text("edited: meanwhile\n")
    promotion.write_summary(decision, PRODUCTION)
    [name] = deposit.store.names("decisions/production/")
    summary = read(dsse.unseal(deposit.store.get(name) or b"").payload, Summary, SUMMARY).predicate
    assert summary.policy.uri == "environments/production.yaml"
    assert summary.policy.digest.text == loaded.digest


def test_an_environment_without_a_gate_may_be_edited(deposit: Deposit) -> None:
    path = deposit.root / "environments" / "local.yaml"
    path.write_text(path.read_text().replace("concurrency: 4", "concurrency: 5"))
    loaded = load("local", deposit.root)
    promotion = Promotion(loaded.environment, deposit.root, deposit.store, deposit.stand.release)
    assert promotion.decide().open


# --- links on the way to evidence ------------------------------------------


@pytest.mark.parametrize("folder", ["runs", "runs/staging", "approvals", "promotions/production"])
def test_a_folder_of_the_store_that_is_a_link(deposit: Deposit, tmp_path: Path, folder: str) -> None:
    """It could be led to other evidence, or away from the promotions that were used."""
    path = deposit.path(folder)
    path.mkdir(parents=True, exist_ok=True)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HarnessError, match="is a symbolic link"):
        deposit.promotion().decide()


def test_nothing_is_read_or_written_through_a_link(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "evidence")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a").write_bytes(b"theirs")
    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence" / "runs").symlink_to(tmp_path / "elsewhere")
    uses: list[Callable[[], object]] = [
        lambda: store.get("runs/a"),
        lambda: store.put("runs/b", b"ours"),
        lambda: store.delete("runs/a"),
        lambda: store.names("runs/"),
        lambda: store.names(""),
    ]
    for use in uses:
        with pytest.raises(HarnessError, match="is a symbolic link"):
            use()
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["a"]


@pytest.mark.parametrize("relative", [True, False])
def test_evidence_that_is_reached_through_a_link(
    deposit: Deposit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: bool
) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (real / "run.intoto.json").write_bytes(deposit.path(f"{BASE}.intoto.json").read_bytes())
    (real / "run.html").write_bytes(REPORT)
    (tmp_path / "link").symlink_to(real)
    monkeypatch.chdir(tmp_path)
    start = Path() if relative else tmp_path
    with pytest.raises(HarnessError, match=r"is reached through .*link, which is a symbolic link"):
        deposit.promotion(evidence_file=start / "link" / "run.intoto.json").decide()
    assert deposit.promotion(evidence_file=start / "real" / "run.intoto.json").decide().open


def test_a_store_that_its_owner_has_put_elsewhere(deposit: Deposit, tmp_path: Path) -> None:
    """The root of the store may be a link: it is configured, and nobody's guess."""
    (deposit.root / ".harness" / "evidence").rename(tmp_path / "disk")
    (deposit.root / ".harness" / "evidence").symlink_to(tmp_path / "disk")
    assert deposit.promotion().decide().open
