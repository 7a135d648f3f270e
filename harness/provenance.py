"""Who ran it, and from which source: what a reader of a report asks first."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
from pathlib import Path

__all__ = ["revision", "who"]

_SECONDS = 5.0


def who() -> str:
    """The person or pipeline behind this run."""
    if actor := os.environ.get("GITHUB_ACTOR"):
        return f"{actor} (run {os.environ.get('GITHUB_RUN_ID', '?')})"
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        user = f"uid {os.getuid()}"
    return f"{user} on {socket.gethostname()}"


def revision(root: Path) -> str:
    """The commit of ``root``, with `+changes` when files differ from it; empty outside a repository."""
    commit = _git(root, "rev-parse", "--short=12", "HEAD")
    if not commit:
        return ""
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    return f"{commit}+changes" if changed else commit


def _git(root: Path, *arguments: str) -> str:
    argv = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
