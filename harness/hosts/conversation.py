"""Talking with a program on a machine, line by line, over one ssh channel."""

from __future__ import annotations

import os
import select
import subprocess
import time
from typing import IO

from harness.errors import Unreachable
from harness.hosts.commands import last_words

__all__ = ["Conversation"]


class Conversation:
    """A program on a machine that answers in lines.

    Pipes are read with a deadline: ssh's master holds them too, so they may stay open when ssh itself ends.
    """

    def __init__(self, machine: str, process: subprocess.Popen[bytes]) -> None:
        self._machine, self._process = machine, process
        self._read = b""

    def say(self, data: bytes) -> None:
        """Send ``data`` (whole lines).

        Raises:
            Unreachable: when the program has ended.
        """
        pipe = self._process.stdin
        try:
            if pipe is not None:
                pipe.write(data)
                pipe.flush()
        except BrokenPipeError:
            raise Unreachable(self._machine, self._last_words()) from None

    def line(self, seconds: float) -> bytes:
        """Its next line, waited for ``seconds`` at most.

        Raises:
            Unreachable: when none comes.
        """
        deadline = time.monotonic() + seconds
        while b"\n" not in self._read:
            more = _available(self._process.stdout, deadline - time.monotonic())
            if more is None:
                raise Unreachable(self._machine, f"no answer within {seconds:g} s")
            if not more:
                raise Unreachable(self._machine, self._last_words())
            self._read += more
        said, _, self._read = self._read.partition(b"\n")
        return said + b"\n"

    @property
    def ended(self) -> bool:
        """Whether the program has ended, or the connection to it."""
        return self._process.poll() is not None

    def _last_words(self) -> str:
        return last_words(_available(self._process.stderr, 1.0) or b"")


def _available(pipe: IO[bytes] | None, seconds: float) -> bytes | None:
    """What can be read from ``pipe`` within ``seconds``; empty: it has ended; None: nothing came."""
    if pipe is None:
        return b""
    ready, _, _ = select.select([pipe], [], [], max(0.0, seconds))
    return os.read(pipe.fileno(), 1 << 16) if ready else None
