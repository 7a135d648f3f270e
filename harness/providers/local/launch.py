"""Becomes a program of the stack: reads its specification, sets up the process, and executes it.

Run by the process manager as ``python -I -S launch.py SPEC.json``. It exists for three things that a
configuration line cannot do: the environment (secrets included) comes from a file that only its owner can
read, never from an argument; a server that refuses to run as root is started as another user; and the
kernel is told to stop the program when the process manager dies, so nothing outlives a ``kill -9``.
"""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(path: str) -> None:
    """Execute the program that the file at ``path`` describes; does not return."""
    spec = json.loads(Path(path).read_text(encoding="utf-8"))
    if spec["user"]:
        entry = pwd.getpwnam(spec["user"])
        os.initgroups(entry.pw_name, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    # after setuid, which clears it; kept across execve
    manager = os.getppid()
    number = signal.Signals[f"SIG{spec['stop_signal']}"].value
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
        sys.exit(f"prctl(PR_SET_PDEATHSIG): {os.strerror(ctypes.get_errno())}")
    if os.getppid() != manager:
        sys.exit("the process manager is gone")
    if spec["cwd"]:
        os.chdir(spec["cwd"])
    os.execve(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606 - no shell is the point


if __name__ == "__main__":
    main(sys.argv[1])
