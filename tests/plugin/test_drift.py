"""Real runs: what has drifted since the last evidence."""

from __future__ import annotations

import hashlib
import subprocess
import sys

from tests.plugin.evidence_of_runs import stated
from tests.plugin.miniature_project import ROOT, Miniature

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


def test_evidence_names_the_file_that_was_loaded(project: Miniature) -> None:
    """It is edited while the run goes on: what is signed is about what configured it."""
    path = project.root / "environments" / "local.yaml"
    before = path.read_bytes()
    project.steps("""
    from harness.checks.base import check
    from harness.evidence import holds

    @check("mini.edits", component="gateway")
    def edits(stack):
        path = stack.root / "environments" / "local.yaml"
        path.write_text(path.read_text() + "# edited\\n")
        return holds("edited")

    @then("it edits the environment")
    def _(ask):
        ask(edits)
    """)
    project.feature("""
    Feature: Extra

      @env:local
      Scenario: Edits
        Given the gateway is deployed
        Then it edits the environment
    """)
    project.pytest()
    assert path.read_bytes() != before
    named = {entry.name: entry.digest.text for entry in stated(project).predicate.configuration}
    assert set(named) == {"checklist", "environments/local.yaml"}
    assert named["environments/local.yaml"] == f"sha256:{hashlib.sha256(before).hexdigest()}"


def test_a_check_that_is_not_asked_any_more_is_drift(project: Miniature) -> None:
    from harness.drift import drift

    project.pytest()
    then = stated(project).predicate
    found = drift(then, project.pytest("--verify-only", "-k", "not web_app").run, project.root)
    assert "The web app shows itself: passed in run" in found[0]
    assert "was not asked now" in found[0]
