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
from harness.store import DirectoryStore
from tests.attack.stand import DANA, EVE, IMAGE, ssh_key, write_tree
from tests.promotion_stand import PRODUCTION, Deposit, pem
from tests.release_tree import change, commit


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


# --- history ------------------------------------------------------------------------------------------


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


def test_history_without_the_key_says_that_it_is_not_verified(deposit: Deposit) -> None:
    deposit.ran_in_production("20260304T120000Z-aaa")
    assert "unverified" in deposit.harness("history", "--env", "production").stdout


def test_history_does_not_believe_what_another_key_signed(deposit: Deposit, tmp_path: Path) -> None:
    deposit.ran_in_production("20260304T120000Z-aaa")
    secret = pem(tmp_path / "other.pem", EVE).read_text()
    done = deposit.harness("history", "--env", "production", PRODUCTION_RUNNER_KEY=secret)
    assert "not believed  not signed by this environment's key" in done.stdout


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


def test_before_approval_only_approvals_may_be_missing(deposit: Deposit) -> None:
    arguments = ("gate", "check", "--env", "production", "--before-approval")
    assert deposit.harness(*arguments).returncode == 0
    deposit.path("runs/staging/20260304T110000Z-abc.html").write_bytes(b"edited")
    assert deposit.harness(*arguments).returncode == 1
