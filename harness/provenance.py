"""Who ran it, and from which source: what a reader of a report asks first."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Source", "account", "git_environ", "revision", "source", "who"]

_SECONDS = 5.0
_NAMED = 20  # changed files that a release names


@dataclass(frozen=True)
class Source:
    """A commit (40 or 64 digits; empty outside a repository), and which files differed from it."""

    commit: str = ""
    dirty: bool = False
    changed: tuple[str, ...] = ()


def account() -> str:
    """The account behind this run: of the forge, or of this machine."""
    if actor := os.environ.get("GITHUB_ACTOR"):
        return actor
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        return f"uid {os.getuid()}"


def who() -> str:
    """The person or pipeline behind this run."""
    if os.environ.get("GITHUB_ACTOR"):
        return f"{account()} (run {os.environ.get('GITHUB_RUN_ID', '?')})"
    return f"{account()} on {socket.gethostname()}"


def revision(root: Path) -> str:
    """The commit of ``root``, with `+changes` when files differ from it; empty outside a repository."""
    found = source(root)
    return f"{found.commit[:12]}+changes" if found.dirty else found.commit[:12]


def source(root: Path) -> Source:
    """The commit of ``root`` and the files that differ from it, those that git does not know included.

    A tree of which git cannot say whether it is clean is not: it names git's reason among its changes.
    """
    try:
        commit = _git(root, "rev-parse", "HEAD")
    except _Unanswered:  # no repository, or none with a commit: no gate lets in what no commit names
        return Source()
    try:
        lines = _git(root, "status", "--porcelain", "--untracked-files=normal").splitlines()
    except _Unanswered as unanswered:
        return Source(commit, True, (f"git cannot say what differs: {unanswered}",))
    changed = sorted(line[3:] if line[2:3] == " " else line[2:] for line in lines)
    return Source(commit, bool(changed), tuple(changed[:_NAMED]))


def git_environ() -> dict[str, str]:
    """The environment for git, without what would make it speak of another repository than it is asked for
    (GIT_DIR, GIT_WORK_TREE, GIT_INDEX_FILE, GIT_CONFIG_COUNT and their like).
    """
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}


class _Unanswered(Exception):
    """Git was asked and did not say."""


def _git(root: Path, *arguments: str) -> str:
    # safe.directory: root may look at the checkout of an ordinary user
    argv = ["git", "-c", f"safe.directory={root.resolve()}", "-C", str(root), *arguments]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=_SECONDS, check=False, env=git_environ()
        )
    except OSError as error:
        raise _Unanswered(str(error)) from error
    except subprocess.TimeoutExpired:
        raise _Unanswered(f"no answer within {_SECONDS:g} s") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise _Unanswered(said[-1] if said else f"exit status {done.returncode}")
    return done.stdout.rstrip("\n")
