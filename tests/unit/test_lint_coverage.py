"""Rules for items, environments, checks and controls: each broken once, with its message."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from harness.items import ITEMS
from tests.unit.lint_project import edit, environment, found, write_project

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


def test_a_project_in_which_everything_fits(root: Path) -> None:
    assert found(root) == []


COVERAGE_RULES = [
    (
        F,
        "  Words about it.",
        "  # control: a.py::test_b\n  Words about it.",
        "demo.feature:2: the control a.py::test_b stands above no scenario (move it)",
    ),
    (F, " @item:SB-5", "", "features: no scenario is tagged @item:SB-5 (Monitoring enabled) (write one)"),
    (F, "@env:local\n  Scenario:", "@env:other\n  Scenario:", "environments/local.yaml:"),
    (
        E,
        "not_applicable: {}",
        "not_applicable:\n  GW-1: there is no image here",
        "GW-1 is not_applicable, but a scenario of it is tagged @env:local (remove one of them)",
    ),
    (
        F,
        "::test_unready_is_refuted",
        "::test_unredy_is_refuted",
        "demo.feature:7: tests/negative/test_demo.py has no test "
        "test_unredy_is_refuted (did you mean test_unready_is_refuted?)",
    ),
    (
        F,
        "test_demo.py::test_unready",
        "test_dmo.py::test_unready",
        "demo.feature:7: there is no file "
        "tests/negative/test_dmo.py (did you mean tests/negative/test_demo.py?)",
    ),
    (
        F,
        "tests/negative/test_demo.py::test_unready_is_refuted",
        "see the tests",
        "demo.feature:7: 'see the tests' names no test (# control: tests/negative/test_x.py::test_y)",
    ),
    (
        F,
        "# control: tests/negative/test_demo.py::test_unready_is_refuted",
        "# nothing",
        "the check demo.ready has no negative control (# control: … above features/demo.feature:14)",
    ),
    (
        T,
        '"demo.ready"',
        '"something else"',
        "no test in tests/negative/test_demo.py asks the check demo.ready",
    ),
    (T, "def test_unready", "def test_(", "tests/negative/test_demo.py cannot be parsed"),
    (
        S,
        'CHECKS["demo.killed"], program=program',
        'CHECKS["demo.ready"], program=program',
        "no step asks the check demo.killed",
    ),
    (
        S,
        '    ask(CHECKS["demo.ready"])',
        "    print()",
        "Then 'it is ready' asks nothing, so it proves nothing",
    ),
    (
        S,
        '    ask(CHECKS["demo.ready"])',
        '    ask(CHECKS["demo.redy"])',
        "the step 'it is ready' cannot be planned: KeyError",
    ),
    (
        S,
        "from tests.unit.lint_project",
        "from lint_projekt",
        "steps/demo.py:5: cannot be imported: ModuleNotFoundError: ",
    ),
    (
        S,
        "from tests.unit.lint_project",
        "from tests.unit.lint_project import (",
        "steps/demo.py:5: cannot be imported: SyntaxError: ",
    ),
    (
        S,
        '    deploy("gateway")',
        '    deploy("gatway")',
        "cannot be planned: it deploys 'gatway', which is not a component",
    ),
    (
        S,
        '    ask(CHECKS["demo.ready"])',
        "    ask(1)",
        "cannot be planned: it asks 1, which is not a check",
    ),
    (
        "conftest.py",
        ', "steps.demo"',
        "",
        'steps/demo.py:1: conftest.py does not load it (add "steps.demo" to pytest_plugins)',
    ),
    ("conftest.py", '"steps.demo"]', '"steps.demo"', "conftest.py:1: cannot be parsed: "),
    (E, "drills: true", "drills: maybe", "drills: must be true or false"),
]


@pytest.mark.parametrize(("file", "old", "new", "message"), COVERAGE_RULES)
def test_a_rule_for_the_whole(root: Path, file: str, old: str, new: str, message: str) -> None:
    edit(root, file, old, new)
    problems = found(root)
    assert any(message in problem for problem in problems), problems


def test_an_environment_must_account_for_every_item(root: Path) -> None:
    (root / "environments" / "staging.yaml").write_text(environment("staging"))
    problems = found(root)
    where = (root / "environments" / "staging.yaml").read_text().splitlines().index(
        "not_applicable: {}"
    ) + 1
    expected = (
        f"environments/staging.yaml:{where}:1: no scenario of GW-1 applies to staging, and not_applicable"
    )
    assert any(problem.startswith(expected) for problem in problems), problems
    reasons = "\n".join(f"  {item}: cannot be had there" for item in ITEMS)
    (root / "environments" / "staging.yaml").write_text(environment("staging", "\n" + reasons))
    assert found(root) == []


def test_a_control_may_be_a_method_or_one_case_of_a_test(root: Path) -> None:
    edit(root, F, "::test_unready_is_refuted", "::TestMore::test_in_a_class")
    assert found(root) == []
    edit(root, F, "::TestMore::test_in_a_class", "::test_unready_is_refuted[one]")
    assert found(root) == []


def test_it_is_fast_enough_for_every_save(root: Path) -> None:
    started = time.process_time()
    found(root)
    assert time.process_time() - started < 1.0
