"""Node and npm: found, new enough, and the packages of a lock file installed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness.errors import DeployError

__all__ = ["Node", "find_node", "install_packages", "packages_match"]

OLDEST = (20, 9)
_HINT = "install Node 20.9 or newer (Debian: the package nodejs; or nvm install 20), then run it again"
_INSTALL_SECONDS = 300


@dataclass(frozen=True)
class Node:
    """An installed Node: the path of its executable, and its version such as 20.20.2."""

    path: str
    version: str


def find_node(component: str) -> Node:
    """The Node on the PATH.

    Raises:
        DeployError: when there is none, it does not run, or it is too old.
    """
    path = shutil.which("node")
    if path is None:
        raise DeployError(component, "there is no `node` on the PATH", _HINT)
    try:
        done = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise DeployError(component, f"{path} does not run: {error}", _HINT) from error
    found = re.match(r"v(\d+)\.(\d+)\.", done.stdout)
    if not found or (int(found[1]), int(found[2])) < OLDEST:
        version = done.stdout.strip() or "of an unknown version"
        raise DeployError(component, f"{path} is Node {version}; the web app needs 20.9 or newer", _HINT)
    return Node(path, done.stdout.strip().removeprefix("v"))


def packages_match(folder: Path) -> bool:
    """Whether ``folder``/node_modules holds exactly what its lock file names (optional ones may lack)."""
    try:
        wanted = json.loads((folder / "package-lock.json").read_text(encoding="utf-8"))["packages"]
        have = json.loads((folder / "node_modules/.package-lock.json").read_text(encoding="utf-8"))[
            "packages"
        ]
    except (OSError, ValueError, KeyError):
        return False
    for path, package in wanted.items():
        if not path or (package.get("optional") and path not in have):
            continue
        if have.get(path, {}).get("version") != package.get("version"):
            return False
    return all(path in wanted for path in have)


def install_packages(component: str, folder: Path, log: Path) -> None:
    """`npm install` (what the lock says, nothing written back) in ``folder``, its output in ``log``.

    Raises:
        DeployError: when npm is absent or fails; shows the first lines that say why.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise DeployError(component, "there is no `npm` on the PATH", _HINT)
    argv = [npm, "install", "--no-save", "--no-fund", "--no-audit"]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as output:
        try:
            done = subprocess.run(
                argv,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=_INSTALL_SECONDS,
                check=False,
                env=dict(os.environ),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DeployError(component, f"npm install: {error}", f"read {log}") from error
    if done.returncode:
        lines = [line for line in log.read_text(errors="replace").splitlines() if "npm error" in line][:6]
        shown = "".join(f"\n    | {line}" for line in lines)
        raise DeployError(component, f"npm install failed ({done.returncode}){shown}", f"read {log}")
