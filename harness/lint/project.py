"""Everything that the rules look at, read once."""

from __future__ import annotations

import configparser
import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import harness.checks
from harness.asking import Question, Recorder
from harness.checks.base import CHECKS, Check
from harness.environment.loader import Loaded, load
from harness.errors import ConfigurationError, Problem
from harness.gherkin import FeatureFile, ScenarioInfo, StepInfo, read_feature
from harness.lint.definitions import Definition, read_definitions

__all__ = ["Project"]


@dataclass
class Project:
    """A project as it stands on disk. ``problems`` are those that were met while reading it."""

    root: Path
    checks: Mapping[str, Check]
    features: list[FeatureFile] = field(default_factory=list)
    definitions: list[Definition] = field(default_factory=list)
    environments: dict[str, Loaded] = field(default_factory=dict)
    tags: dict[str, bool] = field(default_factory=dict)
    """Registered tag: whether it takes a value."""
    problems: list[Problem] = field(default_factory=list)

    @classmethod
    def read(cls, root: Path, checks: Mapping[str, Check] | None = None) -> Project:
        """The project at ``root``. Never raises for what is wrong with it."""
        project = cls(root, _registered() if checks is None else checks)
        project._read_features()
        project.definitions, problems = read_definitions(root)
        project.problems += problems
        project._read_environments()
        project.tags = _tags(root / "pytest.ini")
        return project

    @property
    def scenarios(self) -> list[ScenarioInfo]:
        """Every scenario, by file and line."""
        return [scenario for feature in self.features for scenario in feature.scenarios]

    def place(self, path: Path, line: int) -> str:
        """file:line, relative to the root."""
        shown = path.relative_to(self.root) if path.is_relative_to(self.root) else path
        return f"{shown}:{line}"

    def matching(self, step: StepInfo, text: str) -> list[Definition]:
        """The definitions that match a step whose text, filled in, is ``text``."""
        return [definition for definition in self.definitions if definition.matches(step.type, text)]

    def questions(self, scenario: ScenarioInfo) -> list[Question]:
        """What the steps of ``scenario`` ask, over all rows of its Examples, each once."""
        recorder = Recorder()
        for step in scenario.steps:
            for text in scenario.rendered(step):
                for definition in self.matching(step, text):
                    definition.record(text, recorder)
        return recorder.questions

    def _read_features(self) -> None:
        for path in sorted((self.root / "features").rglob("*.feature")):
            try:
                self.features.append(read_feature(path))
            except ConfigurationError as error:
                self.problems += [self._relative(problem) for problem in error.problems]

    def _read_environments(self) -> None:
        for path in sorted((self.root / "environments").glob("*.yaml")):
            try:
                self.environments[path.stem] = load(path.stem, self.root)
            except ConfigurationError as error:
                self.problems += error.problems

    def _relative(self, problem: Problem) -> Problem:
        return Problem(problem.where.removeprefix(f"{self.root}/"), problem.what, problem.hint)


def _registered() -> Mapping[str, Check]:
    """Every check there is, used or not."""
    for module in pkgutil.walk_packages(harness.checks.__path__, "harness.checks."):
        importlib.import_module(module.name)
    return CHECKS


def _tags(path: Path) -> dict[str, bool]:
    """The markers of pytest.ini: ``item(id)`` is written @item:GW-1, ``drill`` is written @drill."""
    parser = configparser.ConfigParser()
    parser.read(path, encoding="utf-8")
    lines = parser.get("pytest", "markers", fallback="").strip().splitlines()
    names = [line.partition(":")[0].strip() for line in lines]
    return {name.partition("(")[0]: "(" in name for name in names if name}
