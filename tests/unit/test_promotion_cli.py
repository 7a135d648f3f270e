"""The commands around a promotion, run as people run them."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from harness.attestation import dsse
from harness.attestation.keys import PublicKey
from harness.attestation.statement import SUMMARY, Summary, read
from harness.release import Release
from tests.attack.stand import DANA, EVE, IMAGE, ssh_key, write_tree
from tests.promotion_stand import PRODUCTION, Deposit, pem


@pytest.fixture
def deposit(tmp_path: Path) -> Deposit:
    public = ssh_key(tmp_path / "sam")
    made = Deposit(write_tree(tmp_path / "tree", public))
    made.stand.release.write(made.root / "release.json")
    return made


def test_release_build_writes_what_the_tree_makes(deposit: Deposit) -> None:
    (deposit.root / "release.json").unlink()
    done = deposit.harness("release", "build", "--image", f"registry.example/chat/gateway@{IMAGE}")
    assert done.returncode == 0, done.stderr
    assert Release.read(deposit.root / "release.json") == deposit.stand.release
    assert f"gateway-image            {IMAGE}" in done.stdout


def test_release_build_says_what_is_missing_and_what_is_not_committed(deposit: Deposit) -> None:
    (deposit.root / "gateway" / "new.py").touch()
    done = deposit.harness("release", "build")
    assert "gateway-image            missing: no digest was given" in done.stdout
    assert "not committed: gateway/new.py" in done.stdout


def test_an_image_without_a_digest_is_one_clear_error(deposit: Deposit) -> None:
    done = deposit.harness("release", "build", "--image", "chat/gateway:latest")
    assert done.returncode == 4
    assert done.stderr.startswith("--image chat/gateway:latest: names no digest")


def test_a_closed_gate_exits_with_1_and_says_what_to_do(deposit: Deposit) -> None:
    done = deposit.harness("gate", "check", "--env", "production")
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith(
        f"CLOSED  {deposit.stand.release.name} may not enter production: one reason"
    )
    assert "0 of 1 approvals (allowed: dana, sam)" in done.stdout
    assert "to do  read the decision page, then: harness approve --env production" in done.stdout
    assert "not signed: env:PRODUCTION_RUNNER_KEY" in done.stdout


def test_the_same_answer_as_json_with_a_signed_summary(deposit: Deposit, tmp_path: Path) -> None:
    deposit.approve()
    secret = pem(tmp_path / "runner.pem", PRODUCTION).read_text()
    done = deposit.harness("gate", "check", "--env", "production", "--json", PRODUCTION_RUNNER_KEY=secret)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert (told["open"], told["reasons"], told["approved_by"]) == (True, [], ["dana"])
    [name] = deposit.store.names("decisions/production/")
    envelope = dsse.unseal(deposit.store.get(name) or b"")
    assert envelope.signed_by([PRODUCTION.public])
    assert read(envelope.payload, Summary, SUMMARY).predicate.verification_result == "PASSED"
    assert secret.splitlines()[1] not in done.stdout + done.stderr


def test_a_refusal_is_signed_too(deposit: Deposit, tmp_path: Path) -> None:
    secret = pem(tmp_path / "runner.pem", PRODUCTION).read_text()
    done = deposit.harness("gate", "check", "--env", "production", "--json", PRODUCTION_RUNNER_KEY=secret)
    assert done.returncode == 1
    [name] = deposit.store.names("decisions/production/")
    summary = read(dsse.unseal(deposit.store.get(name) or b"").payload, Summary, SUMMARY)
    assert summary.predicate.verification_result == "FAILED"
    assert summary.predicate.verified_levels == ()
    assert "0 of 1 approvals" in summary.predicate.reasons[0]


def test_the_decision_page_and_the_summary_of_a_job(deposit: Deposit, tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    done = deposit.harness("gate", "check", "--env", "production", "--page", "--markdown", str(summary))
    folder = deposit.root / ".harness" / "production" / "promotions"
    [page] = folder.glob("*/index.html")
    assert str(page) in done.stdout
    assert "may enter production as soon as it is approved" in page.read_text()
    assert (page.parent / "evidence.intoto.json").read_bytes() == deposit.promotion_evidence()
    assert summary.read_text().startswith(f"# WAITS: {deposit.stand.release.name} into production")


# --- approve ------------------------------------------------------------------------------------------


def test_approve_with_an_ssh_key(deposit: Deposit, tmp_path: Path) -> None:
    done = deposit.harness("approve", "--env", "production", "--key", str(tmp_path / "sam"), "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "approved by sam: " in done.stdout
    assert f"GO  {deposit.stand.release.name} may enter production: approved by sam." in done.stdout
    assert deposit.promotion().decide().open


def test_approve_with_an_ed25519_key(deposit: Deposit, tmp_path: Path) -> None:
    path = pem(tmp_path / "dana.pem", DANA)
    done = deposit.harness("approve", "--env", "production", "--key", f"file:{path}", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert deposit.promotion().decide().approved_by == ("dana",)


def test_a_key_that_others_can_read_is_refused(deposit: Deposit, tmp_path: Path) -> None:
    path = pem(tmp_path / "dana.pem", DANA)
    path.chmod(0o644)
    done = deposit.harness("approve", "--env", "production", "--key", f"file:{path}", "--yes")
    assert done.returncode == 4
    assert "can be read by others (mode 0644) (chmod 600 " in done.stderr
    assert not deposit.promotion().decide().open


def test_a_stranger_cannot_approve(deposit: Deposit, tmp_path: Path) -> None:
    path = pem(tmp_path / "eve.pem", EVE)
    done = deposit.harness("approve", "--env", "production", "--key", f"file:{path}", "--yes")
    assert done.returncode == 4
    assert "is not that of an approver of production (allowed: dana, sam)" in done.stderr
    assert not deposit.store.names("approvals/")


def test_a_key_under_another_name_cannot_approve(deposit: Deposit, tmp_path: Path) -> None:
    path = pem(tmp_path / "dana.pem", DANA)
    done = deposit.harness(
        "approve", "--env", "production", "--key", f"file:{path}", "--as", "sam", "--yes"
    )
    assert "is not sam's of production" in done.stderr


def test_without_a_terminal_and_without_yes_nothing_is_signed(deposit: Deposit, tmp_path: Path) -> None:
    done = deposit.harness("approve", "--env", "production", "--key", str(tmp_path / "sam"), typed="y\n")
    assert done.returncode == 4
    assert "nobody is there to ask" in done.stderr
    assert not deposit.store.names("approvals/")


def test_what_no_approval_would_mend_is_not_approved(deposit: Deposit, tmp_path: Path) -> None:
    deposit.path("runs/staging/20260304T110000Z-abc.html").write_bytes(b"edited")
    done = deposit.harness("approve", "--env", "production", "--key", str(tmp_path / "sam"), "--yes")
    assert done.returncode == 1
    assert "the report is not the one that it was signed with" in done.stdout
    assert "nothing to approve: mend what stands above first" in done.stdout
    assert not deposit.store.names("approvals/")


def test_no_key_says_where_one_was_looked_for(deposit: Deposit, tmp_path: Path) -> None:
    done = deposit.harness("approve", "--env", "production", "--key", str(tmp_path / "none"), "--yes")
    assert done.returncode == 4
    assert f"{tmp_path / 'none'}.pub: cannot be read" in done.stderr


# --- keys ---------------------------------------------------------------------------------------------


def test_keys_new_makes_a_key_that_only_its_owner_reads(deposit: Deposit, tmp_path: Path) -> None:
    path = tmp_path / "mine.pem"
    done = run_keys(deposit, path)
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    public = PublicKey.parse(done.stdout.rpartition("public")[2].strip())
    assert public.text.startswith("ed25519:")
    assert "PRIVATE" not in done.stdout
    again = run_keys(deposit, path)
    assert again.returncode == 4
    assert "a key is never replaced" in again.stderr


def run_keys(deposit: Deposit, path: Path):
    return deposit.harness("keys", "new", str(path), rooted=False)


def test_keys_show_prints_what_the_successor_pins(deposit: Deposit) -> None:
    done = deposit.harness("keys", "show", "--env", "local")
    assert PublicKey.parse(done.stdout.strip())
    secret = deposit.root / ".harness" / "local" / "secrets" / "runner_key"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert deposit.harness("keys", "show", "--env", "local").stdout == done.stdout
    missing = deposit.harness("keys", "show", "--env", "staging")
    assert missing.returncode == 4
    assert "STAGING_RUNNER_KEY is not set" in missing.stderr


# --- approvals by option ------------------------------------------------------------------------------


@pytest.mark.parametrize("approved", [True, False])
def test_an_approval_that_cannot_be_read_is_a_reason_among_all_others(
    deposit: Deposit, tmp_path: Path, approved: bool
) -> None:
    if approved:
        deposit.approve()
    (tmp_path / "link.json").symlink_to(tmp_path / "sam")
    (tmp_path / "pipe.json").mkdir()
    options = [
        part
        for name in ("none.json", "link.json", "pipe.json")
        for part in ("--approval", str(tmp_path / name))
    ]
    done = deposit.harness("gate", "check", "--env", "production", "--json", *options)
    assert done.returncode == 1, done.stderr
    told = [reason["what"] for reason in json.loads(done.stdout)["reasons"]]
    assert f"{tmp_path / 'none.json'}: there is no such file" in told
    assert f"{tmp_path / 'link.json'}: is a symbolic link; name a file" in told
    assert f"{tmp_path / 'pipe.json'}: is a directory; name a file" in told
    assert any("0 of 1 approvals" in what for what in told) != approved


def test_a_linked_approval_in_the_store_is_void_and_hides_no_other(
    deposit: Deposit, tmp_path: Path
) -> None:
    promotion = deposit.promotion().decide().promotion
    path = deposit.path(f"approvals/production/{promotion}/eve.json")
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "sam")
    done = deposit.harness("gate", "check", "--env", "production", "--json")
    assert done.returncode == 1, done.stderr
    told = [reason["what"] for reason in json.loads(done.stdout)["reasons"]]
    assert any("approval 1 cannot be read" in what and "is a symbolic link" in what for what in told), told
    deposit.approve()
    assert deposit.harness("gate", "check", "--env", "production").returncode == 0


def test_before_approval_only_approvals_may_be_missing(deposit: Deposit) -> None:
    arguments = ("gate", "check", "--env", "production", "--before-approval")
    assert deposit.harness(*arguments).returncode == 0
    deposit.path("runs/staging/20260304T110000Z-abc.html").write_bytes(b"edited")
    assert deposit.harness(*arguments).returncode == 1
