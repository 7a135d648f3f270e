"""Logging: one JSON object a line, whoever writes it; tracebacks included, secrets never."""

from __future__ import annotations

import base64
import functools
import logging
import re
import sys
import threading
import time
import traceback
from collections.abc import Iterable
from types import TracebackType
from typing import Any
from urllib.parse import quote, quote_plus

import msgspec

__all__ = ["Log", "Redactor", "describe", "install"]

MASK = "[redacted]"
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,4}|(?i:bearer)\s+[^\s\"',]{8,}")
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_encode = msgspec.json.Encoder().encode


class Redactor:
    """Replaces the known secrets, plain, base64 and URL-encoded, and anything shaped like a token."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets if len(secret) >= 6 for form in _forms(secret)}
        joined = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
        self._known = re.compile(joined) if joined else None

    def __call__(self, text: str) -> str:
        """``text`` without secrets."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        return _TOKEN.sub(MASK, text)


def _forms(secret: str) -> Iterable[str]:
    raw = secret.encode()
    for form in (base64.b64encode(raw), base64.urlsafe_b64encode(raw)):
        yield form.decode().rstrip("=")
    yield from (secret, quote(secret, safe=""), quote_plus(secret), quote(secret))


def describe(error: BaseException) -> dict[str, Any]:
    """An exception without its message, which may quote what a person wrote: its type and its frames."""
    frames = traceback.extract_tb(error.__traceback__)
    names = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    return {"type": type(error).__name__, "frames": names[-12:]}


def _timestamp() -> str:
    now = time.time()
    whole = int(now)
    return f"{_second(whole)}.{int((now - whole) * 1e6):06d}Z"


@functools.lru_cache(maxsize=2)
def _second(whole: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))


class Log:
    """Writes the gateway's own events. Fields are this module's callers' duty: no content, no tokens."""

    def __init__(self, environment: str, release: str, level: str = "info") -> None:
        self._common = {"environment": environment, "release": release}
        self._least = _LEVELS[level]
        self._lock = threading.Lock()
        self.lost = 0
        self.redact = Redactor(())

    def __call__(self, level: str, event: str, **fields: Any) -> None:
        """Write ``event`` with ``fields``, if ``level`` is not below the least."""
        if _LEVELS[level] >= self._least:
            self.write({"ts": _timestamp(), "level": level, "event": event, **fields, **self._common})

    def write(self, record: dict[str, Any]) -> None:
        """Write one line, whole. When nobody can take it, it is ``lost``, and whoever logs goes on."""
        line = _encode(record) + b"\n"
        with self._lock:
            try:
                sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()
            except OSError:  # the reader has gone, or its disk is full
                self.lost += 1


class _Handler(logging.Handler):
    """Turns every record of the standard library's logging into one JSON line."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        message = self._log.redact(record.getMessage().strip())
        fields: dict[str, Any] = {"logger": record.name, "message": message[:2000]}
        if record.exc_info and record.exc_info[1] is not None:
            fields["error"] = describe(record.exc_info[1])
        level = record.levelname.lower() if record.levelname.lower() in _LEVELS else "error"
        self._log(level, "log", **fields)


def install(log: Log, secrets: Iterable[str] = ()) -> None:
    """Route logging, warnings and uncaught exceptions of every kind into ``log``."""
    log.redact = Redactor(secrets)
    handler = _Handler(log)
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(logging.INFO)
    for name in list(logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.captureWarnings(True)

    def uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        log("error", "uncaught", message=log.redact(str(error))[:500], error=describe(error))

    sys.excepthook = uncaught
    threading.excepthook = lambda args: log(
        "error", "uncaught", error=describe(args.exc_value or Exception())
    )
    sys.unraisablehook = lambda args: log(
        "error", "unraisable", error=describe(args.exc_value or Exception())
    )
