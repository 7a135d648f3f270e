"""The one deadline poller: every wait in the harness goes through :func:`wait_until`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from harness.errors import DeadlineExceeded

__all__ = ["wait_until"]

T = TypeVar("T")


def wait_until(
    what: str,
    probe: Callable[[], T | None],
    *,
    seconds: float,
    seen: Callable[[], str] = lambda: "nothing yet",
    first_pause: float = 0.01,
    longest_pause: float = 0.25,
    errors: tuple[type[BaseException], ...] = (),
) -> T:
    """Poll ``probe`` until it returns something true, and return that.

    ``seconds`` is the deadline. Pauses start at ``first_pause`` seconds and double up to
    ``longest_pause``. An exception among ``errors`` counts as "not yet" and is what was last seen.

    Raises:
        DeadlineExceeded: when the deadline passes; it says what was last seen.
    """
    deadline = time.monotonic() + seconds
    pause = first_pause
    last = ""
    while True:
        try:
            result = probe()
        except errors as error:
            last, result = f"{type(error).__name__}: {error}", None
        else:
            last = ""
        if result:
            return result
        left = deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded(what, seconds, last or seen())
        time.sleep(min(pause, left))
        pause = min(pause * 2, longest_pause)
