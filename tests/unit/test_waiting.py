"""The one poller: it returns what it waited for, or says what it last saw."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from harness import waiting
from harness.errors import DeadlineExceeded
from harness.waiting import wait_until


def test_it_returns_what_the_probe_returned_without_waiting_when_it_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "time", SimpleNamespace(monotonic=time.monotonic))  # no sleep
    assert wait_until("it", lambda: {"pid": 7}, seconds=5) == {"pid": 7}


def test_it_waits_for_something_true() -> None:
    answers = iter([None, 0, "", [], "ready"])
    assert wait_until("it", lambda: next(answers), seconds=5, first_pause=0.001) == "ready"


def test_the_deadline_is_kept_and_says_what_was_last_seen() -> None:
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"port 8000: not within 0.2 s; last seen: state STARTING"):
        wait_until("port 8000", lambda: False, seconds=0.2, seen=lambda: "state STARTING")
    assert 0.2 <= time.monotonic() - started < 10


def test_a_deadline_of_nothing_still_probes_once() -> None:
    assert wait_until("it", lambda: "there", seconds=0) == "there"
    with pytest.raises(DeadlineExceeded, match="last seen: nothing yet"):
        wait_until("it", lambda: None, seconds=0)


def test_it_probes_once_more_when_the_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What became true during the last pause counts."""
    clock = [0.0]
    monkeypatch.setattr(waiting.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(waiting.time, "sleep", lambda pause: clock.__setitem__(0, clock[0] + pause))
    assert wait_until("it", lambda: clock[0] >= 1.0, seconds=1.0) is True


def test_named_errors_count_as_not_yet_and_are_what_was_last_seen() -> None:
    attempts = []

    def probe() -> str:
        attempts.append(1)
        if len(attempts) < 3:
            raise ConnectionRefusedError("refused")
        return "up"

    assert wait_until("it", probe, seconds=5, errors=(ConnectionError,), first_pause=0.001) == "up"
    attempts.clear()
    with pytest.raises(DeadlineExceeded, match="last seen: ConnectionRefusedError: refused"):
        wait_until("it", probe, seconds=0, errors=(OSError,))


def test_an_error_that_is_long_past_is_not_what_was_last_seen() -> None:
    attempts = []

    def probe() -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError("old")

    with pytest.raises(DeadlineExceeded, match="last seen: now this"):
        wait_until("it", probe, seconds=0.05, errors=(OSError,), seen=lambda: "now this")


def test_other_errors_are_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        wait_until("it", lambda: 1 // 0, seconds=5, errors=(OSError,))


def test_pauses_double_up_to_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    clock = [0.0]

    def sleep(pause: float) -> None:
        pauses.append(pause)
        clock[0] += pause

    monkeypatch.setattr(waiting.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(waiting.time, "sleep", sleep)
    with pytest.raises(DeadlineExceeded):
        wait_until("it", lambda: None, seconds=1.0, first_pause=0.1, longest_pause=0.25)
    assert pauses == pytest.approx([0.1, 0.2, 0.25, 0.25, 0.2])
