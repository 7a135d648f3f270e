"""A limit on what goes on side by side, in which the more urgent goes first."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import threading
from collections.abc import Iterator

__all__ = ["Slots"]


class Slots:
    """``count`` places. When one is freed, the waiter of the lowest rank gets it, else who came first."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: list[tuple[int, int, threading.Event]] = []
        self._arrivals = itertools.count()
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        with self._lock:
            return len(self._waiting)

    @contextlib.contextmanager
    def taken(self, rank: int) -> Iterator[None]:
        """Hold a place inside the block; waits for one."""
        self._take(rank)
        try:
            yield
        finally:
            self._give_back()

    def _take(self, rank: int) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            turn = threading.Event()
            heapq.heappush(self._waiting, (rank, next(self._arrivals), turn))
        turn.wait()

    def _give_back(self) -> None:
        with self._lock:
            if self._waiting:
                heapq.heappop(self._waiting)[2].set()  # the place passes to the waiter
            else:
                self._free += 1
