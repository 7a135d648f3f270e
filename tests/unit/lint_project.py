"""A small project in which everything fits, to break one thing at a time."""

from __future__ import annotations

import re
from pathlib import Path

from harness.checks.base import Check, Effect
from harness.evidence import Evidence, holds
from harness.items import ITEMS
from harness.lint import lint
from tests.unit.environment_files import ROOT


def _ready(stack: object) -> Evidence:
    """It is ready."""
    return holds("ready")


def _killed(stack: object, program: str = "") -> Evidence:
    """It comes back."""
    return holds("back")


CHECKS = {
    "demo.ready": Check("demo.ready", "gateway", ("gateway",), Effect.READS, _ready),
    "demo.killed": Check("demo.killed", "gateway", ("gateway",), Effect.DISTURBS, _killed),
}

TAGS = "\n  ".join(
    " ".join(f"@item:{i}" for i in ITEMS if i.startswith(p)) for p in ("WEB", "GW", "IG", "TG", "SB")
)

FEATURE = f"""Feature: Demo
  Words about it.

  Background:
    Given the demo is deployed

  # control: tests/negative/test_demo.py::test_unready_is_refuted
  {TAGS}
  @env:local
  Scenario: The demo is ready
    Then it is ready

  # control: tests/negative/test_demo.py::test_not_restarted_is_refuted
  @env:local @drill
  Scenario Outline: The demo comes back after <program> died
    When time passes
    Then <program> comes back

    Examples:
      | program |
      | engine  |
      | gateway |
"""

STEPS = '''"""Demo."""

from pytest_bdd import given, parsers, then, when

from tests.unit.lint_project import CHECKS


@given("the demo is deployed")
def _(deploy):
    deploy("gateway")


@when("time passes")
def _(deploy):
    deploy("gateway")


@then("it is ready")
def _(ask):
    ask(CHECKS["demo.ready"])


@then(parsers.parse("{program} comes back"))
def _(ask, program):
    ask(CHECKS["demo.killed"], program=program)
'''

TESTS = '''"""Controls."""


def test_unready_is_refuted():
    assert "demo.ready"


class TestMore:
    def test_in_a_class(self):
        assert True


def test_not_restarted_is_refuted():
    assert "demo.killed"
'''

PYTEST_INI = """[pytest]
markers =
    item(id): an item
    env(name): an environment
    drill: disturbs
"""


def write_project(root: Path) -> Path:
    files = {
        "features/demo.feature": FEATURE,
        "steps/__init__.py": "",
        "steps/demo.py": STEPS,
        "tests/negative/test_demo.py": TESTS,
        "pytest.ini": PYTEST_INI,
        "conftest.py": 'pytest_plugins = ["harness.pytest_plugin", "steps.demo"]\n',
        "environments/local.yaml": environment(),
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def environment(name: str = "local", not_applicable: str = "{}") -> str:
    text = (ROOT / "environments" / "local.yaml").read_text(encoding="utf-8")
    text = re.sub(
        r"^not_applicable:\n(  .*\n)+", f"not_applicable: {not_applicable}\n", text, flags=re.MULTILINE
    )
    return text.replace("environment: local", f"environment: {name}")


def edit(root: Path, file: str, old: str, new: str) -> None:
    path = root / file
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{old!r} is not in {file}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def found(root: Path) -> list[str]:
    return [str(problem) for problem in lint(root, CHECKS)]
