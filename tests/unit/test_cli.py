"""`harness status` and `harness down`: an environment that never was is an error, and leaves nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness import cli
from harness.errors import ConfigurationError


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "environments").mkdir()
    (tmp_path / "environments/local.yaml").write_text(json.dumps({}))
    monkeypatch.setattr(cli, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", ["status", "down"])
@pytest.mark.parametrize(("name", "hint"), [("locl", "local"), ("", "local"), ("../x", "is a path")])
def test_an_environment_that_never_was_is_an_error(root: Path, command: str, name: str, hint: str) -> None:
    run = CliRunner().invoke(cli.app, [command, "--env", name])
    assert isinstance(run.exception, ConfigurationError)
    assert hint in str(run.exception)
    assert not (root / ".harness").exists()


def test_an_environment_whose_file_is_gone_can_still_be_stopped(root: Path) -> None:
    (root / ".harness" / "old").mkdir(parents=True)
    run = CliRunner().invoke(cli.app, ["down", "--env", "old"])
    assert (run.exit_code, run.output) == (0, "nothing of old was running\n")
