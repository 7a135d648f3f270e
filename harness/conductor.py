"""Deploys components and asks questions side by side, in the order in which they depend on each other.

Components are deployed as soon as those they need are there. Checks that only read or plant rows of their
own are all asked at once, except that nothing of ours may spoil a time that we measure: a check that judges
by the clock waits until nothing is being deployed, a heavy one waits for those, one that wants quiet waits
for all others of its component. Checks that disturb run one by one at the end, when all others have been
answered but those that want quiet in components with which they have nothing to do.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, wait
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, replace
from typing import Protocol

from harness.asking import Question
from harness.checks.base import Effect, Turn
from harness.errors import HarnessError, NoProvider
from harness.evidence import Evidence, Verdict, blocked, unreachable
from harness.providers.base import Prepares
from harness.secrets import redact
from harness.slots import Slots
from harness.stack import Stack

__all__ = ["DEPENDS", "ComponentRecord", "Conductor", "Listener"]

DEPENDS: dict[str, tuple[str, ...]] = {
    "supabase": (),
    "instant": (),
    "thinking": (),
    "gateway": ("supabase", "instant", "thinking"),
    "web": (),
}
"""What must be deployed before a component can be (the web app is built meanwhile)."""

_SIDE_BY_SIDE = 16


@dataclass(frozen=True)
class ComponentRecord:
    """How the deployment of one component ended. ``seconds`` is wall clock."""

    component: str
    verdict: Verdict
    digest: str = ""
    changes: tuple[str, ...] = ()
    reason: str = ""
    seconds: float = 0.0

    @property
    def summary(self) -> str:
        """One line: what was changed, or why not."""
        if self.reason:
            return self.reason.splitlines()[0].removeprefix(f"{self.component}: ")
        return "; ".join(self.changes) if self.changes else "unchanged"


class Listener(Protocol):
    """Hears what goes on; called from several threads."""

    def component_progress(self, component: str, phase: str) -> None:
        """``component`` is now at ``phase``."""
        ...

    def component_done(self, record: ComponentRecord) -> None:
        """The deployment of a component has ended."""
        ...

    def asked(self, check: str) -> None:
        """The check of this name is being asked now."""
        ...

    def answered(self, evidence: Evidence) -> None:
        """A question has been answered."""
        ...


class Conductor:
    """One run's deployments and questions. ``verify_only`` compares instead of deploying."""

    def __init__(self, stack: Stack, listener: Listener, *, verify_only: bool = False) -> None:
        self.stack, self.listener, self.verify_only = stack, listener, verify_only
        self._deployments: dict[str, Future[ComponentRecord]] = {}
        self._answers: dict[Question, Future[Evidence]] = {}
        self._slots = Slots(_SIDE_BY_SIDE)

    def begin(self, components: Iterable[str], questions: Sequence[Question]) -> None:
        """Start everything in the background and return at once."""
        for component in _with_dependencies({*components, *(c for q in questions for c in q.check.needs)}):
            self._deployments[component] = Future()
        for question in questions:
            self._answers[question] = Future()
        for component in self._deployments:
            _background(self._deploy, component)
        for question in questions:
            if question.check.effect is not Effect.DISTURBS:
                _background(self._answer_in_turn, question)
        _background(self._disturb, [q for q in questions if q.check.effect is Effect.DISTURBS])

    def deployment(self, component: str) -> ComponentRecord:
        """Wait for the deployment of ``component`` and say how it ended."""
        return self._deployments[component].result()

    def answer(self, question: Question) -> Evidence:
        """Wait for the answer to ``question``."""
        return self._answers[question].result()

    def records(self) -> list[ComponentRecord]:
        """The deployments that have ended, in order of dependence."""
        return [f.result() for f in self._deployments.values() if f.done()]

    # --- deployments -----------------------------------------------------------------------------

    def _deploy(self, component: str) -> None:
        started = time.monotonic()
        try:
            record = self._deployed(component)
        except NoProvider as error:
            record = ComponentRecord(component, Verdict.BLOCKED, reason=f"no provider: {error}")
        except HarnessError as error:
            record = ComponentRecord(component, Verdict.REFUTED, reason=str(error))
        except BaseException as error:  # sys.exit() included: whoever waits for this must be told
            reason = f"{component}: the provider broke: {type(error).__name__}: {error}"
            record = ComponentRecord(component, Verdict.BLOCKED, reason=reason)
        record = _clean(replace(record, seconds=time.monotonic() - started))
        try:
            self.listener.component_done(record)
        finally:  # even when nobody can listen any more, the run must end
            self._deployments[component].set_result(record)

    def _deployed(self, component: str) -> ComponentRecord:
        provider = self.stack.provider(component)
        if self.verify_only:
            self.listener.component_progress(component, "comparing")
            plan = provider.plan()
            return _drift(component, plan.digest, plan.changes)

        def progress(phase: str) -> None:
            self.listener.component_progress(component, redact(phase))

        if isinstance(provider, Prepares):
            provider.prepare(progress)
        for needed in DEPENDS[component]:
            progress(f"waits for {needed}")
            if not self.deployment(needed).verdict.passes:
                return ComponentRecord(component, Verdict.BLOCKED, reason=f"{needed} was not deployed")
        progress("deploying")
        done = provider.deploy(progress)
        return ComponentRecord(component, Verdict.HOLDS, done.digest, done.changes)

    # --- questions -------------------------------------------------------------------------------

    def _answer_in_turn(self, question: Question) -> None:
        if question.check.turn is Turn.TIMED:
            wait(list(self._deployments.values()))
        wait([future for other, future in self._answers.items() if _goes_before(other, question)])
        self._settle(question)

    def _disturb(self, questions: Sequence[Question]) -> None:
        calm = {q: f for q, f in self._answers.items() if q.check.effect is not Effect.DISTURBS}
        quiet = [question for question in calm if question.check.turn is Turn.LAST]
        wait([future for question, future in calm.items() if question not in quiet])
        at_work = ""
        # first those elsewhere: who wants quiet spends most of the time waiting for it
        for question in sorted(questions, key=lambda drill: _near(drill, quiet)):
            if _near(question, quiet):
                wait([calm[other] for other in quiet])
            if at_work:  # two at once would each see what the other breaks
                self._conclude(question, blocked(f"the drill {at_work} has not ended"))
            elif not self._settle(question):
                at_work = question.check.name

    def _settle(self, question: Question) -> bool:
        """Answer ``question``; whether its check has ended."""
        evidence, ended = self._obstacle(question), True
        if evidence is None:
            with self._slots.taken(self._rank(question)):
                evidence, ended = self._within_its_time(question)
        self._conclude(question, evidence)
        return ended

    def _conclude(self, question: Question, evidence: Evidence) -> None:
        check = question.check
        evidence = replace(evidence, check=check.name, component=check.component)
        try:
            self.listener.answered(evidence)
        finally:  # even when nobody can listen any more, the run must end
            self._answers[question].set_result(evidence)

    def _rank(self, question: Question) -> int:
        """What others wait for, and what takes longest, goes first: else it would end alone, and late."""
        awaited = any(_goes_before(question, other) for other in self._answers)
        return 0 if awaited or question.check.turn is Turn.HEAVY else 1

    def _obstacle(self, question: Question) -> Evidence | None:
        for component in question.check.needs:
            record = self.deployment(component)
            drifted = self.verify_only and record.verdict is Verdict.REFUTED  # it may still answer
            if not record.verdict.passes and not drifted:
                named = component in record.summary
                return blocked(record.summary if named else f"{component}: {record.summary}")
        return None

    def _within_its_time(self, question: Question) -> tuple[Evidence, bool]:
        """The answer, and whether the check has ended (it is left behind when its time is up)."""
        result: Future[Evidence] = Future()
        _background(self._ask, question, result)
        within = question.check.within
        try:
            return result.result(timeout=within), True
        except FutureTimeout:
            late = unreachable(question.check.component, f"no answer within {within:g} s")
            return replace(late, seconds=within), False

    def _ask(self, question: Question, result: Future[Evidence]) -> None:
        try:
            self.listener.asked(question.check.name)
            result.set_result(question.check(self.stack, **dict(question.parameters)))
        except BaseException as error:  # sys.exit() or pytest.skip() in a check is no answer
            result.set_result(blocked(f"the check itself broke: {type(error).__name__}: {error}"))


