"""Real runs: how the gate stands in front of the next environment."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.waiting import wait_until
from tests.plugin.evidence_of_runs import GATE, REFUTED, evidence, key_of, stated
from tests.plugin.miniature_project import ROOT, ForkServer, Miniature, Outcome
from tests.release_tree import commit, git

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


def test_an_environment_file_elsewhere_deploys_nothing(second: Second) -> None:
    """A copy without anything that the gate demands."""
    text = (second.project.root / "environments" / "staging.yaml").read_text()
    text = text.replace("predecessor: local\n", "")
    second.project.write("elsewhere/staging.yaml", re.sub(r"  runners:\n(    .*\n)+", "", text))
    for path in ("elsewhere/staging.yaml", str(second.project.root / "elsewhere" / "staging.yaml")):
        outcome = second.project.pytest("--env", path)
        assert outcome.exit != 0, outcome.text
        assert "is a path; an environment is called by its name" in outcome.text
        assert "did you mean staging?" in outcome.text
    assert not second.project.journal, "something was deployed"


def test_a_gate_that_was_taken_away_without_a_commit(second: Second) -> None:
    """In the file itself this time, with and without git being told to overlook it."""
    from rich.console import Console

    from harness.errors import HarnessError
    from harness.up import deploy_all

    path = second.project.root / "environments" / "staging.yaml"
    text = path.read_text().replace("predecessor: local\n", "")
    path.write_text(re.sub(r"  runners:\n(    .*\n)+", "", text))
    second.is_refused("gate.policy: environments/staging.yaml is not what the commit holds")
    git(second.project.root, "update-index", "--assume-unchanged", "environments/staging.yaml")
    second.is_refused("gate.policy: environments/staging.yaml is not what the commit holds")
    with pytest.raises(HarnessError, match="staging has a gate"):
        deploy_all(second.project.root, "staging", [], Console())


FASTER = """
from harness.promotion import Promotion

claim = Promotion.claim


def slower(self, signer):
    if self.environment.predecessor:
        name = f"promotions/staging/{self._decision.promotion}.json"
        self.store.put(name, b'{"begun": "now", "by": "another machine"}')
    return claim(self, signer)


Promotion.claim = slower
"""
FULL = """
from harness.errors import HarnessError
from harness.promotion import Promotion


def finish(self, outcome):
    if self.environment.predecessor:
        raise HarnessError("the store is full")


Promotion.finish = finish
"""


def meddled_with(second: Second, code: str) -> None:
    """The same harness, but for what ``code`` does to it in staging; local has passed."""
    path = second.project.root / "conftest.py"
    path.write_text(f"{path.read_text()}\n{code}")
    commit(second.project.root, "something else happens")
    assert second.project.pytest().exit == 0


def test_who_was_slower_signs_nothing_about_the_release(second: Second) -> None:
    """It has touched nothing; that it failed in staging would close the gate behind the one that got in."""
    meddled_with(second, FASTER)
    before = second.project.journal
    outcome = second.pytest()
    assert outcome.exit != 0
    assert "was used already: begun now by another machine" in outcome.text
    assert second.run["decision"] == "NO-GO"
    assert second.project.journal == before, "something was deployed"
    store = second.project.root / ".harness" / "evidence"
    assert not evidence(second.project, "staging")
    assert not list((store / "decisions").glob("staging/*")), "nor that it was let in"


def test_a_promotion_whose_end_cannot_be_written_is_no_pass_anywhere(second: Second) -> None:
    meddled_with(second, FULL)
    outcome = second.pytest()
    assert outcome.exit != 0
    assert second.run["decision"] == "NO-GO"
    found = stated(second.project, "staging").predicate
    assert found.result == "FAILED"
    assert found.reasons == ("the end of the promotion could not be written down: the store is full",)


def test_up_does_not_go_round_the_gate(second: Second) -> None:
    from rich.console import Console

    from harness.errors import HarnessError
    from harness.up import deploy_all

    with pytest.raises(HarnessError, match="staging has a gate"):
        deploy_all(second.project.root, "staging", [], Console())


EVIL = """
    from dataclasses import replace

    from harness.conductor import Conductor
    from harness.evidence import holds

    honest = Conductor.answer


    def answer(self, question):
        found = honest(self, question)
        if found.verdict.passes:
            return found
        return replace(holds("fine"), check=found.check, component=found.component)


    Conductor.answer = answer
"""


class Process(ForkServer):
    """A process of its own for every run: a variable of Python's counts only from its start."""

    def __init__(self) -> None:
        pass

    def run(self, argv: list[str], cwd: Path, env: dict[str, str], output: Path) -> int:
        command = [sys.executable, "-m", "pytest", *argv]
        with output.open("wb") as out:
            return subprocess.run(
                command, cwd=cwd, env=env, stdout=out, stderr=subprocess.STDOUT, check=False
            ).returncode


@pytest.mark.parametrize("way", ["-p", "PYTEST_PLUGINS", "PYTEST_ADDOPTS", "ignored", "conftest"])
def test_a_plugin_from_elsewhere_opens_no_gate(tmp_path: Path, way: str) -> None:
    """It can make every check pass; so evidence names it, however it came in."""
    project = Miniature(tmp_path / "project", Process())
    second = Second(project)
    project.feature(REFUTED)
    commit(project.root, "a check that fails")
    inside = way == "ignored"
    folder = project.root / ".harness" if inside else project.root.parent / "elsewhere"
    project.write(f"{folder}/evil.py", EVIL)
    options = {"-p": ("-p", "evil"), "ignored": ("-p", "evil"), "conftest": ("--confcutdir=/",)}
    told = options.get(way, ())
    env = {"PYTEST_PLUGINS": "evil"} if way == "PYTEST_PLUGINS" else {}
    env |= {"PYTEST_ADDOPTS": "-p evil"} if way == "PYTEST_ADDOPTS" else {}
    if way == "conftest":
        project.write(f"{tmp_path}/conftest.py", EVIL)
    outcome = project.pytest(*told, PYTHONPATH=f"{folder}:{ROOT}", **env)
    assert outcome.exit == 0, f"it did not even fool the run:\n{outcome.text}"
    assert "opens no gate: pytest: the plug-in " in outcome.text
    found = stated(project).predicate
    assert found.result == "PASSED" and any("the plug-in" in line for line in found.overrides)
    assert set(told) <= set(found.arguments)
    second.is_refused("the run was not that of this tree alone: the plug-in ")
