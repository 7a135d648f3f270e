"""Processes that tests and benchmarks start and that must not outlive them, however they end."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

__all__ = ["spawn"]

_starter = ThreadPoolExecutor(1, "starter")
"""The kernel means the thread that started a process when it says parent; this one lives to the end."""


def spawn(argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """As `subprocess.Popen` with ``options``; the kernel kills the program when this process has died.

    The process number is the program's. What it starts itself is its own affair.
    """
    mortal = ["setpriv", "--pdeathsig", "KILL", *argv]
    return _starter.submit(subprocess.Popen, mortal, **options).result()