def _near(drill: Question, quiet: Sequence[Question]) -> bool:
    """Whether ``drill`` has to do with a component that one of ``quiet`` wants to itself."""
    return any(not set(drill.check.needs).isdisjoint(other.check.needs) for other in quiet)


def _goes_before(other: Question, question: Question) -> bool:
    """Whether ``question`` waits for the answer to ``other``."""
    if other.check.effect is Effect.DISTURBS or question.check.component not in other.check.needs:
        return False
    if question.check.turn is Turn.HEAVY:
        return other.check.turn is Turn.TIMED and other.check.component == question.check.component
    return question.check.turn is Turn.LAST and other.check.turn is not Turn.LAST


def _drift(component: str, digest: str, changes: tuple[str, ...]) -> ComponentRecord:
    if changes:
        reason = f"{component} is not as declared: a deploy would change {'; '.join(changes)}"
        return ComponentRecord(component, Verdict.REFUTED, digest, reason=reason)
    return ComponentRecord(component, Verdict.HOLDS, digest)


def _clean(record: ComponentRecord) -> ComponentRecord:
    """Redacted, as evidence is."""
    changes = tuple(redact(change) for change in record.changes)
    return replace(record, changes=changes, reason=redact(record.reason))


def _with_dependencies(components: set[str]) -> list[str]:
    wanted = set(components)
    for component in reversed(list(DEPENDS)):
        if component in wanted:
            wanted |= set(DEPENDS[component])
    return [component for component in DEPENDS if component in wanted]


def _background(work: object, *arguments: object) -> None:
    """A daemon thread: a hung check must not keep the run from ending."""
    threading.Thread(target=work, args=arguments, daemon=True).start()  # type: ignore[arg-type]
