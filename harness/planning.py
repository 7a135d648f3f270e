"""From collected scenarios to a plan: what must be deployed, what will be asked, what must be refused.

A run that could end green without having proven anything is refused here, before anything is touched.
"""

from __future__ import annotations

import inspect
import os.path
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from _pytest.outcomes import OutcomeException
from pytest_bdd.parser import Scenario, ScenarioTemplate, Step
from pytest_bdd.scenario import (
    find_fixturedefs_for_step,
    parse_step_arguments,
    scenario_wrapper_template_registry,
)
from pytest_bdd.steps import StepFunctionContext, step_function_context_registry

from harness.asking import Question, Recorder
from harness.errors import Problem

__all__ = ["Planned", "plan_item"]

_PLACEHOLDER = re.compile(r"<[^<>\s]+>")


@dataclass
class Planned:
    """One scenario of the run: its item, its text, what it deploys and asks, and what is wrong with it."""

    item: pytest.Item
    scenario: Scenario
    row: str
    tags: frozenset[str]
    template: ScenarioTemplate
    components: list[str] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def refuse(self, what: str, hint: str) -> None:
        """Note a problem with the scenario as a whole."""
        self.problems.append(Problem(self.where, what, hint))

    @property
    def key(self) -> tuple[str, int, str]:
        """What identifies it: file, line and Examples row (names and node ids do not)."""
        return str(Path(self.scenario.feature.filename).resolve()), self.scenario.line_number, self.row

    @property
    def title(self) -> str:
        """The scenario as people say it, with its Examples row."""
        return f"{self.scenario.name} [{self.row}]" if self.row else self.scenario.name

    @property
    def where(self) -> str:
        """file:line of the scenario."""
        return f"{os.path.relpath(self.scenario.feature.filename)}:{self.scenario.line_number}"

    @property
    def items(self) -> tuple[str, ...]:
        """The checklist items that it is tagged with."""
        return tuple(sorted(tag.removeprefix("item:") for tag in self.tags if tag.startswith("item:")))

    @property
    def environments(self) -> frozenset[str]:
        """The environments that it is tagged with."""
        return frozenset(tag.removeprefix("env:") for tag in self.tags if tag.startswith("env:"))


def _scenario_of(item: pytest.Item) -> Planned | None:
    """The scenario behind ``item``, with the values of its Examples row filled in."""
    function = getattr(item, "obj", None)
    template = scenario_wrapper_template_registry.get(function) if function else None
    if template is None:
        return None
    call = getattr(item, "callspec", None)
    row: dict[str, str] = call.params.get("_pytest_bdd_example", {}) if call else {}
    rule_tags = template.rule.tags if template.rule else set()
    tags = frozenset(template.tags | template.feature.tags | rule_tags)
    return Planned(item, template.render(row), ", ".join(row.values()), tags, template)


def plan_item(item: pytest.Item) -> Planned | None:
    """Run the steps of ``item`` with a recorder; None when the item is not a scenario."""
    planned = _scenario_of(item)
    if planned is None:
        return None
    _refuse_tables(planned)
    for step in planned.scenario.steps:
        _plan_step(planned, step)
    if not any(step.type == "then" for step in planned.scenario.steps):
        planned.refuse("a scenario without a Then proves nothing", "add one")
    for mark in ("skip", "skipif", "xfail"):
        if item.get_closest_marker(mark):
            planned.refuse(f"a checklist cannot be marked {mark}", "remove it")
    return planned


def _refuse_tables(planned: Planned) -> None:
    """Examples that pytest-bdd accepts and that prove less than they seem to."""
    template = planned.template
    if template.templated and not planned.row:
        planned.refuse("an Examples table without a row proves nothing", "add a row")


def _plan_step(planned: Planned, step: Step) -> None:
    where = f"{os.path.relpath(planned.scenario.feature.filename)}:{step.line_number}"
    if left := _PLACEHOLDER.search(step.name):
        planned.problems.append(
            Problem(where, f"{left[0]} is filled by no Examples column", "add the column")
        )
        return
    contexts = _definitions(planned.item, step)
    if len(contexts) != 1:
        what = "no step definition matches" if not contexts else f"{len(contexts)} step definitions match"
        hint = "write it in steps/" if not contexts else ", ".join(map(_place, contexts))
        planned.problems.append(Problem(where, f"{what} {step.keyword.strip()} {step.name!r}", hint))
        return
    problem = _record(planned, step, contexts[0])
    if problem:
        planned.problems.append(Problem(where, problem, _place(contexts[0])))


def _record(planned: Planned, step: Step, context: StepFunctionContext) -> str:
    """Call the step function with a recorder; what is wrong with it, or nothing."""
    if inspect.iscoroutinefunction(context.step_func) or inspect.isasyncgenfunction(context.step_func):
        return "the step is async: its assertions would never be awaited"
    recorder = Recorder()
    fixtures: dict[str, Any] = {"deploy": recorder.deploy, "ask": recorder.ask}
    try:
        arguments = parse_step_arguments(step, context)
        wanted = inspect.signature(context.step_func).parameters
        strange = sorted(set(wanted) - set(arguments) - set(fixtures))
        if strange:
            return f"the step takes {', '.join(strange)}: only deploy, ask and its own arguments are known"
        values = {**fixtures, **arguments}
        result = context.step_func(**{name: values[name] for name in wanted})
    except (Exception, OutcomeException) as error:  # pytest.skip() and its kin are no Exception
        return f"the step cannot be planned: {type(error).__name__}: {error}"
    if result is not None:
        return f"the step returns {result!r}: a verdict is asked for, never returned"
    if step.type == "then" and not recorder.questions:
        return "a Then that asks nothing proves nothing"
    planned.components += [c for c in recorder.components if c not in planned.components]
    planned.questions += [q for q in recorder.questions if q not in planned.questions]
    return ""


def _definitions(item: pytest.Item, step: Step) -> list[StepFunctionContext]:
    manager = item.session._fixturemanager
    return [step_function_context_registry[f.func] for f in find_fixturedefs_for_step(step, manager, item)]


def _place(context: StepFunctionContext) -> str:
    code = inspect.unwrap(context.step_func).__code__
    return f"{os.path.relpath(code.co_filename)}:{code.co_firstlineno}"
