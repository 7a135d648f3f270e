"""Whether features, steps, checks, controls, environments and the deployment plan fit together.

project    everything that is looked at, read once
scenarios  rules for feature files
steps      rules for step definitions, and how steps and definitions match
coverage   items, environments, checks and their negative controls
checklist  docs/checklist.md, made from the same data
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.checks.base import Check
from harness.errors import Problem
from harness.lint import coverage, scenarios, steps
from harness.lint.checklist import checklist_text
from harness.lint.project import Project

__all__ = ["checklist", "lint"]


def lint(root: Path, checks: Mapping[str, Check] | None = None) -> list[Problem]:
    """Every problem of the project at ``root``, by file and line; empty when everything fits.

    ``checks`` are the checks that there are, by name; by default, those of harness.checks.
    """
    project = Project.read(root, checks)
    found = [
        *project.problems,
        *scenarios.problems(project),
        *steps.problems(project),
        *coverage.problems(project),
    ]
    return sorted(dict.fromkeys(found), key=_position)


def checklist(root: Path) -> str:
    """The text of docs/checklist.md: item, scenario, environments, negative control."""
    return checklist_text(Project.read(root, {}))


def _position(problem: Problem) -> tuple[str, int]:
    path, _, rest = problem.where.partition(":")
    line = rest.partition(":")[0]
    return path, int(line) if line.isdigit() else 0
