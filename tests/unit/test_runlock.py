"""One run at a time."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.runlock import run_lock

HOLDER = """
import sys
from pathlib import Path
from harness.runlock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(state: Path) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", HOLDER, str(state)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_holder_is_told_who_the_first_is(tmp_path: Path) -> None:
    process = holder(tmp_path / "state")
    try:
        with (
            pytest.raises(HarnessError, match=rf"going on \(pid {process.pid}, since \d\d:"),
            run_lock(tmp_path / "state"),
        ):
            raise AssertionError("two hold it")
    finally:
        process.communicate("")


def test_it_is_free_when_its_holder_was_killed(tmp_path: Path) -> None:
    process = holder(tmp_path)
    process.kill()
    process.communicate()
    with run_lock(tmp_path):
        pass


def test_it_is_free_again_after_use_even_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inside"), run_lock(tmp_path):
        raise ValueError("inside")
    with run_lock(tmp_path):
        pass


def test_no_child_inherits_it(tmp_path: Path) -> None:
    with run_lock(tmp_path):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    try:
        with run_lock(tmp_path):
            pass
    finally:
        child.kill()
        child.communicate()


def test_a_half_written_file_is_no_riddle(tmp_path: Path) -> None:
    process = holder(tmp_path)
    try:
        (tmp_path / "run.lock").write_text("{")
        with pytest.raises(HarnessError, match="just started"), run_lock(tmp_path):
            raise AssertionError("two hold it")
    finally:
        process.communicate("")


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    with run_lock(tmp_path / "state"):
        assert stat.S_IMODE((tmp_path / "state" / "run.lock").stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_a_state_of_another_user_is_said_and_not_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("harness.runlock.os.open", refused)
    with pytest.raises(HarnessError, match="belongs to another user"), run_lock(tmp_path / "state"):
        raise AssertionError("it was held")
