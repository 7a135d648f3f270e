"""Node absent, too old or broken; packages that do not match; npm that fails: each says what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness.errors import DeployError
from harness.providers.local.node import find_node, install_packages, packages_match


def script(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("echo v18.20.4", "is Node v18.20.4; the web app needs 20.9"),
        ("echo v20.8.1", "is Node v20.8.1"),
        ("echo hello", "is Node hello"),
        ("exit 3", "does not run"),
    ],
)
def test_an_unfit_node_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, what: str
) -> None:
    script(tmp_path / "bin", "node", text)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    with pytest.raises(DeployError, match=what) as caught:
        find_node("web")
    assert "what to do: install Node 20.9" in str(caught.value)


def test_no_node_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeployError, match="no `node` on the PATH"):
        find_node("web")


@pytest.mark.parametrize("version", ["20.9.0", "20.20.2", "24.1.0"])
def test_a_fit_node_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    script(tmp_path / "bin", "node", f"echo v{version}")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert find_node("web").version == version


def lock(folder: Path, name: str, packages: dict[str, dict[str, object]]) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps({"packages": packages}))


def test_packages_match_their_lock_file(tmp_path: Path) -> None:
    wanted = {
        "": {},
        "node_modules/a": {"version": "1.0.0"},
        "node_modules/b": {"version": "1", "optional": True},
    }
    lock(tmp_path, "package-lock.json", wanted)
    assert not packages_match(tmp_path)
    hidden = "node_modules/.package-lock.json"
    lock(tmp_path, hidden, {"node_modules/a": {"version": "1.0.0"}})
    assert packages_match(tmp_path)
    lock(tmp_path, hidden, {"node_modules/a": {"version": "1.0.1"}})
    assert not packages_match(tmp_path)
    lock(tmp_path, hidden, {"node_modules/a": {"version": "1.0.0"}, "node_modules/c": {"version": "1"}})
    assert not packages_match(tmp_path)
    (tmp_path / hidden).write_text("{")
    assert not packages_match(tmp_path)


def test_npm_that_fails_shows_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(
        tmp_path / "bin", "npm", "echo npm error code EUSAGE; echo npm error lock file out of date; exit 1"
    )
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    with pytest.raises(DeployError, match="lock file out of date"):
        install_packages("web", tmp_path, tmp_path / "logs" / "npm.log")
    assert shutil.which("npm") is not None
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeployError, match="no `npm` on the PATH"):
        install_packages("web", tmp_path, tmp_path / "logs" / "npm.log")
