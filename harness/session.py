"""One run of the checklists: planned from the collected scenarios, carried out, written down."""

from __future__ import annotations

import datetime as dt
import secrets
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from harness.asking import Ask, Question
from harness.checks.base import CHECKS, Check, Effect
from harness.conductor import ComponentRecord, Conductor, Listener
from harness.environment import Environment
from harness.errors import ConfigurationError, Problem
from harness.evidence import Evidence, Verdict
from harness.ledger import Ledger, NotRun, ScenarioRecord
from harness.planning import Planned
from harness.provenance import revision, who
from harness.secrets import redact
from harness.stack import Stack
from harness.waivers import Waivers

__all__ = ["RunSession", "describe", "left_out"]

_WORST_FIRST = (Verdict.REFUTED, Verdict.UNREACHABLE, Verdict.BLOCKED)


class Refuted(AssertionError):
    """The world contradicts the checklist: what reports call failed."""


class Unreachable(Exception):
    """Nothing answered: what reports call broken."""


class Blocked(Exception):
    """Not reached: what reports call broken."""


for _failure in (Refuted, Unreachable, Blocked):
    _failure.__module__ = "builtins"  # so that reports say "Refuted: ...", without our module before it
_FAILURES: dict[Verdict, type[Exception]] = {
    Verdict.REFUTED: Refuted,
    Verdict.UNREACHABLE: Unreachable,
    Verdict.BLOCKED: Blocked,
}


