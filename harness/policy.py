"""Is the environment file that decides the one that a commit holds?

Whoever could let in a release by a file that nobody has reviewed would need no approval.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from harness.environment import Environment
from harness.environment.loader import environment_path
from harness.environment.yaml_tree import read_tree
from harness.errors import Problem

__all__ = ["committed", "policy_problems"]

_SECONDS = 5.0


def policy_problems(environment: Environment, content: bytes, root: Path) -> list[Problem]:
    """Why the file ``content``, from which ``environment`` was read, may not decide; empty when it may.

    An environment without a predecessor, here and in the commit, decides nothing: its file may be edited.
    """
    shown = environment_path(environment.environment)
    held = committed(root, shown)
    if held == content or (environment.predecessor is None and not _gated(held)):
        return []
    what = f"{shown} is not what the commit holds that is checked out"
    if held is None:
        what = f"{shown} is in no commit that is checked out"
    hint = f"git diff {shown}; what decides is changed by a reviewed commit"
    return [Problem("gate.policy", what, hint)]


def committed(root: Path, name: str) -> bytes | None:
    """The content of the file ``name`` in the commit that is checked out at ``root``; None without one."""
    # safe.directory: root may look at the checkout of an ordinary user
    argv = ["git", "-c", f"safe.directory={root.resolve()}", "--no-replace-objects", "-C", str(root)]
    environ = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(
            [*argv, "cat-file", "blob", f"HEAD:./{name}"],
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            env=environ,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _gated(held: bytes | None) -> bool:
    data = read_tree((held or b"").decode("utf-8", "replace")).data
    return isinstance(data, dict) and data.get("predecessor") is not None
