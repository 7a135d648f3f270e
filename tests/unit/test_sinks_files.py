"""What a run leaves on disk."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.evidence import Verdict
from harness.ledger import Ledger, ScenarioRecord
from harness.redaction import MASK, register
from harness.sinks import files
from harness.sinks.files import clean_file, require_room, write_run, write_unfinished

START = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger("local", "20260102T000000Z-abc", False, START, by="ada")
    scenario = ("Gateway", "", "It answers", "", ("GW-3",), "f:1", Verdict.HOLDS, "seen", (), 0.1)
    made.scenarios = [ScenarioRecord(*scenario)]
    return made


def test_the_last_run_is_the_newest_one(tmp_path: Path, ledger: Ledger) -> None:
    first = write_run(ledger, tmp_path)
    ledger.run_id = "20260102T000001Z-abc"
    second = write_run(ledger, tmp_path)
    assert (tmp_path / "last-run.json").resolve() == second
    assert json.loads(first.read_text())["run"] < json.loads(second.read_text())["run"]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [first.name, second.name]


def test_a_run_that_has_begun_is_no_pass_until_it_has_ended(tmp_path: Path, ledger: Ledger) -> None:
    path = write_unfinished(ledger, tmp_path)
    begun = json.loads(path.read_text())
    assert begun["decision"] == "NO-GO"
    assert begun["reasons"] == ["the run has not ended: it is still going on, or it was killed"]
    assert write_run(ledger, tmp_path) == path
    assert json.loads(path.read_text())["decision"] == "GO"


def test_secrets_are_redacted_in_both(tmp_path: Path, ledger: Ledger) -> None:
    register("files-sentinel-1")
    ledger.troubles = ["psql: files-sentinel-1"]
    assert MASK in write_run(ledger, tmp_path).read_text()
    ledger.by = "files-sentinel-1"
    assert "files-sentinel-1" not in write_unfinished(ledger, tmp_path).read_text()


def test_clean_file_leaves_alone_what_is_clean_or_no_text(tmp_path: Path) -> None:
    register("files-sentinel-2")
    dirty, binary = tmp_path / "dirty.txt", tmp_path / "picture.png"
    dirty.write_text("a files-sentinel-2 b")
    binary.write_bytes(b"\x89PNG\xff\xfe")
    clean_file(dirty)
    clean_file(binary)
    assert dirty.read_text() == f"a {MASK} b"
    assert binary.read_bytes() == b"\x89PNG\xff\xfe"


def test_a_run_that_could_not_be_written_down_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_room(tmp_path)
    (tmp_path / "runs").mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(files.os, "access", lambda path, mode: path != tmp_path / "runs")
        with pytest.raises(HarnessError, match=r"/runs cannot be written by this user: chmod u\+rwx"):
            require_room(tmp_path)
    full = files.shutil.disk_usage(tmp_path)._replace(free=3 << 20)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: full)
    with pytest.raises(HarnessError, match="3 MiB are free, and a run needs 100 MiB: make room"):
        require_room(tmp_path)