class RunSession:
    """The state of one run; the plug-in's hooks delegate to it."""

    def __init__(self, stack: Stack, listener: Listener, *, verify_only: bool) -> None:
        now = dt.datetime.now(dt.UTC)
        self.stack, self.verify_only = stack, verify_only
        self.waivers = Waivers(self.environment.waivers, now.date())
        self.conductor = Conductor(stack, listener, verify_only=verify_only)
        # runs are sorted by their names, and two may begin within one second
        run_id = f"{now:%Y%m%dT%H%M%S}.{now.microsecond:06}Z-{secrets.token_hex(3)}"
        self.ledger = Ledger(
            self.environment.environment, run_id, verify_only, now, by=who(), revision=revision(stack.root)
        )
        self.planned: dict[str, Planned] = {}

    @property
    def environment(self) -> Environment:
        """The environment of this run."""
        return self.stack.environment

    # --- planning --------------------------------------------------------------------------------

    def select(
        self, candidates: Sequence[Planned], known_items: set[str], problems: Sequence[Problem] = ()
    ) -> list[Planned]:
        """Keep the scenarios that run here; write down why the others do not.

        ``known_items`` are the checklist items that a waiver may name, selected or not; ``problems`` are
        those found in the feature files already.

        Raises:
            ConfigurationError: when any scenario could pass without proving anything.
        """
        found = [*problems, *(problem for planned in candidates for problem in planned.problems)]
        found += _repeated(candidates) + self.waivers.unknown(known_items | set(CHECKS))
        if found:
            raise ConfigurationError(found, title="refused, before anything was touched")
        self.ledger.troubles += self.waivers.expired()
        chosen = [planned for planned in candidates if self._runs_here(planned)]
        self.planned = {planned.item.nodeid: planned for planned in chosen}
        return chosen

    def _runs_here(self, planned: Planned) -> bool:
        name = self.environment.environment
        if planned.environments and name not in planned.environments:
            self.ledger.not_applicable += self._not_applicable(planned)
            return False
        if any(question.check.effect is Effect.DISTURBS for question in planned.questions):
            if not self.environment.drills:
                self.ledger.not_applicable.append(left_out(planned, "drills are off here (drills: false)"))
                return False
            if self.verify_only:
                self.ledger.drills_left_out.append(left_out(planned, "it disturbs; --verify-only does not"))
                return False
        return True

    def _not_applicable(self, planned: Planned) -> list[NotRun]:
        reasons = self.environment.not_applicable
        elsewhere = f"for {', '.join(sorted(planned.environments))} only"
        return [
            replace(left_out(planned, reasons.get(item, elsewhere)), item=item)
            for item in planned.items or ("",)
        ]

    def expect(self, left_out: Iterable[NotRun]) -> None:
        """Write down scenarios that apply here and will not run."""
        self.ledger.left_out += left_out

    # --- running ---------------------------------------------------------------------------------

    def components(self) -> list[str]:
        """The components that the scenarios of this run deploy."""
        return list(dict.fromkeys(c for planned in self.planned.values() for c in planned.components))

    def questions(self) -> list[Question]:
        """The questions that the scenarios of this run ask, each once."""
        return list(dict.fromkeys(q for planned in self.planned.values() for q in planned.questions))

    def begin(self) -> None:
        """Start deploying and asking, side by side, in the background."""
        self.conductor.begin(self.components(), self.questions())

    def deploy(self, component: str) -> None:
        """The fixture ``deploy``: fails the step unless ``component`` is in its declared state."""
        __tracebackhide__ = True
        record = self.conductor.deployment(component)
        if not record.verdict.passes:
            raise _FAILURES[self._of_scenarios(record)](record.reason)

    def asking(self, nodeid: str) -> Ask:
        """The fixture ``ask`` of one scenario: fails the step unless the answer passes."""
        items = self.planned[nodeid].items

        def ask(check: Check, **parameters: Any) -> None:
            __tracebackhide__ = True
            evidence = self._answer(Question(check, tuple(sorted(parameters.items()))), items)
            if not evidence.verdict.passes:
                raise _FAILURES[evidence.verdict](describe(evidence))

        return ask

    def _answer(self, question: Question, items: tuple[str, ...]) -> Evidence:
        return self.waivers.apply(self.conductor.answer(question), items)

    # --- writing down ----------------------------------------------------------------------------

    def record(self, nodeid: str, report: pytest.TestReport) -> ScenarioRecord:
        """Write down how the scenario ``nodeid`` ended, with everything that it asked."""
        planned = self.planned[nodeid]
        evidence = tuple(self._answer(question, planned.items) for question in planned.questions)
        answers = [self.conductor.answer(question) for question in planned.questions]
        waived = (one for answer in answers for one in self.waivers.covering(answer, planned.items))
        verdict, message = self._verdict(planned, evidence, report)
        record = ScenarioRecord(
            feature=planned.scenario.feature.name or "",
            rule=planned.scenario.rule.name if planned.scenario.rule else "",
            name=planned.scenario.name,
            row=planned.row,
            items=planned.items,
            where=planned.where,
            verdict=verdict,
            message=redact(message),
            evidence=evidence,
            seconds=max((e.seconds for e in evidence), default=report.duration),
            waived=tuple(dict.fromkeys(waived)),
        )
        self.ledger.scenarios.append(record)
        return record

    def _verdict(
        self, planned: Planned, evidence: Sequence[Evidence], report: pytest.TestReport
    ) -> tuple[Verdict, str]:
        worst = [e for e in evidence if not e.verdict.passes]
        failed = [
            self.conductor.deployment(component)
            for component in planned.components
            if not self.conductor.deployment(component).verdict.passes
        ]
        if failed:
            return self._without(failed[0])
        if worst:
            worst.sort(key=lambda e: _WORST_FIRST.index(e.verdict))
            return worst[0].verdict, "\n".join(f"{e.verdict}: {describe(e)}" for e in worst)
        if not report.passed:  # everything that was asked holds, and the step failed all the same
            return Verdict.BLOCKED, f"{Verdict.BLOCKED}: {report.longreprtext or report.outcome}"
        if any(e.verdict is Verdict.WAIVED for e in evidence):
            return Verdict.WAIVED, "; ".join(e.summary for e in evidence if e.verdict is Verdict.WAIVED)
        return Verdict.HOLDS, "; ".join(e.summary for e in evidence)

    def _of_scenarios(self, record: ComponentRecord) -> Verdict:
        """How the scenarios end whose component is not there: they were not reached.

        Drift is another matter: the component is there, and is not what was declared.
        """
        refuted = record.verdict is Verdict.REFUTED
        return Verdict.BLOCKED if refuted and not self.verify_only else record.verdict

    def _without(self, record: ComponentRecord) -> tuple[Verdict, str]:
        verdict = self._of_scenarios(record)
        if verdict is record.verdict:
            return verdict, f"{verdict}: {record.reason}"
        return verdict, f"{verdict}: {record.component} was not deployed: {record.summary}"

    def finish(self) -> Ledger:
        """Close the ledger and write it to the state directory; the latest run is `last-run.json`."""
        done = {(s.where, s.row) for s in self.ledger.scenarios}
        missing = (p for p in self.planned.values() if (p.where, p.row) not in done)
        self.expect(left_out(planned, "the run ended before it") for planned in missing)
        self.ledger.components = self.conductor.records()
        self.ledger.waived = self.waivers.used
        self.ledger.finished = dt.datetime.now(dt.UTC)
        return self.ledger


def left_out(planned: Planned, reason: str) -> NotRun:
    """A scenario that applies and was not run."""
    feature = planned.scenario.feature.name or ""
    return NotRun(planned.title, reason, ", ".join(planned.items), planned.where, feature)


def describe(evidence: Evidence) -> str:
    """Evidence as people read it when it does not hold."""
    lines = [f"{evidence.check}: {evidence.summary}"]
    for finding in evidence.findings:
        lines += ["    " + line for line in str(finding).splitlines()]
    return "\n".join(lines)


def _repeated(candidates: Sequence[Planned]) -> list[Problem]:
    counts = Counter(planned.key for planned in candidates)
    return [
        Problem(planned.where, f"{planned.title!r} is collected twice", "bind it, and write its row, once")
        for planned in candidates
        if counts[planned.key] > 1
    ]
