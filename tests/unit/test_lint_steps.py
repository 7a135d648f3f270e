"""Rules for step definitions: each with a project that breaks it, and the message that says so."""

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


STEP_RULES = [
    (
        "def _(ask):\n    ask(",
        "async def _(ask):\n    ask(",
        "an async step is never awaited, so it always passes",
    ),
    (
        '    ask(CHECKS["demo.ready"])\n',
        '    ask(CHECKS["demo.ready"])\n' * 6,
        "a step has 1 to 5 lines, this one 6",
    ),
    (
        '    ask(CHECKS["demo.ready"])\n',
        '    if ask:\n        ask(CHECKS["demo.ready"])\n',
        "a step holds no logic: if",
    ),
    (
        '    ask(CHECKS["demo.ready"])\n',
        "    for c in CHECKS.values():\n        ask(c)\n",
        "a step holds no logic: for",
    ),
    (
        '    ask(CHECKS["demo.ready"])\n',
        "    [ask(c) for c in CHECKS.values()]\n",
        "a step holds no logic: for",
    ),
    (
        '    ask(CHECKS["demo.ready"])\n',
        '    while not ask:\n        ask(CHECKS["demo.ready"])\n',
        "no logic: while",
    ),
    (
        '    ask(CHECKS["demo.ready"])\n',
        "    try:\n        ask(1)\n    except TypeError:\n        print()\n",
        "logic: try",
    ),
    (
        '    ask(CHECKS["demo.ready"])\n',
        '    ask(CHECKS["demo.ready"])\n    assert ask\n',
        "a step holds no logic: assert",
    ),
    (
        '    ask(CHECKS["demo.ready"])\n',
        '    return ask(CHECKS["demo.ready"])\n',
        "a step holds no logic: return",
    ),
    (
        '    ask(CHECKS["demo.ready"])\n',
        '    ask(CHECKS["demo.ready"] if ask else None)\n',
        "a step holds no logic: if",
    ),
    (
        '    ask(CHECKS["demo.ready"])\n',
        '    with open("x") as f:\n        ask(f)\n',
        "a step holds no logic: with",
    ),
    ('    ask(CHECKS["demo.ready"])\n', '    """Only words."""\n', "a step has 1 to 5 lines, this one 0"),
    (
        "def _(ask):\n",
        "def _(ask, tmp_path):\n",
        "a step takes deploy, ask and what its text names, not tmp_path",
    ),
    ("def _(ask):\n", "def _(ask, x=1):\n", "a step takes plain parameters only"),
    ("def _(ask):\n", "def _(ask, **more):\n", "a step takes plain parameters only"),
    (
        'def _(ask, program):\n    ask(CHECKS["demo.killed"], program=program)',
        'def _(ask):\n    ask(CHECKS["demo.killed"])',
        "{program} stands in the text, but the function does not take it",
    ),
    (
        '@then("it is ready")',
        '@then("it is ready", target_fixture="x")',
        "a step makes no fixture (target_fixture)",
    ),
]


@pytest.mark.parametrize(("old", "new", "message"), STEP_RULES)
def test_a_rule_for_steps(root: Path, old: str, new: str, message: str) -> None:
    edit(root, S, old, new)
    problems = found(root)
    matching = [problem for problem in problems if message in problem]
    assert matching, problems
    assert re.match(r"steps/demo\.py:\d+: ", matching[0])
