"""The TypeScript of the web app: its types, its own tests, and what its lock file may not name."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.providers.local.node import find_node, packages_match

WEB = Path(__file__).parents[2] / "web"


def run(*argv: str, cwd: Path = WEB) -> None:
    done = subprocess.run(
        argv, cwd=cwd, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_types_are_right() -> None:
    run(find_node("web").path, "node_modules/typescript/bin/tsc", "--noEmit", "--incremental", "false")


def test_its_own_tests_pass() -> None:
    run(find_node("web").path, "--test", "tests/")


def test_the_lock_file_is_whole_for_every_platform(tmp_path: Path) -> None:
    """`npm ci` refuses a lock file that lacks what package.json or another platform needs."""
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(WEB / name, tmp_path)
    run("npm", "ci", "--dry-run", "--offline", "--no-audit", "--no-fund", cwd=tmp_path)
    lock = json.loads((tmp_path / "package-lock.json").read_text())
    del lock["packages"]["node_modules/@next/swc-darwin-arm64"]
    (tmp_path / "package-lock.json").write_text(json.dumps(lock))
    with pytest.raises(AssertionError, match="swc-darwin-arm64"):
        run("npm", "ci", "--dry-run", "--offline", "--no-audit", "--no-fund", cwd=tmp_path)


def test_the_lock_file_names_no_host_to_download_from() -> None:
    packages = json.loads((WEB / "package-lock.json").read_text())["packages"]
    assert len(packages) > 20
    assert not [name for name, package in packages.items() if "resolved" in package]
    assert not [name for name, package in packages.items() if name and "integrity" not in package]


def test_versions_are_exact() -> None:
    wanted = json.loads((WEB / "package.json").read_text())
    for version in {**wanted["dependencies"], **wanted["devDependencies"]}.values():
        assert version[0].isdigit(), version


def test_the_installed_packages_are_those_of_the_lock_file() -> None:
    assert packages_match(WEB)
