"""Raises or tears down a rehearsal, and kills itself after so many changes.

Arguments: up or down, the root, the environment, the number of changes. A change is a request to the engine
that is not a read, or a change of routes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import requests

from harness.environment.loader import load
from harness.rehearsal import network
from harness.rehearsal.down import tear_down
from harness.rehearsal.up import raise_rehearsal

_lock = threading.Lock()


def main(action: str, root: Path, name: str, changes: int) -> None:
    left = changes

    def changed() -> None:
        nonlocal left
        with _lock:
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    request = requests.Session.request

    def counted_request(self: Any, method: str, *arguments: Any, **options: Any) -> Any:
        answer = request(self, method, *arguments, **options)
        if method.upper() != "GET":
            changed()
        return answer

    real_ip = network._ip

    def counted_ip(*arguments: str) -> str:
        said = real_ip(*arguments)
        if arguments[0] == "route":
            changed()
        return said

    requests.Session.request = counted_request
    network._ip = counted_ip
    environment = load(name, root).environment
    if action == "up":
        raise_rehearsal(environment, root, lambda phrase: None)
    else:
        tear_down(environment, root)


def until_it_survives(action: str, root: Path, name: str, later: int, most: int = 60) -> int:
    """Run it again and again until one run ends by itself; how often it was killed.

    The first is killed after its first change, each following one ``later`` changes later than the one
    before.
    """
    for kills in range(most):
        changes = 1 + kills * later
        argv = [sys.executable, "-m", "tests.rehearsal.dies", action, str(root), name, str(changes)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode == 0:
            return kills
        if done.returncode != -signal.SIGKILL:
            raise AssertionError(f"{action}, to be killed after {changes}: {done.stderr[-2000:]}")
    raise AssertionError(f"{action} was killed {most} times and makes no progress")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
