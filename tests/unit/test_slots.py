"""Of those that wait for a place, the more urgent goes first."""

from __future__ import annotations

import threading

from harness.slots import Slots
from harness.waiting import wait_until

SOON = 5.0


def test_what_others_wait_for_gets_the_next_free_place() -> None:
    slots, order = Slots(1), list[str]()

    def enter(name: str, rank: int) -> None:
        with slots.taken(rank):
            order.append(name)

    with slots.taken(0):
        waiters = []
        for name, rank in (("first", 1), ("second", 1), ("urgent", 0)):
            waiters.append(threading.Thread(target=enter, args=(name, rank)))
            waiters[-1].start()
            wait_until("in the queue", lambda: slots.waiting == len(waiters), seconds=SOON)
    for waiter in waiters:
        waiter.join(SOON)
    assert order == ["urgent", "first", "second"]
