"""Reads back the errors that were reported: from the loopback sink, or from Sentry."""

from __future__ import annotations

from typing import Any, Protocol

from harness.errors import NoProvider
from harness.stack import Stack

__all__ = ["ErrorTracker", "error_tracker"]


class ErrorTracker(Protocol):
    """``mark`` is a position; ``since`` are the error events that came after it."""

    where: str

    def mark(self) -> int:
        """The present position."""
        ...

    def since(self, mark: int) -> list[dict[str, Any]]:
        """Events after ``mark``, oldest first."""
        ...


class Sink:
    """The loopback double of Sentry on ``port``."""

    def __init__(self, stack: Stack, port: int) -> None:
        self.where = f"http://127.0.0.1:{port}"
        self._http = stack.http(self.where)

    def mark(self) -> int:
        """The number of the last event."""
        return int(self._read(0)["next"])

    def since(self, mark: int) -> list[dict[str, Any]]:
        """Events after number ``mark``."""
        return [record["event"] for record in self._read(mark)["events"]]

    def _read(self, since: int) -> dict[str, Any]:
        answer = self._http.get("/events", params={"since": since})
        answer.raise_for_status()
        body: dict[str, Any] = answer.json()
        return body


def error_tracker(stack: Stack) -> ErrorTracker:
    """Where the errors of this environment's web app arrive.

    Raises:
        NoProvider: when they go to a Sentry project: nothing reads from there yet.
    """
    port = getattr(stack.environment.web, "error_sink_port", None)
    if stack.environment.web.error_dsn or port is None:
        raise NoProvider("nothing reads events back from the Sentry project behind web.error_dsn yet")
    return Sink(stack, port)
