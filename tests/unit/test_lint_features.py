"""Rules for feature files: each with a project that breaks it, and the message that says so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.lint_project import edit, found, write_project

F, S, T, E = (
    "features/demo.feature",
    "steps/demo.py",
    "tests/negative/test_demo.py",
    "environments/local.yaml",
)
READY, OUTLINE, TABLE = (
    "  Scenario: The demo is ready\n",
    "  Scenario Outline: The demo comes back",
    "      | engine  |\n",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_project(tmp_path)


SCENARIO_RULES = [
    # --- steps and definitions
    (
        F,
        "Then it is ready",
        "Then it is redy",
        r"demo.feature:15: no step definition matches Then 'it is redy' "
        r"\(the nearest: 'it is ready', steps/demo.py:19\)",
    ),
    (
        F,
        "Then it is ready",
        "Then nobody ever wrote this",
        r"matches Then 'nobody ever wrote this' \(write it in",
    ),
    (
        F,
        "Then it is ready",
        "When it is ready\n    Then it is ready",
        r"demo.feature:15: no step definition matches "
        r"When 'it is ready' \(steps/demo.py:19 defines it as a Then\)",
    ),
    (
        S,
        "{program} comes back",
        "{program:d} comes back",
        r"demo.feature:21: no step definition matches Then 'engine comes",
    ),
    (
        S,
        '@then("it is ready")',
        '@then(parsers.parse("it is {what}"))\ndef _(ask, what):\n    ask(CHECKS["demo.ready"])\n'
        '\n\n@then("it is ready")',
        r"demo.feature:15: 2 step definitions match Then 'it is ready' \(steps/demo.py:",
    ),
    (
        S,
        '@when("time passes")',
        '@given("unused words")\ndef _(deploy):\n    deploy("web")\n\n\n@when("time passes")',
        r"steps/demo.py:14: no feature uses the step Given 'unused words' \(remove it\)",
    ),
    # --- names and structure
    (
        F,
        OUTLINE,
        "  Scenario: The demo is ready\n    Then it is ready\n\n" + OUTLINE,
        r"demo.feature:\d+: a second scenario 'The demo is ready' \(the first: features/demo.feature:14\)",
    ),
    (
        F,
        OUTLINE,
        "  Rule: Again\n  Scenario: The demo is ready\n    Then it is ready\n\n" + OUTLINE,
        r"a second scenario 'The demo is ready'",
    ),
    (F, READY, "  Scenario:\n", r"demo.feature:14: a scenario without a name"),
    (
        F,
        "    Then it is ready\n",
        "",
        r"demo.feature:14: a scenario without steps passes without proving anything",
    ),
    (
        F,
        "    Then it is ready\n",
        "    Given the demo is deployed\n",
        r"demo.feature:14: a scenario without a Then proves",
    ),
    (
        F,
        "    Then it is ready\n",
        "    Then it is ready\n" * 7,
        r"demo.feature:14: 7 steps: a reader follows 6",
    ),
    (
        F,
        "    When time passes\n",
        "    When time passes\n    And time passes\n",
        r"demo.feature:21: a second When",
    ),
    (
        F,
        "    Then it is ready\n",
        "    Then it is ready\n    Given the demo is deployed\n",
        r"demo.feature:16: a Given after a Then",
    ),
    (F, "Words about it.", "Words\n\n  Nonsense: here\n  @\n", r"demo.feature:\d+: "),
    # --- outlines
    (
        F,
        "      | engine  |\n      | gateway |\n",
        "",
        r"demo.feature:23: an empty Examples table runs once, literally",
    ),
    (
        F,
        "    Examples:\n      | program |\n      | engine  |\n      | gateway |\n",
        "",
        r"demo.feature:19: a Scenario Outline without Examples runs once, literally",
    ),
    (
        F,
        "      | program |\n      | engine  |\n      | gateway |",
        "      | program | extra |\n      | engine  | x |",
        r"demo.feature:23: column <extra> is used by no step",
    ),
    (
        F,
        "Then <program> comes",
        "Then <progam> comes",
        r"demo.feature:23: no column for <progam> \(did you mean program\?\)",
    ),
    (
        F,
        "Then it is ready",
        "Then it is <ready>",
        r"demo.feature:14: <ready> stands in a Scenario, which has no Examples",
    ),
    (F, TABLE, TABLE * 2, r"demo.feature:23: the row engine stands here 2 times"),
    (F, TABLE, TABLE + "      |  |\n", r"demo.feature:23: an empty cell in the row"),
    # --- tags
    (
        F,
        "@env:local @drill",
        "@env:local @dril",
        r"demo.feature:18: @dril is not registered in pytest.ini \(did you mean drill",
    ),
    (
        F,
        "@env:local @drill",
        "@env:lokal @drill",
        r"demo.feature:18: @env:lokal is not an environment \(did you mean local",
    ),
    (
        F,
        "@item:WEB-1",
        "@item:WEB-9",
        r"demo.feature:8: @item:WEB-9 is not an item of the deployment plan \(did you mean",
    ),
    (F, "@env:local @drill", "@env @drill", r"demo.feature:18: @env: is written @env:VALUE"),
    (
        F,
        "@env:local @drill",
        "@env:local @drill:x",
        r"demo.feature:18: @drill:x: is written @drill, without a value",
    ),
    (
        F,
        "@env:local @drill",
        "@env:local",
        r"demo.feature:19: demo.killed disturbs the environment \(tag the scenario @drill",
    ),
    (
        F,
        "@env:local\n",
        "@env:local @drill\n",
        r"demo.feature:14: tagged @drill, but none of its checks disturbs anything",
    ),
]


@pytest.mark.parametrize(("file", "old", "new", "message"), SCENARIO_RULES)
def test_a_rule_for_features(root: Path, file: str, old: str, new: str, message: str) -> None:
    edit(root, file, old, new)
    problems = found(root)
    assert any(re.search(message, problem) for problem in problems), problems


def test_two_features_of_one_name(root: Path) -> None:
    (root / "features" / "other.feature").write_text(
        "Feature: Demo\n  Scenario: Other\n    Then it is ready\n"
    )
    assert any(
        "other.feature:1: a second feature 'Demo' (the first: features/demo.feature:1)" in p
        for p in found(root)
    )


def test_a_feature_without_scenarios_and_one_that_cannot_be_parsed(root: Path) -> None:
    (root / "features" / "bare.feature").write_text("Feature: Bare\n")
    (root / "features" / "broken.feature").write_text(
        "Feature: Broken\n  Scenario: x\n    Then y\n  nonsense\n"
    )
    (root / "features" / "nothing.feature").write_text("")
    problems = found(root)
    assert "features/bare.feature:1: a feature without scenarios (remove it)" in problems
    assert any(problem.startswith("features/broken.feature:4: ") for problem in problems)
    assert any(problem.startswith("features/nothing.feature: holds no Feature") for problem in problems)


def test_problems_come_by_file_and_line_and_never_twice(root: Path) -> None:
    edit(root, F, "Then it is ready", "Then it is redy")
    edit(root, F, "Then <program> comes back", "Then <program> comes beck")
    problems = found(root)
    lines = [int(p.split(":")[1]) for p in problems if p.startswith("features/demo.feature:")]
    assert lines == sorted(lines)
    assert len(problems) == len(set(problems))
