"""The commands around a promotion, run as people run them."""

from __future__ import annotations

import datetime as dt
import json
import stat
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import typer

from harness import cli_approve, cli_history
from harness.attestation import dsse
from harness.attestation.keys import PublicKey
from harness.attestation.statement import SUMMARY, Summary, read
from harness.release import Release
from harness.store import DirectoryStore
from tests.attack.stand import DANA, EVE, IMAGE, Stand, ssh_key, write_tree
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


def test_an_ssh_key_that_others_can_read_is_named_as_that(deposit: Deposit, tmp_path: Path) -> None:
    (tmp_path / "sam").chmod(0o644)
    done = deposit.harness("approve", "--env", "production", "--key", str(tmp_path / "sam"), "--yes")
    assert done.returncode == 4
    assert f"{tmp_path / 'sam'}: can be read by others (mode 0644); nothing was signed" in done.stderr
    (tmp_path / "sam").chmod(0o600)
    (tmp_path / "sam").write_text("no key\n")
    done = deposit.harness("approve", "--env", "production", "--key", str(tmp_path / "sam"), "--yes")
    assert "cannot sign with it:\n    " in done.stderr and "sam" in done.stderr
    assert not deposit.store.names("approvals/")


def test_the_screen_says_what_it_waits_for_and_all_that_is_signed(deposit: Deposit) -> None:
    """Not that the gate is closed and that this very command would open it."""
    migrations = deposit.root / "supabase" / "migrations"
    deposit.ran_in_production("20260303T120000Z-old", environment="drills: true\n")
    dropping = "-- accept drop-table: nobody reads it\ndrop table public.notes;\nselect '\x1b[31m';\n"
    (migrations / "20260201000000_drop.sql").write_text(dropping)
    commit(deposit.root, "drop what nobody reads")
    now = dt.datetime.now(dt.UTC)
    stand = replace(Stand.honest(deposit.root), evidence=None, approvals=[])
    deposit.keep("runs/staging/20260305T110000Z-new", stand.ran(lambda p: deposit.freshen(p, now)))
    stand.release.write(deposit.root / "release.json")
    lines = deposit.harness("approve", "--env", "production", "--yes", "--key", "none").stdout.splitlines()
    text = "\n".join(lines)
    assert lines[0] == f"WAITS  {stand.release.name} may enter production as soon as it is approved."
    assert lines[1] == "  waits for 0 of 1 approvals (allowed: dana, sam)"
    assert "CLOSED" not in text and "harness approve" not in text
    assert "by pipeline (run 7), 1 minute ago: 4 of 4 tests passed" in text
    assert "migration 20260201000000_drop.sql: new, has no reverse; 2 statements" in text
    assert "destructive  line 1: drop-table: accepted: nobody reads it" in text
    assert "      | drop table public.notes;" in text and "      | select '␛[31m';" in text
    assert "      | -drills: true" in text


def test_ctrl_c_and_ctrl_d_say_that_nothing_was_signed(
    deposit: Deposit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(*_: object) -> None:
        raise typer.Abort

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    for way in (stops, interrupted):
        monkeypatch.setattr(cli_approve, "_ask", way)
        done = deposit.harness("approve", "--env", "production", "--key", str(tmp_path / "sam"))
        assert done.returncode == 1
        assert done.stdout.rstrip().endswith("not approved: nothing was signed")
    assert not deposit.store.names("approvals/")


def test_two_approvals_in_one_second_are_two(deposit: Deposit, tmp_path: Path) -> None:
    for _ in range(2):
        done = deposit.harness("approve", "--env", "production", "--key", str(tmp_path / "sam"), "--yes")
        assert done.returncode == 0, done.stderr
    assert len(deposit.store.names("approvals/production/")) == 2


def test_where_no_approval_is_asked_for_that_is_said_first(deposit: Deposit) -> None:
    done = deposit.harness("approve", "--env", "staging", "--yes")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("staging asks for no approval: there is nothing to sign")


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


def test_what_evidence_says_cannot_control_the_terminal(deposit: Deposit) -> None:
    by = "eve\x1b[2K\x1b]0;title\x07\x9b1A\u202e"
    deposit.ran_in_production("20260304T120000Z-aaa", lambda p: p["predicate"].update(by=by))
    record = {"begun": "x\x1b[1A", "by": by}
    deposit.store.put("promotions/production/abc.json", json.dumps(record).encode())
    done = deposit.harness("history", "--env", "production")
    assert "eve␛[2K␛]0;title" in done.stdout
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(done.stdout)


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


# --- after a bad end ------------------------------------------------------------------------------------


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
