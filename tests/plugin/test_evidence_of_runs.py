"""Real runs: what evidence they leave."""

from __future__ import annotations

import datetime as dt
import hashlib

import pytest

from tests.plugin.evidence_of_runs import REFUTED, evidence, stated
from tests.plugin.miniature_project import Miniature

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
    day = (dt.datetime.now(dt.UTC) + dt.timedelta(days=30)).date().isoformat()
    waive(project, day)
    assert project.pytest().exit == 0
    found = stated(project).predicate
    assert found.result == "WARNED"
    assert found.warned_tests == ("features/extra.feature: Refuted",)
    [waiver] = found.waivers
    assert (waiver.check, waiver.expires) == ("mini.refuted", day)
    assert waiver.tests == found.warned_tests
    assert waiver.findings and waiver.findings[0].startswith("mini.refuted: ")


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
    (secrets / "runner_key").chmod(0o600)
    project.pytest().is_refused("local:runner_key: holds no private key (make one with: harness keys new")
