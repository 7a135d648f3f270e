"""Runs a :class:`Program` as a child of this very process, for tests and one-off work."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from harness.providers.base import Program
from harness.providers.local import launch

__all__ = ["running_child"]


@contextlib.contextmanager
def running_child(program: Program, directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``program`` runs inside the block, logging to ``directory``/NAME.log; it is stopped after it.

    The kernel stops it as well when this process dies. Does not wait until it is ready.
    """
    directory.mkdir(parents=True, exist_ok=True)
    spec = _specification(program, directory)
    with (directory / f"{program.name}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", launch.__file__, str(spec)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.Signals[f"SIG{program.stop_signal}"])
        try:
            process.wait(timeout=program.stop_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=10)
        spec.unlink(missing_ok=True)


def _specification(program: Program, directory: Path) -> Path:
    """The file that `launch.py` reads; secrets inside, so for its owner alone."""
    spec = directory / f"{program.name}.{os.getpid()}.json"
    content = {
        "argv": [str(part) for part in program.argv],
        "env": {"PATH": os.environ.get("PATH", os.defpath), **program.env},
        "cwd": str(program.cwd) if program.cwd else "",
        "user": program.user or "",
        "stop_signal": program.stop_signal,
    }
    with os.fdopen(os.open(spec, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(content, file)
    return spec
