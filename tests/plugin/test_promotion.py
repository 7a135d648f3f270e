"""Real runs: what evidence they leave, and how the gate stands in front of the next environment."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.attestation import dsse
from harness.attestation.keys import PublicKey
from harness.attestation.statement import TEST_RESULT, Statement, TestResult, read
from harness.environment.loader import load
from harness.history import own_key
from harness.secrets import SecretStore
from harness.waiting import wait_until
from tests.plugin.miniature_project import ROOT, Miniature, Outcome
from tests.release_tree import commit, git

GATE = """gate:
  signing_key: local:runner_key
  runners:
    - name: laptop
      key: {key}
"""
REFUTED = """
    Feature: Extra

      @env:local
      Scenario: Refuted
        Given the gateway is deployed
        Then it is refuted
"""


def evidence(project: Miniature, env: str = "local") -> list[Path]:
    return sorted((project.root / ".harness" / "evidence" / "runs" / env).glob("*.intoto.json"))


def key_of(project: Miniature, env: str = "local") -> PublicKey:
    environment = load(env, project.root).environment
    found = own_key(environment, SecretStore(project.root, project.root / ".harness" / env))
    assert found is not None
    return found


def stated(project: Miniature, env: str = "local") -> Statement[TestResult]:
    """What the newest evidence says, verified."""
    envelope = dsse.unseal(evidence(project, env)[-1].read_bytes())
    assert envelope.signed_by([key_of(project, env)]), "not signed by the environment's key"
    return read(envelope.payload, TestResult, TEST_RESULT)


# --- evidence ------------------------------------------


def test_a_pass_is_signed_with_its_report(project: Miniature) -> None:
    outcome = project.pytest()
    assert outcome.exit == 0, outcome.text
    found = stated(project).predicate
    assert (found.result, found.mode, found.environment) == ("PASSED", "deploy", "local")
    assert found.passed_tests == found.expected_tests
    assert "features/gateway.feature: The gateway refuses what is too long [1024]" in found.passed_tests
    assert len(found.expected_tests) == 4
    assert not (found.failed_tests or found.skipped_tests or found.reasons or found.overrides)
    report = evidence(project)[-1].with_name(f"{found.run}.html").read_bytes()
    assert found.report_digest.text == f"sha256:{hashlib.sha256(report).hexdigest()}"
    assert b"<h1>GO</h1>" in report
    configured = {entry.name: entry.digest.text for entry in found.configuration}
    text = (project.root / "environments" / "local.yaml").read_bytes()
    assert configured["environments/local.yaml"] == f"sha256:{hashlib.sha256(text).hexdigest()}"
    assert "checklist" in configured


def test_every_run_leaves_its_own(project: Miniature) -> None:
    project.pytest()
    project.pytest()
    assert len(evidence(project)) == 2


@pytest.mark.parametrize("option", ["--plan", "--collect-only"])
def test_what_is_no_run_leaves_none(project: Miniature, option: str) -> None:
    project.pytest(option)
    assert evidence(project) == []


def test_a_failed_run_says_so(project: Miniature) -> None:
    project.feature(REFUTED)
    project.pytest().is_no_go()
    found = stated(project).predicate
    assert found.result == "FAILED"
    assert found.failed_tests == ("features/extra.feature: Refuted",)
    assert found.reasons == ("Refuted: refuted",)


def test_a_deselected_run_says_so(project: Miniature) -> None:
    project.pytest("-k", "not web_app").is_no_go()
    found = stated(project).predicate
    assert found.result == "FAILED"
    assert found.skipped_tests == ("features/web.feature: The web app shows itself",)
    assert set(found.skipped_tests) < set(found.expected_tests)


def test_a_run_that_stopped_early_says_so(project: Miniature) -> None:
    project.feature(REFUTED)
    project.pytest("-x").is_no_go()
    found = stated(project).predicate
    assert found.result == "FAILED"
    assert found.failed_tests and found.skipped_tests
    assert len(found.expected_tests) == 5


def test_a_refused_run_says_so(project: Miniature) -> None:
    project.feature("Feature: Extra\n\n  Scenario: Nothing\n    Given the gateway is deployed\n")
    project.pytest().is_refused()
    found = stated(project).predicate
    assert found.result == "FAILED"
    assert any("features/extra.feature:3" in reason for reason in found.reasons)


def test_a_verify_only_run_says_so(project: Miniature) -> None:
    project.pytest()
    project.pytest("--verify-only")
    found = stated(project).predicate
    assert (found.result, found.mode) == ("PASSED", "verify-only")


def waive(project: Miniature, expires: str) -> None:
    path = project.root / "environments" / "local.yaml"
    waiver = (
        f"  - check: mini.refuted\n    reason: mended this month\n    owner: ada\n    expires: {expires}\n"
    )
    path.write_text(f"{path.read_text()}\nwaivers:\n{waiver}")


def test_a_waived_run_says_so_and_names_the_waiver(project: Miniature) -> None:
    project.feature(REFUTED)
    waive(project, "2999-01-01")
    assert project.pytest().exit == 0
    found = stated(project).predicate
    assert found.result == "WARNED"
    assert found.warned_tests == ("features/extra.feature: Refuted",)
    assert (found.waivers[0].check, found.waivers[0].expires) == ("mini.refuted", "2999-01-01")


def test_an_expired_waiver_is_a_failure(project: Miniature) -> None:
    project.feature(REFUTED)
    waive(project, "2020-01-01")
    project.pytest().is_no_go()
    assert stated(project).predicate.result == "FAILED"


def test_a_replaced_setting_is_named(project: Miniature) -> None:
    project.pytest("--set", "gateway.limits.user_concurrency=9")
    assert stated(project).predicate.overrides == ("gateway.limits.user_concurrency=9",)


@pytest.mark.parametrize("setting", ["gate.maximum_age_hours=999", "predecessor=null", "waivers=[]"])
def test_no_option_changes_what_is_let_in(project: Miniature, setting: str) -> None:
    name = setting.partition(".")[0].partition("=")[0]
    project.pytest("--set", setting).is_refused(f"{name} decides what is let in: it is not for one run")


def test_a_tree_that_changes_during_the_run_is_no_pass(project: Miniature) -> None:
    project.steps("""
    from harness.checks.base import check
    from harness.evidence import holds

    @check("mini.writes", component="gateway")
    def writes(stack):
        (stack.root / "features" / "notes.txt").write_text("changed")
        return holds("written")

    @then("it changes the tree")
    def _(ask):
        ask(writes)
    """)
    project.feature("""
    Feature: Extra

      @env:local
      Scenario: Changes
        Given the gateway is deployed
        Then it changes the tree
    """)
    project.pytest().is_no_go("the tree changed during the run: checklist is ")
    assert stated(project).predicate.result == "FAILED"


def test_without_evidence_there_is_no_pass(project: Miniature) -> None:
    (project.root / ".harness").mkdir()
    (project.root / ".harness" / "evidence").write_text("in the way")
    project.pytest().is_no_go("the evidence could not be written")


def test_a_key_that_is_none_is_refused_before_anything_is_touched(project: Miniature) -> None:
    secrets = project.state / "secrets"
    secrets.mkdir(parents=True)
    (secrets / "runner_key").write_text("not-a-key-at-all")
    project.pytest().is_refused("local:runner_key: holds no private key (make one with: harness keys new")


# --- the gate in front of the next environment ------------------------------------------


class Second:
    """The miniature as a repository, with a second environment whose gate local must open."""

    def __init__(self, project: Miniature) -> None:
        self.project = project
        local = (project.root / "environments" / "local.yaml").read_text()
        head, _, rest = local.partition("gate:\n")
        gate = GATE.format(key=key_of(project).text)
        text = f"{head}{gate}{rest.partition(chr(10) * 2)[2]}".replace(
            "environment: local", "environment: staging\npredecessor: local", 1
        )
        project.write("environments/staging.yaml", text)
        project.edit("features/gateway.feature", "Then it is refuted", "Then it holds")
        for file in (
            "gateway/app.py",
            "requirements-gateway.txt",
            "Dockerfile",
            "supabase/rollbacks/20260101000000_a.sql",
        ):
            project.write(file, "")
        project.write("supabase/migrations/20260101000000_a.sql", "select 1;\n")
        project.write("web/package.json", "{}\n")
        project.write("inference/models.yaml", "{}\n")
        ignored = ".harness/\njournal.txt\noutput.txt\nasked.txt\nfirst.txt\n__pycache__/\nrelease.json\n"
        (project.root / ".gitignore").write_text(ignored)
        git(project.root, "init", "--quiet", "--initial-branch=main")
        commit(project.root, "everything")

    def pytest(self, *arguments: str) -> Outcome:
        return self.project.pytest("--env", "staging", *arguments)

    @property
    def run(self) -> dict[str, Any]:
        path = self.project.root / ".harness" / "staging" / "last-run.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def is_refused(self, *told: str) -> None:
        before = self.project.journal
        outcome = self.pytest()
        assert outcome.exit != 0, outcome.text
        assert "staging cannot be entered" in outcome.text, outcome.text
        for text in told:
            assert text in outcome.text, f"{text!r} is not in:\n{outcome.text}"
        assert self.project.journal == before, "something was deployed"


@pytest.fixture
def second(project: Miniature) -> Second:
    return Second(project)


def test_without_evidence_nothing_is_touched(second: Second) -> None:
    second.is_refused(
        "there is no evidence of a run in local (run the checklists there: pytest --env local features/)"
    )
    assert second.run == {}


def test_evidence_of_a_pass_opens_the_gate_once(second: Second) -> None:
    assert second.project.pytest().exit == 0
    outcome = second.pytest()
    assert outcome.exit == 0, outcome.text
    assert second.run["decision"] == "GO"
    assert stated(second.project, "staging").predicate.result == "PASSED"
    second.is_refused("was used already: begun ", "it ended ", ": GO (evidence counts once")
    assert second.project.pytest().exit == 0, "and local may run again"
    assert second.pytest().exit == 0, "which opens it again"


def test_what_looks_only_needs_no_gate(second: Second) -> None:
    assert second.pytest("--plan").exit == 0
    assert second.pytest("--verify-only").exit != 0, "nothing is deployed there yet"
    assert "cannot be entered" not in second.pytest("--verify-only").text


def test_a_failed_run_does_not_open_it(second: Second) -> None:
    second.project.feature(REFUTED)
    commit(second.project.root, "a check that fails")
    second.project.pytest()
    second.is_refused(
        "the run did not pass: Refuted: refuted", "tests failed: features/extra.feature: Refuted"
    )


def test_a_partial_run_does_not_open_it(second: Second) -> None:
    second.project.pytest("-k", "web_app")
    second.is_refused("tests were skipped or left out: features/gateway.feature")


def test_a_change_after_the_run_closes_it(second: Second) -> None:
    assert second.project.pytest().exit == 0
    second.project.write("gateway/app.py", "changed = True\n")
    commit(second.project.root, "one more thing")
    second.is_refused("it is about another gateway-source", "it is about another source")


def test_another_key_does_not_open_it(second: Second) -> None:
    assert second.project.pytest().exit == 0
    (second.project.state / "secrets" / "runner_key").unlink()
    assert second.project.pytest().exit == 0
    second.is_refused("is signed by no key that staging accepts for local")


def test_every_reason_at_once_with_what_else_is_missing(second: Second) -> None:
    second.project.edit("environments/staging.yaml", "local:metrics_token", "env:NO_SUCH_TOKEN")
    second.is_refused(
        "gateway.metrics_token: the environment variable NO_SUCH_TOKEN is not set",
        "the release was made from a tree with uncommitted changes (environments/staging.yaml)",
        "gate.evidence: there is no evidence",
    )


def test_a_release_that_is_not_this_tree(second: Second) -> None:
    assert second.project.pytest().exit == 0
    [release] = (second.project.root / ".harness/evidence/runs/local").glob("*.release.json")
    second.project.write("web/package.json", '{"name": "other"}\n')
    commit(second.project.root, "another web app")
    outcome = second.pytest("--release", str(release))
    assert outcome.exit != 0
    assert "this tree is not the release: web-build is " in outcome.text


def test_killed_between_deploy_and_evidence(second: Second) -> None:
    """SIGKILL while a check is asked: the promotion is used, nothing is signed, nothing opens with it."""
    second.project.feature("""
    Feature: Extra

      @env:staging
      Scenario: Slow
        Given the gateway is deployed
        Then the check is slow
    """)
    commit(second.project.root, "a slow check")
    assert second.project.pytest().exit == 0
    with (second.project.root / "first.txt").open("wb") as output:
        process = second.project.popen("--env", "staging", stdout=output.fileno())
    wait_until("the check to be asked", (second.project.root / "asked.txt").exists, seconds=60)
    process.kill()
    process.wait()
    assert evidence(second.project, "staging") == []
    second.is_refused("was used already: begun ", "it never ended: it was killed")


def test_up_does_not_go_round_the_gate(second: Second) -> None:
    from rich.console import Console

    from harness.errors import HarnessError
    from harness.up import deploy_all

    with pytest.raises(HarnessError, match="staging has a gate"):
        deploy_all(second.project.root, "staging", [], Console())


# --- drift ------------------------------------------


def test_drift_is_what_held_and_does_not_any_more(project: Miniature) -> None:
    from harness.drift import drift

    project.pytest()
    then = stated(project).predicate
    assert drift(then, project.pytest("--verify-only").run, project.root) == []
    (project.root / "journal.txt").write_text("web\n")  # somebody has stopped the gateway
    found = drift(then, project.pytest("--verify-only").run, project.root)
    assert any(line.startswith("gateway: ") for line in found)
    assert any(f"passed in run {then.run}; now refuted" in line for line in found), found
    assert not any("The web app shows itself" in line for line in found)


def drift_command(project: Miniature) -> subprocess.CompletedProcess[str]:
    argv = [
        sys.executable,
        "-c",
        "from harness.cli import main; main()",
        "drift",
        "--root",
        str(project.root),
    ]
    env = project.environment(PYTHONPATH=f"{ROOT}:{project.root}")
    return subprocess.run(
        argv, cwd=project.root, env=env, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_command_compares_with_the_last_evidence(project: Miniature) -> None:
    project.pytest()
    done = drift_command(project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NO DRIFT  local against run " in done.stdout
    (project.root / "journal.txt").write_text("web\n")
    done = drift_command(project)
    assert done.returncode == 1
    assert "DRIFT  " in done.stdout
    assert "✗ gateway: " in done.stdout


def test_a_public_key_that_is_not_that_of_the_signing_key_is_refused(project: Miniature) -> None:
    other = "ed25519:XqAK4D/MMDfNqHaEIBl9nqD5Vo/tCmeHhoFfTU70es4="
    project.edit(
        "environments/local.yaml",
        "  signing_key: local:runner_key",
        f"  public_key: {other}\n  signing_key: local:runner_key",
    )
    project.pytest().is_refused("local:runner_key: is not the private half of gate.public_key")


def test_an_environment_file_elsewhere_is_named_as_what_it_is(project: Miniature) -> None:
    project.write("elsewhere/local.yaml", (project.root / "environments" / "local.yaml").read_text())
    outcome = project.pytest("--env", "elsewhere/local.yaml")
    assert outcome.exit == 0, outcome.text
    names = [entry.name for entry in stated(project).predicate.configuration]
    assert names == ["checklist", "elsewhere/local.yaml"]


def test_a_check_that_is_not_asked_any_more_is_drift(project: Miniature) -> None:
    from harness.drift import drift

    project.pytest()
    then = stated(project).predicate
    found = drift(then, project.pytest("--verify-only", "-k", "not web_app").run, project.root)
    assert "The web app shows itself: passed in run" in found[0]
    assert "was not asked now" in found[0]
