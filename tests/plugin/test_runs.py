"""What a run does, changes, refuses to do twice at once, and leaves behind when it is ended."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys

import pytest

from harness.waiting import wait_until
from tests.plugin.miniature_project import Miniature

SLOW = """
    Feature: Extra

      Scenario: Something slow
        Given the gateway is deployed
        Then the check is slow
"""
DRILL = """
    Feature: Extra

      @drill
      Scenario: It recovers
        Given the gateway is deployed
        Then it recovers
"""
PATIENCE = 30.0


def test_hypothesis_is_not_loaded_to_print_nothing(project: Miniature) -> None:
    argv = [sys.executable, "-X", "importtime", "-m", "pytest", *project.argv(), "features/"]
    done = subprocess.run(
        argv, cwd=project.root, env=project.environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "_hypothesis_globals" in done.stderr  # its plug-in is installed, and pytest finds it
    assert "hypothesis.core" not in done.stderr


def test_a_good_run_is_a_go(project: Miniature) -> None:
    outcome = project.pytest()
    assert outcome.exit == 0, outcome.text
    assert outcome.last_line.startswith("GO  local: this release may be promoted")
    assert outcome.run["decision"] == "GO"
    assert outcome.run["reasons"] == []
    assert sorted(project.journal) == ["gateway", "instant", "supabase", "thinking", "web"]
    assert set(outcome.run["release"]) == {"gateway", "instant", "supabase", "thinking", "web"}
    assert outcome.run["by"]
    assert [(entry["item"], entry["name"]) for entry in outcome.run["not_applicable"]] == [
        ("GW-1", "The image carries no secrets")
    ]


def test_the_second_run_changes_nothing(project: Miniature) -> None:
    project.pytest()
    before = project.journal
    outcome = project.pytest()
    assert outcome.exit == 0
    assert project.journal == before
    assert [component["changes"] for component in outcome.run["components"]] == [[]] * 5
    assert outcome.text.count("unchanged") == 5


def test_what_does_not_apply_is_never_counted_as_passed(project: Miniature) -> None:
    outcome = project.pytest()
    assert "4 holds, 1 not applicable" in outcome.text
    assert "GW-1" not in [item for scenario in outcome.run["scenarios"] for item in scenario["items"]]


def test_verify_only_of_what_is_deployed(project: Miniature) -> None:
    project.pytest()
    before = project.journal
    outcome = project.pytest("--verify-only")
    assert outcome.exit == 0, outcome.text
    assert outcome.run["decision"] == "VERIFIED"
    assert outcome.last_line.startswith("VERIFIED  local: as declared, nothing was changed")
    assert project.journal == before


def test_verify_only_finds_drift_and_changes_nothing(project: Miniature) -> None:
    project.pytest("--verify-only").is_refused(
        "gateway is not as declared: a deploy would change start gateway"
    )


def test_verify_only_disturbs_nothing_and_says_so(project: Miniature) -> None:
    project.feature(DRILL)
    outcome = project.pytest()
    assert outcome.exit == 0, outcome.text
    assert project.journal[-1] == "disturbed"
    outcome = project.pytest("--verify-only")
    assert outcome.exit == 0, outcome.text
    assert project.journal.count("disturbed") == 1
    assert "It recovers: not run: it disturbs; --verify-only does not" in outcome.text
    assert "1 not run" in outcome.text


def test_plan_prints_what_would_change_and_changes_nothing(project: Miniature) -> None:
    outcome = project.pytest("--plan")
    assert outcome.exit == 0, outcome.text
    assert "start gateway" in outcome.text
    assert project.journal == []
    assert outcome.run == {}
    assert "GO" not in outcome.text.split()


def test_plan_of_what_is_deployed(project: Miniature) -> None:
    project.pytest()
    run = project.pytest("--plan").run
    assert run["decision"] == "GO", "a plan is no run"
    assert project.pytest("--plan").text.count("unchanged") == 2


def test_collect_only_is_no_run(project: Miniature) -> None:
    outcome = project.pytest("--collect-only", "-q")
    assert outcome.exit == 0
    assert outcome.run == {}
    assert "GO" not in outcome.text.split()
    assert project.journal == []


def test_tests_that_are_no_checklist_need_no_environment(project: Miniature) -> None:
    project.write("other/test_fine.py", "def test_fine():\n    pass\n")
    outcome = project.pytest("--env", "", paths=("other",))
    assert outcome.exit == 0, outcome.text


def begun(project: Miniature) -> subprocess.Popen[bytes]:
    """A run that is waiting for a slow check."""
    project.feature(SLOW)
    with (project.root / "first.txt").open("wb") as output:
        process = project.popen(stdout=output.fileno())
    wait_until("the check to be asked", (project.root / "asked.txt").exists, seconds=PATIENCE)
    return process


def test_a_second_run_at_the_same_time_is_refused_and_touches_nothing(project: Miniature) -> None:
    process = begun(project)
    try:
        results = sorted(path.name for path in (project.state / "allure-results").iterdir())
        journal = project.journal
        outcome = project.pytest()
        assert outcome.exit == 4
        assert f"another run of this environment is going on (pid {process.pid}" in outcome.text
        assert project.journal == journal
        assert results == sorted(path.name for path in (project.state / "allure-results").iterdir())
        assert len(list((project.state / "runs").iterdir())) == 1, "the refused one wrote a run"
    finally:
        process.kill()
        process.wait(PATIENCE)


def test_kill_9_leaves_the_lock_free_and_no_pass_behind(project: Miniature) -> None:
    project.pytest()
    process = begun(project)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(PATIENCE)
    left = json.loads((project.state / "last-run.json").read_text())
    assert left["decision"] == "NO-GO"
    assert "killed" in left["reasons"][0]
    with (project.state / "run.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    (project.root / "features" / "extra.feature").unlink()
    assert project.pytest().exit == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_no_pass(project: Miniature, number: signal.Signals) -> None:
    project.pytest()
    process = begun(project)
    try:
        os.kill(process.pid, number)
        assert process.wait(PATIENCE) != 0
    finally:
        process.kill()
        process.wait(PATIENCE)
    run = json.loads((project.state / "last-run.json").read_text())
    assert run["decision"] == "NO-GO"
    if number is signal.SIGINT:
        text = (project.root / "first.txt").read_text()
        assert text.rstrip().splitlines()[-1].startswith("NO-GO  local: do not promote")
        assert "the run was interrupted before its end" in text
        assert "Something slow applies here and was not run: the run ended before it" in text
        assert "features/extra.feature:3" in text


@pytest.mark.parametrize("writer", ["files._write", "allure.AllureSink.scenario"])
def test_a_disk_that_fills_up_is_no_go_and_is_told_in_the_end(project: Miniature, writer: str) -> None:
    module = writer.partition(".")[0]
    project.feature("""
    Feature: Extra

      Scenario: The disk fills up
        Given the gateway is deployed
        Then the disk fills up
    """)
    project.steps(f"""
    from harness.checks.base import check
    from harness.evidence import holds
    from harness.sinks import {module}

    @check("mini.fills", component="gateway")
    def fills(stack):
        def full(*arguments):
            raise OSError(28, "No space left on device", "runs/one.json")

        {writer} = full
        return holds("filled")

    @then("the disk fills up")
    def _(ask):
        ask(fills)
    """)
    outcome = project.pytest()
    outcome.is_no_go("what this run saw could not be written: No space left on device (runs/one.json)")
    assert outcome.text.count("could not be written") == 1
    assert outcome.last_line.startswith("NO-GO  local: do not promote")
    assert "Traceback" not in outcome.text
