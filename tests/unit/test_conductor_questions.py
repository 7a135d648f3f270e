"""The conductor and questions: who is asked when, who waits for whom, what never hangs."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from harness.checks.base import Effect, Turn
from harness.conductor import ComponentRecord, Conductor
from harness.evidence import Evidence, Finding, Verdict, holds, refuted
from harness.providers.base import Deployment, Progress
from harness.stack import Stack
from tests.conductor_stand import SOON, FakeProvider, Listener, fine, question, ran, stack_in


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return stack_in(tmp_path)


# --- questions --------------------


def test_questions_are_asked_at_the_same_time(stack: Stack) -> None:
    together = threading.Barrier(8)

    def meets(_: Stack) -> Evidence:
        together.wait(SOON)
        return holds("met the others")

    questions = [question(meets, f"check{number}") for number in range(8)]
    conductor, _ = ran(stack, *questions)
    assert all(conductor.answer(asked).verdict is Verdict.HOLDS for asked in questions)


def test_questions_begin_as_soon_as_their_own_components_are_there(stack: Stack) -> None:
    answered = threading.Event()

    def slow(_: Progress) -> Deployment:
        assert answered.wait(SOON), "instant was held back until supabase had been asked"
        return Deployment("instant", "d")

    def tells(_: Stack) -> Evidence:
        answered.set()
        return holds("asked while instant was still coming up")

    stack.providers["instant"] = FakeProvider("instant", slow)
    conductor, _ = ran(stack, question(tells), question(fine, needs=("instant",)))
    assert conductor.deployment("instant").verdict is Verdict.HOLDS


def test_a_quiet_question_waits_for_the_others_of_its_component(stack: Stack) -> None:
    quiet = question(fine, "quiet", turn=Turn.LAST)
    others = [question(fine, f"other{number}") for number in range(5)]
    _, listener = ran(stack, quiet, *others)
    assert [event for event in listener.events if "answered" in event][-1] == "quiet answered"


def test_a_question_that_judges_by_the_clock_waits_until_nothing_is_deployed(stack: Stack) -> None:
    deployed: list[str] = []
    asked_when: list[list[str]] = []
    begun = threading.Event()

    def slow(_: Progress) -> None:
        begun.wait(SOON)  # until the other question was asked: deployments and questions do overlap
        deployed.append("instant")

    def clocked(_: Stack) -> Evidence:
        asked_when.append(list(deployed))
        return holds("in time")

    def other(_: Stack) -> Evidence:
        begun.set()
        return holds("meanwhile")

    stack.providers["instant"] = FakeProvider("instant", slow)
    ran(stack, question(clocked, turn=Turn.TIMED), question(other), question(fine, needs=("instant",)))
    assert asked_when == [["instant"]]


def test_a_heavy_question_waits_for_the_timed_ones_of_its_component_alone(stack: Stack) -> None:
    heavy_done = threading.Event()

    def heavy(_: Stack) -> Evidence:
        heavy_done.set()
        return holds("heavy")

    def elsewhere(_: Stack) -> Evidence:
        assert heavy_done.wait(SOON), "a heavy check waited for another component's"
        return holds("elsewhere")

    questions = [
        question(heavy, turn=Turn.HEAVY),
        question(fine, "timed", turn=Turn.TIMED),
        question(elsewhere, needs=("instant",), turn=Turn.TIMED),
    ]
    conductor, listener = ran(stack, *questions)
    answered = [event.split()[0] for event in listener.events if event.endswith("answered")]
    assert answered.index("timed") < answered.index("heavy")
    assert all(conductor.answer(one).verdict is Verdict.HOLDS for one in questions)


def test_disturbing_questions_run_alone_after_everything_else(stack: Stack) -> None:
    lock, running, crowds = threading.Lock(), [0], []

    def counted(_: Stack) -> Evidence:
        with lock:
            running[0] += 1
            crowds.append(running[0])
        with lock:
            running[0] -= 1
        return holds("done")

    drills = [question(counted, f"drill{number}", Effect.DISTURBS) for number in range(3)]
    calm = [question(fine, f"calm{number}") for number in range(4)]
    _, listener = ran(stack, *drills, *calm, question(fine, "quiet", turn=Turn.LAST))
    answered = [event.split()[0] for event in listener.events if event.endswith("answered")]
    assert answered[-3:] == ["drill0", "drill1", "drill2"]
    assert crowds == [1, 1, 1]


def test_a_drill_elsewhere_does_not_wait_for_who_wants_quiet(stack: Stack) -> None:
    drilled = threading.Event()

    def patient(_: Stack) -> Evidence:
        assert drilled.wait(SOON), "the drill waited although it has nothing to do with this component"
        return holds("quiet all along")

    def drill(_: Stack) -> Evidence:
        drilled.set()
        return holds("drilled")

    quiet = question(patient, "quiet", turn=Turn.LAST)
    near = question(fine, "near", Effect.DISTURBS)
    elsewhere = question(drill, "elsewhere", Effect.DISTURBS, needs=("instant",))
    conductor, listener = ran(stack, near, elsewhere, quiet)
    answered = [event.split()[0] for event in listener.events if event.endswith("answered")]
    assert answered.index("elsewhere") < answered.index("near")
    assert answered.index("quiet") < answered.index("near")
    assert conductor.answer(quiet).verdict is Verdict.HOLDS


def test_a_drill_that_hangs_blocks_the_next_ones(stack: Stack) -> None:
    release = threading.Event()

    def hangs(_: Stack) -> Evidence:
        release.wait(SOON)
        return holds("at last")

    stuck = question(hangs, "stuck", Effect.DISTURBS, within=0.05)
    after = question(fine, "after", Effect.DISTURBS)
    conductor, _ = ran(stack, stuck, after)
    release.set()
    assert conductor.answer(stuck).verdict is Verdict.UNREACHABLE
    assert conductor.answer(after).verdict is Verdict.BLOCKED
    assert conductor.answer(after).summary == "the drill stuck has not ended"


def test_a_check_that_hangs_is_unreachable_when_its_time_is_up(stack: Stack) -> None:
    release = threading.Event()

    def hangs(_: Stack) -> Evidence:
        release.wait(SOON)
        return holds("too late")

    asked = question(hangs, within=0.05)
    conductor, _ = ran(stack, asked)
    release.set()
    evidence = conductor.answer(asked)
    assert (evidence.verdict, evidence.summary) == (
        Verdict.UNREACHABLE,
        "supabase: no answer within 0.05 s",
    )
    assert evidence.seconds == 0.05


@pytest.mark.parametrize(
    "error", [ValueError("no"), SystemExit(0), KeyboardInterrupt(), pytest.skip.Exception("no")]
)
def test_whatever_a_check_raises_is_no_pass_and_never_hangs_the_run(
    stack: Stack, error: BaseException
) -> None:
    def breaks(_: Stack) -> Evidence:
        raise error

    asked = question(breaks)
    conductor, _ = ran(stack, asked)
    assert conductor.answer(asked).verdict is Verdict.BLOCKED
    assert type(error).__name__ in conductor.answer(asked).summary


@pytest.mark.parametrize("answer", [True, None, "holds"])
def test_an_answer_that_is_not_evidence_is_no_pass(stack: Stack, answer: object) -> None:
    asked = question(lambda _: answer, "odd")
    conductor, _ = ran(stack, asked)
    assert conductor.answer(asked).verdict is Verdict.BLOCKED
    assert "no Evidence" in conductor.answer(asked).summary


def test_one_answer_serves_every_scenario_that_asks(stack: Stack) -> None:
    times: list[int] = []

    def counted(_: Stack) -> Evidence:
        times.append(1)
        return refuted("off", Finding("a", "b", "c", "d"))

    asked = question(counted)
    conductor, _ = ran(stack, asked)
    assert conductor.answer(asked) is conductor.answer(asked)
    assert len(times) == 1


def test_a_listener_that_breaks_does_not_leave_the_run_waiting(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    before = set(threading.enumerate())

    class Broken(Listener):
        def component_done(self, record: ComponentRecord) -> None:
            raise BrokenPipeError

        def answered(self, evidence: Evidence) -> None:
            raise BrokenPipeError

    conductor = Conductor(stack, Broken())
    asked = question(fine)
    conductor.begin(["supabase"], [asked])
    assert conductor.deployment("supabase").verdict is Verdict.HOLDS
    assert conductor.answer(asked).verdict is Verdict.HOLDS
    for thread in set(threading.enumerate()) - before:
        thread.join(SOON)  # or it would complain in the middle of another test
