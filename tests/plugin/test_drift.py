"""Real runs: what has drifted since the last evidence."""

from __future__ import annotations

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
