"""Limits of this machine's kernel that a rehearsal meets."""

from __future__ import annotations

from pathlib import Path

from harness.errors import HarnessError
from harness.rehearsal.engine import Say

__all__ = ["INOTIFY", "WANTED_INSTANCES", "ensure_limits"]

INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
WANTED_INSTANCES = 1024
"""A machine's systemd takes 7 to 9, and all machines share this one's limit, which is often 128."""


def ensure_limits(say: Say, limit: Path = INOTIFY) -> bool:
    """Raise the number of inotify instances that a user may have, where it is low; whether it was.

    It stays raised until this machine restarts: lowering it again would break what has come to use it.

    Raises:
        HarnessError: when it cannot be raised.
    """
    if int(limit.read_text()) >= WANTED_INSTANCES:
        return False
    say(f"raising fs.inotify.max_user_instances to {WANTED_INSTANCES}")
    try:
        limit.write_text(f"{WANTED_INSTANCES}\n")
    except OSError as error:
        hint = f"sysctl fs.inotify.max_user_instances={WANTED_INSTANCES}"
        raise HarnessError(
            f"{limit} is too low and cannot be raised: {error.strerror} (as root: {hint})"
        ) from None
    return True
