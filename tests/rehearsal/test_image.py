"""The machines' images are built by a program that does not outlive whoever started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.rehearsal import image
from harness.waiting import wait_until

RECIPE = image.Recipe("example:1", ("one", "two"), "exit 0\n")
BUILDS = """
import sys
from pathlib import Path
from harness.rehearsal.image import Recipe, bootstrap
bootstrap(Recipe("example:1", (), ""), Path(sys.argv[1]))
"""


def stand_in(folder: Path, script: str) -> None:
    """A program called mmdebstrap that comes first in the path."""
    (folder / "mmdebstrap").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "mmdebstrap").chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def test_a_build_that_fails_is_reported_in_its_own_words(programs: Path, tmp_path: Path) -> None:
    stand_in(programs, "echo E: no such package: two >&2; exit 100")
    with pytest.raises(HarnessError, match="example:1: mmdebstrap ended with 100: E: no such package: two"):
        image.bootstrap(RECIPE, tmp_path / "build")


def test_the_packages_the_setup_and_the_archive_are_what_it_is_told(programs: Path, tmp_path: Path) -> None:
    stand_in(programs, f'printf "%s\\n" "$@" >{tmp_path}/told')
    archive = image.bootstrap(RECIPE, tmp_path / "build")
    told = (tmp_path / "told").read_text().splitlines()
    assert "--include=one,two" in told
    assert told[-2:] == ["bookworm", str(archive)]
    assert (tmp_path / "build" / "setup.sh").read_text() == "exit 0\n"


def test_a_build_ends_with_whoever_started_it(programs: Path, tmp_path: Path) -> None:
    stand_in(programs, f"echo $$ >{tmp_path}/pid; exec sleep 600")
    with subprocess.Popen([sys.executable, "-c", BUILDS, str(tmp_path / "build")]) as builder:
        pid = wait_until("the build", lambda: _pid(tmp_path / "pid"), seconds=60)
        builder.send_signal(signal.SIGKILL)
        builder.wait(30)
    wait_until("the end of the build", lambda: not Path(f"/proc/{pid}").exists(), seconds=30)


def _pid(path: Path) -> int:
    try:
        return int(path.read_text())
    except (FileNotFoundError, ValueError):
        return 0
