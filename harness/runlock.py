"""One run at a time: two that deploy the same environment would undo each other's work."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from harness.errors import DeadlineExceeded, HarnessError
from harness.waiting import wait_until

__all__ = ["run_lock"]

_ENDING_SECONDS = 1.0
"""A run that is just ending, or a child that is just being started by one, lets go within this."""


@contextlib.contextmanager
def run_lock(state: Path) -> Iterator[None]:
    """Hold the lock of the state directory; the kernel lets go of it when the process dies.

    Raises:
        HarnessError: when another run holds it (says which process and since when), or another user.
    """
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        descriptor = os.open(state / "run.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError:
        raise HarnessError(f"{state} belongs to another user: run this as that user") from None
    with os.fdopen(descriptor, "r+") as file:
        try:
            wait_until("the lock", lambda: _taken(file), seconds=_ENDING_SECONDS)
        except DeadlineExceeded:
            raise HarnessError(_held_by(file.read())) from None
        file.seek(0)
        file.truncate()
        json.dump({"pid": os.getpid(), "since": time.strftime("%H:%M:%S")}, file)
        file.flush()
        yield


def _taken(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _held_by(text: str) -> str:
    try:
        held = json.loads(text)
        who = f"pid {held['pid']}, since {held['since']}"
    except (ValueError, KeyError):
        who = "just started"
    return f"another run of this environment is going on ({who}); wait for it, or stop that process"
