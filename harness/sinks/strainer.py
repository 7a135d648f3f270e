"""Everything that this process prints, by whatever way, is redacted before anybody sees it.

A check may print a secret, a library may log one, and pytest captures neither while it writes a report
down: the checks run in the background, whatever pytest does. So standard output and error become pipes;
what comes out of them is redacted line by line and goes to where they led before.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from typing import Any

import pytest

from harness.redaction import redact

__all__ = ["Strainer"]

_PATIENCE = 2.0  # seconds for what was printed last to reach a slow terminal
_LONGEST = 1 << 20  # characters of a line that never ends


class Strainer:
    """Between the process and its terminal, from its making to :meth:`close`."""

    def __init__(self, config: pytest.Config) -> None:
        capture: Any = getattr(config.pluginmanager.getplugin("capturemanager"), "_global_capturing", None)
        self._streams = [
            _Stream(1, getattr(capture, "out", None)),
            _Stream(2, getattr(capture, "err", None)),
        ]

    def close(self) -> None:
        """Let everything through that was printed, and lead the streams back."""
        for stream in self._streams:
            stream.close()


class _Stream:
    def __init__(self, descriptor: int, capture: Any) -> None:
        # pytest swaps the descriptor between a file and this copy of what it was
        saved = getattr(capture, "targetfd_save", None)
        self._led_by = [descriptor, *([saved] if isinstance(saved, int) else [])]
        self._before = os.dup(descriptor)
        self._out, self._pipe = os.pipe()
        # others may keep copies of the pipe, so its end is a word and not the closing of it
        self._end = f"{secrets.token_hex(16)}\n"
        for target in self._led_by:
            os.dup2(self._pipe, target, inheritable=target == descriptor)
        self._thread = threading.Thread(target=self._strain, daemon=True)
        self._thread.start()

    def _strain(self) -> None:
        left = ""
        with os.fdopen(self._out, encoding="utf-8", errors="surrogateescape", newline="") as lines:
            for line in iter(lambda: lines.readline(_LONGEST), ""):
                left += line
                if left.endswith(self._end):
                    left = left.removesuffix(self._end)
                    break
                if left.endswith("\n") or len(left) >= _LONGEST:
                    self._let_through(left)
                    left = ""
        self._let_through(left)

    def _let_through(self, text: str) -> None:
        data = redact(text).encode(errors="surrogateescape")
        with contextlib.suppress(BrokenPipeError):  # nobody reads any more; the run goes on all the same
            while data:
                data = data[os.write(self._before, data) :]

    def close(self) -> None:
        for target in self._led_by:
            os.dup2(self._before, target, inheritable=target == self._led_by[0])
        with contextlib.suppress(BrokenPipeError):  # nobody reads any more: the terminal is gone
            os.write(self._pipe, self._end.encode())
        os.close(self._pipe)
        self._thread.join(_PATIENCE)
        if not self._thread.is_alive():
            os.close(self._before)
