"""Rules for feature files: what could hide a scenario, make it run empty, or make it hard to read."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

from harness.checks.base import Effect
from harness.environment.explain import nearest
from harness.errors import Problem
from harness.gherkin import ScenarioInfo, Table, Tag
from harness.items import ITEMS
from harness.lint.project import Project

__all__ = ["MOST_STEPS", "problems"]

MOST_STEPS = 6
"""Steps of a scenario, without those of its backgrounds."""


def problems(project: Project) -> Iterator[Problem]:
    """Everything that is wrong with the feature files themselves."""
    yield from _names(project)
    for feature in project.features:
        if not feature.scenarios:
            yield Problem(
                project.place(feature.path, feature.line), "a feature without scenarios", "remove it"
            )
    for scenario in project.scenarios:
        for line, what, hint in (*_steps(scenario), *_examples(scenario), *_drills(project, scenario)):
            yield Problem(project.place(scenario.path, line), what, hint)
        for tag in scenario.tag_list:
            if trouble := _tag(project, tag):
                yield Problem(project.place(scenario.path, tag.line), *trouble)


Found = tuple[int, str, str]


def _names(project: Project) -> Iterator[Problem]:
    features: dict[str, str] = {}
    scenarios: dict[str, str] = {}
    for feature in project.features:
        where = project.place(feature.path, feature.line)
        if feature.name in features:
            yield Problem(
                where, f"a second feature {feature.name!r}", f"the first: {features[feature.name]}"
            )
        features.setdefault(feature.name, where)
    for scenario in project.scenarios:
        where = project.place(scenario.path, scenario.line)
        if not scenario.name:
            yield Problem(where, "a scenario without a name", "say what holds when it passes")
        elif scenario.name in scenarios:
            first = scenarios[scenario.name]
            yield Problem(where, f"a second scenario {scenario.name!r}", f"the first: {first}")
        scenarios.setdefault(scenario.name, where)


def _steps(scenario: ScenarioInfo) -> Iterator[Found]:
    own, line = scenario.own_steps, scenario.line
    if not own:
        yield line, "a scenario without steps passes without proving anything", "write them"
        return
    if len(own) > MOST_STEPS:
        yield (
            line,
            f"{len(own)} steps: a reader follows {MOST_STEPS}",
            "say it more declaratively, or split it",
        )
    if not any(step.type == "then" for step in own):
        yield line, "a scenario without a Then proves nothing", "say what must be true"
    whens = [step for step in own if step.type == "when"]
    for step in whens[1:]:
        yield step.line, "a second When", "one scenario, one action: split it"
    kinds = ["given", "when", "then"]
    for before, step in itertools.pairwise(own):
        if kinds.index(step.type) < kinds.index(before.type):
            yield step.line, f"a {step.type.title()} after a {before.type.title()}", "Given, When, Then"


def _examples(scenario: ScenarioInfo) -> Iterator[Found]:
    used = frozenset().union(*(step.placeholders for step in scenario.steps))
    if not scenario.outline:
        for column in sorted(used):
            yield (
                scenario.line,
                f"<{column}> stands in a Scenario, which has no Examples",
                "Scenario Outline",
            )
        return
    if not scenario.examples:
        yield scenario.line, "a Scenario Outline without Examples runs once, literally", "add a table"
    for table in scenario.examples:
        yield from _table(table, used)


def _table(table: Table, used: frozenset[str]) -> Iterator[Found]:
    if not table.rows:
        yield table.line, "an empty Examples table runs once, literally", "add rows, or remove the table"
    for column in table.columns:
        if column not in used:
            yield (
                table.line,
                f"column <{column}> is used by no step",
                nearest(column, sorted(used)) or "remove it",
            )
    for column in sorted(used - set(table.columns)):
        yield table.line, f"no column for <{column}>", nearest(column, table.columns)
    for row, count in Counter(table.rows).items():
        if count > 1:
            yield table.line, f"the row {' | '.join(row)} stands here {count} times", "keep one"
        if not all(row):
            yield table.line, f"an empty cell in the row {' | '.join(row)}", "fill it"


def _tag(project: Project, tag: Tag) -> tuple[str, str] | None:
    """What is wrong with ``tag`` and what to do; nothing when it is registered and its value is known."""
    name, separator, value = tag.name.partition(":")
    if name not in project.tags:
        return f"@{tag.name} is not registered in pytest.ini", nearest(name, sorted(project.tags))
    if project.tags[name] != bool(separator and value):
        return f"@{tag.name}: {_form(name, project.tags[name])}", ""
    known = {"item": list(ITEMS), "env": sorted(project.environments)}.get(name)
    if known is not None and value not in known:
        what = "an item of the deployment plan" if name == "item" else "an environment"
        return f"@{tag.name} is not {what}", nearest(value, known)
    return None


def _form(name: str, valued: bool) -> str:
    return f"is written @{name}:VALUE" if valued else f"is written @{name}, without a value"


def _drills(project: Project, scenario: ScenarioInfo) -> Iterator[Found]:
    disturbing = [q.check.name for q in project.questions(scenario) if q.check.effect is Effect.DISTURBS]
    if disturbing and "drill" not in scenario.tags:
        yield scenario.line, f"{disturbing[0]} disturbs the environment", "tag the scenario @drill"
    if "drill" in scenario.tags and not disturbing:
        yield scenario.line, "tagged @drill, but none of its checks disturbs anything", "remove the tag"
