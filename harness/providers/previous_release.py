"""What the schema was at the previous release: from the newest tag, or from what is applied."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.migrations import Migration, compare, migration_named
from harness.provenance import git_environ

__all__ = ["Previous", "previous_release"]

_SECONDS = 10.0


@dataclass(frozen=True)
class Previous:
    """The migrations of the previous release, as they were then; ``origin`` says how that is known."""

    migrations: tuple[Migration, ...]
    origin: str


def previous_release(source: Path, files: Sequence[Migration], applied: Sequence[Migration]) -> Previous:
    """The release before ``files`` (those in ``source``/migrations).

    While some are pending, it is what is ``applied``. Else it is the newest tag of the repository that has
    fewer migrations, and without one, everything but the newest migration.
    """
    if compare(files, applied).pending and applied:
        return Previous(tuple(applied), f"what is applied, up to {applied[-1].label}")
    tag, tagged = _tagged(source)
    if tagged and len(tagged) < len(files):
        return Previous(tagged, f"the tag {tag}, up to {tagged[-1].label}")
    return Previous(tuple(files[:-1]), f"everything before {files[-1].label}")


def _tagged(source: Path) -> tuple[str, tuple[Migration, ...]]:
    """The newest tag that the checkout descends from, and its migrations; nothing when there is none."""
    tag = _git(source, "describe", "--tags", "--abbrev=0").strip()
    if not tag:
        return "", ()
    names = _git(source, "ls-tree", "-r", "--name-only", tag, "--", "migrations").splitlines()
    found = [_shown(source, tag, name) for name in names if name.endswith(".sql")]
    return tag, tuple(sorted((m for m in found if m), key=lambda m: m.version))


def _shown(source: Path, tag: str, name: str) -> Migration | None:
    return migration_named(source / name, _git(source, "show", f"{tag}:./{name}"))


def _git(directory: Path, *arguments: str) -> str:
    argv = ["git", "-C", str(directory), *arguments]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=_SECONDS, check=False, env=git_environ()
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
