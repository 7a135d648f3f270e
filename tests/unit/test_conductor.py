"""The conductor with fake providers and checks: order, side by side, what blocks what, what never hangs."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.asking import Question
from harness.checks.base import Check, Effect, Turn
from harness.conductor import ComponentRecord, Conductor
from harness.errors import DeployError
from harness.evidence import Evidence, Finding, Verdict, holds, refuted
from harness.providers.base import Deployment, Plan, Progress
from harness.secrets import MASK, Secret, SecretStore
from harness.slots import Slots
from harness.stack import Stack
from harness.waiting import wait_until

SOON = 5.0  # a barrier that is not passed within this was never going to be


class FakeProvider:
    def __init__(
        self, component: str, deploy: Callable[[Progress], Deployment], drift: tuple[str, ...] = ()
    ):
        self.component, self._deploy, self._drift = component, deploy, drift

    def plan(self) -> Plan:
        return Plan(self.component, f"sha256:{self.component}", self._drift)

    def deploy(self, progress: Progress) -> Deployment:
        return self._deploy(progress)


class Listener:
    def __init__(self) -> None:
        self.events: list[str] = []
        self.lock = threading.Lock()

    def note(self, event: str) -> None:
        with self.lock:
            self.events.append(event)

    def component_progress(self, component: str, phase: str) -> None:
        self.note(f"{component}: {phase}")

    def component_done(self, record: ComponentRecord) -> None:
        self.note(f"{record.component} done")

    def asked(self, check: str) -> None:
        self.note(f"{check} asked")

    def answered(self, evidence: Evidence) -> None:
        self.note(f"{evidence.check} answered")


def deployed(component: str, *changes: str) -> Callable[[Progress], Deployment]:
    return lambda _: Deployment(component, f"sha256:{component}", changes)


class _Environment:
    """Just enough of an environment to name the provider that is missing."""

    class web:
        provider = "vercel"


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    made = Stack(tmp_path, tmp_path, _Environment(), SecretStore(tmp_path, tmp_path))  # type: ignore[arg-type]
    for component in ("supabase", "instant", "thinking", "gateway"):
        made.providers[component] = FakeProvider(component, deployed(component))
    return made


def question(
    function: Callable[[Stack], Evidence], name: str = "", effect: Effect = Effect.READS, **options: object
) -> Question:
    needs = options.pop("needs", ("supabase",))
    name = name or function.__name__
    return Question(Check(name, needs[0], needs, effect, function, **options))  # type: ignore[index,arg-type]


def ran(stack: Stack, *questions: Question, verify_only: bool = False) -> tuple[Conductor, Listener]:
    listener = Listener()
    conductor = Conductor(stack, listener, verify_only=verify_only)
    conductor.begin([], questions)
    for asked in questions:
        conductor.answer(asked)
    return conductor, listener


def fine(_: Stack) -> Evidence:
    return holds("seen")


# --- deployments --------------------


def test_a_component_waits_for_what_it_needs(stack: Stack) -> None:
    order: list[str] = []
    for name in ("supabase", "instant", "thinking", "gateway"):

        def deploy(_: Progress, name: str = name) -> Deployment:
            order.append(name)
            return Deployment(name, "d")

        stack.providers[name] = FakeProvider(name, deploy)
    conductor, _ = ran(stack, question(fine, needs=("gateway",)))
    assert order[-1] == "gateway"
    assert sorted(order) == ["gateway", "instant", "supabase", "thinking"]
    assert [record.component for record in conductor.records()] == [
        "supabase",
        "instant",
        "thinking",
        "gateway",
    ]


def test_independent_components_are_deployed_at_the_same_time(stack: Stack) -> None:
    together = threading.Barrier(3)
    for name in ("supabase", "instant", "thinking"):

        def deploy(_: Progress, name: str = name) -> Deployment:
            together.wait(SOON)
            return Deployment(name, "d")

        stack.providers[name] = FakeProvider(name, deploy)
    conductor, _ = ran(stack, question(fine, needs=("gateway",)))
    assert all(record.verdict is Verdict.HOLDS for record in conductor.records())


def test_what_depends_on_a_failed_deployment_is_blocked_and_says_by_what(stack: Stack) -> None:
    def broken(_: Progress) -> Deployment:
        raise DeployError("supabase", "port 54321 is taken by nc", "stop it")

    stack.providers["supabase"] = FakeProvider("supabase", broken)
    asked = question(fine, needs=("gateway", "supabase"))
    conductor, _ = ran(stack, asked)
    assert conductor.deployment("supabase").verdict is Verdict.REFUTED
    assert "port 54321" in conductor.deployment("supabase").reason
    assert conductor.deployment("gateway").verdict is Verdict.BLOCKED
    evidence = conductor.answer(asked)
    assert evidence.verdict is Verdict.BLOCKED
    assert "supabase" in evidence.summary


def test_a_provider_that_crashes_blocks_its_component(stack: Stack) -> None:
    def crash(_: Progress) -> Deployment:
        raise ZeroDivisionError("by zero")

    stack.providers["supabase"] = FakeProvider("supabase", crash)
    conductor, _ = ran(stack, question(fine))
    record = conductor.deployment("supabase")
    assert record.verdict is Verdict.BLOCKED
    assert record.reason == "supabase: the provider broke: ZeroDivisionError: by zero"


def test_a_provider_that_exits_does_not_leave_the_run_waiting(stack: Stack) -> None:
    stack.providers["supabase"] = FakeProvider("supabase", lambda _: sys.exit(0))
    conductor, _ = ran(stack, question(fine))
    assert conductor.deployment("supabase").verdict is Verdict.BLOCKED


def test_a_component_without_a_provider_is_blocked(stack: Stack) -> None:
    asked = question(fine, needs=("web",))
    conductor, _ = ran(stack, asked)
    assert conductor.answer(asked).verdict is Verdict.BLOCKED
    assert conductor.answer(asked).summary.startswith("no provider: nothing implements 'vercel'")


def test_what_a_deployment_says_is_redacted(stack: Stack) -> None:
    secret = Secret("hunter2-hunter2")

    def leak(_: Progress) -> Deployment:
        return Deployment("supabase", "d", (f"password set to {secret.reveal()}",))

    def fail(_: Progress) -> Deployment:
        raise DeployError("instant", f"key {secret.reveal()} refused")

    stack.providers["supabase"] = FakeProvider("supabase", leak)
    stack.providers["instant"] = FakeProvider("instant", fail)
    conductor, _ = ran(stack, question(fine), question(fine, "other", needs=("instant",)))
    assert conductor.deployment("supabase").changes == (f"password set to {MASK}",)
    assert conductor.deployment("instant").reason == f"instant: key {MASK} refused"


# --- verify-only --------------------


def test_verify_only_deploys_nothing_and_calls_drift_by_its_name(stack: Stack) -> None:
    def never(_: Progress) -> Deployment:
        raise AssertionError("deployed under --verify-only")

    stack.providers["supabase"] = FakeProvider("supabase", never, drift=("apply 1 migration",))
    asked = question(fine)
    conductor, _ = ran(stack, asked, verify_only=True)
    record = conductor.deployment("supabase")
    assert record.verdict is Verdict.REFUTED
    assert record.reason == "supabase is not as declared: a deploy would change apply 1 migration"
    assert conductor.answer(asked).verdict is Verdict.HOLDS, "it has drifted, and still answers"


def test_verify_only_without_drift_holds(stack: Stack) -> None:
    conductor, _ = ran(stack, question(fine), verify_only=True)
    assert conductor.deployment("supabase") == ComponentRecord(
        "supabase", Verdict.HOLDS, "sha256:supabase", seconds=conductor.deployment("supabase").seconds
    )


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


def test_what_can_be_prepared_is_prepared_before_what_is_needed_is_there(stack: Stack) -> None:
    prepared = threading.Event()

    class Prepared(FakeProvider):
        def prepare(self, progress: Progress) -> None:
            progress("fetching")
            prepared.set()

    def slow(_: Progress) -> Deployment:
        assert prepared.wait(SOON), "the gateway waited with its image until supabase was there"
        return Deployment("supabase", "d")

    stack.providers["supabase"] = FakeProvider("supabase", slow)
    stack.providers["gateway"] = Prepared("gateway", deployed("gateway"))
    conductor, listener = ran(stack, question(fine, needs=("gateway",)))
    assert conductor.deployment("gateway").verdict is Verdict.HOLDS
    assert listener.events.index("gateway: fetching") < listener.events.index("supabase done")


def test_what_cannot_be_prepared_is_not_deployed(stack: Stack) -> None:
    class Unprepared(FakeProvider):
        def prepare(self, progress: Progress) -> None:
            raise DeployError("gateway", "the image does not start", "read its log")

    def never(_: Progress) -> Deployment:
        raise AssertionError("it was deployed all the same")

    stack.providers["gateway"] = Unprepared("gateway", never)
    conductor, _ = ran(stack, question(fine, needs=("gateway",)))
    record = conductor.deployment("gateway")
    assert record.verdict is Verdict.REFUTED
    assert record.summary == "the image does not start"


def test_a_verify_only_run_prepares_nothing(stack: Stack) -> None:
    class Prepared(FakeProvider):
        def prepare(self, progress: Progress) -> None:
            raise AssertionError("something was fetched")

    stack.providers["gateway"] = Prepared("gateway", deployed("gateway"))
    conductor, _ = ran(stack, question(fine, needs=("gateway",)), verify_only=True)
    assert conductor.deployment("gateway").verdict is Verdict.HOLDS


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
    asked = question(lambda _: answer, "odd")  # type: ignore[arg-type,return-value]
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
