"""When a gateway counts as dead, which a deploy answers by restarting it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from docker.errors import NotFound

from harness.errors import DeployError
from harness.providers.docker import engine


class Handle:
    """In the place of the SDK's container."""

    def __init__(self, status: str = "running", *, gone: bool = False) -> None:
        self.status, self.gone = status, gone

    def reload(self) -> None:
        if self.gone:
            raise NotFound("no such container")


def asked(monkeypatch: pytest.MonkeyPatch, *answers: dict[str, int | str]) -> list[str]:
    """``answers`` are given one after the other, the last one for ever; the questions."""
    left, questions = list(answers), []

    def ask(_: object, paths: Sequence[str]) -> dict[str, int | str]:
        questions.extend(paths)
        return left.pop(0) if len(left) > 1 else left[0]

    monkeypatch.setattr(engine, "ask", ask)
    monkeypatch.setattr(engine, "_LIVE_SECONDS", 0.2)
    return questions


def test_a_question_that_fails_once_is_no_death(monkeypatch: pytest.MonkeyPatch) -> None:
    questions = asked(monkeypatch, {}, {"/health/live": "TimeoutError: timed out"}, {"/health/live": 200})
    assert engine._answers(Handle())
    assert questions == ["/health/live"] * 3


def test_a_gateway_that_never_answers_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    asked(monkeypatch, {"/health/live": 500})
    assert not engine._answers(Handle())


@pytest.mark.parametrize("handle", [Handle("exited"), Handle("paused"), Handle(gone=True)])
def test_a_container_that_does_not_run_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, handle: Handle
) -> None:
    questions = asked(monkeypatch, {"/health/live": 200})
    assert not engine._answers(handle)
    assert questions == []


class _Busy:
    """A container whose engine loses the first answers."""

    name = "gateway"

    def __init__(self, *answers: tuple[int, bytes]) -> None:
        self.answers = list(answers)

    def exec_run(self, _: list[str]) -> tuple[int, bytes]:
        return self.answers.pop(0)


def test_an_answer_that_an_engine_lost_is_asked_for_again() -> None:
    assert engine._told_inside(_Busy((0, b""), (0, b'{"user": "1:1"}')), "") == {"user": "1:1"}
    assert engine._told_inside(_Busy((1, b"no such user")), "") == {}
    with pytest.raises(DeployError, match="does not arrive"):
        engine._told_inside(_Busy(*[(0, b"")] * 3), "")
