"""A request's guard: one timer for every deadline, and an eye on the client's disconnect.

Whatever ends a request early does it the same way: it writes down the reason and cancels the request's
task, which then closes its upstream and books what was used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

__all__ = ["Guard", "Message", "Receive", "Scope", "Send", "Watch"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Watch = Callable[[Callable[[], None] | None], None]
"""Takes what is to be called once when the client has gone, or None when nobody wants to know any more."""


class Guard:
    """Cancels the task that made it, and says why: disconnect, body, first_byte, answer, idle, total."""

    __slots__ = ("_due", "_limit", "_loop", "_task", "_timer", "_waits_for", "_watch", "reason")

    def __init__(self, total: float) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a guard watches the task that it is made in; there is none")
        self._task: asyncio.Task[Any] = task
        self._loop = task.get_loop()
        self._limit = self._loop.time() + total
        self._due, self._waits_for = self._limit, "total"
        self._timer: asyncio.TimerHandle | None = None
        self._watch: Watch | None = None
        self.reason: str | None = None

    def expect(self, reason: str, seconds: float) -> None:
        """From now on, ``reason`` cuts the request unless it is told otherwise within ``seconds``."""
        self._due, self._waits_for = self._loop.time() + seconds, reason
        if self._timer is None or self._timer.when() > self._due:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(min(self._due, self._limit), self._fire)

    def postpone(self, seconds: float) -> None:
        """Whatever was expected has shown signs of life; cheap, the timer finds out by itself."""
        self._due = self._loop.time() + seconds

    def watch(self, watch: Watch) -> None:
        """Cut the request when its client goes away; the body must have arrived."""
        self._watch = watch
        watch(self._gone)

    def cut(self, reason: str) -> None:
        """Cancel the request's task because of ``reason``; the first reason counts."""
        if self.reason is None:
            self.reason = reason
            self._task.cancel()

    def absorb(self) -> str:
        """Take the cancellation back, so that the task can clean up; the reason.

        Whoever else cancels a request is the server that shuts down and has waited long enough: drain.
        """
        self._task.uncancel()
        return self.reason or "drain"

    def ending(self) -> None:
        """The last of the response is about to be sent: what the client does after it is its own affair."""
        if self._watch is not None:
            self._watch(None)
            self._watch = None

    def close(self) -> None:
        """The request is over."""
        self.ending()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _gone(self) -> None:
        self.cut("disconnect")

    def _fire(self) -> None:
        now = self._loop.time()
        if now >= self._limit:
            self.cut("total")
        elif now >= self._due:
            self.cut(self._waits_for)
        else:
            self._timer = self._loop.call_at(min(self._due, self._limit), self._fire)
