"""What the feature files promise: every scenario, and every row of it, that an environment must see run.

pytest-bdd collects less than what is written: of two scenarios with one name it keeps the last, a feature
that nothing binds vanishes, and a node id can pick one row of a table. So the files themselves are read.
"""

from __future__ import annotations

import os.path
from collections.abc import Container, Iterable, Sequence
from pathlib import Path

from harness.errors import Problem
from harness.gherkin import FeatureFile, ScenarioInfo, render
from harness.ledger import NotRun

__all__ = [
    "Expected",
    "Key",
    "expected_scenarios",
    "expected_tests",
    "flaws",
    "items_of_tests",
    "test_name",
]

Key = tuple[str, int, str]
"""File, line and Examples row of a scenario."""

Expected = dict[Key, NotRun]


def expected_scenarios(features: Iterable[FeatureFile], environment: str) -> Expected:
    """Every scenario and row that applies to ``environment``, as what it is if it does not run."""
    expected: Expected = {}
    for feature in features:
        for scenario in feature.scenarios:
            if not scenario.environments or environment in scenario.environments:
                expected |= _rows(scenario)
    return expected


def expected_tests(
    features: Iterable[FeatureFile], environment: str, root: Path, *, drills: bool
) -> list[str]:
    """The names of the tests that a complete run in ``environment`` passes, with or without its drills."""
    names = []
    for feature in features:
        for scenario in feature.scenarios:
            applies = not scenario.environments or environment in scenario.environments
            if applies and (drills or "drill" not in scenario.tags):
                names += [test_name(root, scenario.path, told.name) for told in _rows(scenario).values()]
    return sorted(names)


def items_of_tests(features: Iterable[FeatureFile], root: Path) -> dict[str, tuple[str, ...]]:
    """The name of every test: the checklist items that it proves."""
    return {
        test_name(root, scenario.path, told.name): tuple(scenario.items)
        for feature in features
        for scenario in feature.scenarios
        for told in _rows(scenario).values()
    }


def test_name(root: Path, path: Path, title: str) -> str:
    """How evidence names a scenario: by file and title, since lines move."""
    return f"{Path(os.path.relpath(path, root)).as_posix()}: {title}"


def _rows(scenario: ScenarioInfo) -> Expected:
    rows: Expected = {}
    for context in scenario.contexts() or [{}]:
        row = ", ".join(context.values())
        name = render(scenario.name, context)
        title = f"{name} [{row}]" if row else name
        key = (str(scenario.path.resolve()), scenario.line, row)
        items = ", ".join(scenario.items)
        rows[key] = NotRun(title, "not selected", items, where(scenario), scenario.feature)
    return rows


def flaws(features: Sequence[FeatureFile], markers: Container[str]) -> list[Problem]:
    """What pytest-bdd would swallow, or say without a line: lost scenarios, lost or unknown tags."""
    problems = []
    for feature in features:
        problems += _repeated(feature)
        for scenario in feature.scenarios:
            problems += _tags(scenario, markers)
    return problems


def _repeated(feature: FeatureFile) -> list[Problem]:
    """A problem for each scenario whose name another one of its feature has: one of them would vanish."""
    problems = []
    first: dict[str, ScenarioInfo] = {}
    for scenario in feature.scenarios:
        other = first.setdefault(scenario.name, scenario)
        if other is not scenario:
            what = f"a second scenario {scenario.name!r}: one of them would never run"
            problems.append(Problem(where(scenario), what, f"the first is {where(other)}"))
    return problems


def _tags(scenario: ScenarioInfo, markers: Container[str]) -> list[Problem]:
    path = os.path.relpath(scenario.path)
    problems = [
        Problem(f"{path}:{tag.line}", f"@{tag.name} on Examples has no effect", "tag the scenario")
        for table in scenario.examples
        for tag in table.tags
    ]
    problems += [
        Problem(f"{path}:{tag.line}", f"@{tag.name} is not registered", "see markers in pytest.ini")
        for tag in scenario.tag_list
        if tag.name.partition(":")[0] not in markers
    ]
    return problems


def where(scenario: ScenarioInfo) -> str:
    """file:line of ``scenario``, as short as it can be said from here."""
    return f"{os.path.relpath(scenario.path)}:{scenario.line}"
