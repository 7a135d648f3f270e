"""Feature files as data: read by pytest-bdd's own parser, kept with the line of everything.

pytest-bdd forgets what a linter must see: a second scenario of one name, an empty Examples table, the line
of a tag, comments. So its parser is used, and its lossy model is not.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_bdd import exceptions, gherkin_parser
from pytest_bdd.parser import render_string
from pytest_bdd.types import STEP_TYPE_BY_PARSER_KEYWORD

from harness.errors import ConfigurationError, Problem

__all__ = [
    "Control",
    "FeatureFile",
    "ScenarioInfo",
    "StepInfo",
    "Table",
    "Tag",
    "read_feature",
    "read_features",
    "render",
]

_CONTROL = re.compile(r"#\s*control:\s*(?P<target>.*?)\s*$")
_PLACEHOLDER = re.compile(r"<(.+?)>")
_UNPARSABLE = (exceptions.GherkinParseError, UnicodeDecodeError, OSError, TypeError, KeyError)
"""TypeError: what pytest-bdd raises for a file without a Feature."""


@dataclass(frozen=True)
class Tag:
    """A tag without its @."""

    name: str
    line: int


@dataclass(frozen=True)
class Control:
    """A comment ``# control: tests/negative/test_x.py::test_y`` above a scenario."""

    target: str
    line: int


@dataclass(frozen=True)
class StepInfo:
    """One step. ``type`` is given, when or then: And and But take that of the step before."""

    type: str
    keyword: str
    text: str
    line: int
    background: bool = False

    @property
    def placeholders(self) -> frozenset[str]:
        """The columns that its text refers to."""
        return frozenset(_PLACEHOLDER.findall(self.text))


@dataclass(frozen=True)
class Table:
    """An Examples table."""

    line: int
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    tags: tuple[Tag, ...] = ()

    def contexts(self) -> Iterator[dict[str, str]]:
        """Each row as column: value."""
        for row in self.rows:
            yield dict(zip(self.columns, row, strict=True))


@dataclass(frozen=True)
class ScenarioInfo:
    """One scenario or outline. ``steps`` begin with those of its backgrounds; tags are inherited too."""

    path: Path
    feature: str
    rule: str
    name: str
    line: int
    outline: bool
    tag_list: tuple[Tag, ...]
    steps: tuple[StepInfo, ...]
    examples: tuple[Table, ...]
    controls: tuple[Control, ...]

    @property
    def tags(self) -> frozenset[str]:
        """The names of its tags, those of its rule and feature included."""
        return frozenset(tag.name for tag in self.tag_list)

    @property
    def items(self) -> tuple[str, ...]:
        """The checklist items that it is tagged with."""
        return tuple(sorted(self._values("item")))

    @property
    def environments(self) -> frozenset[str]:
        """The environments that it is tagged with."""
        return frozenset(self._values("env"))

    @property
    def own_steps(self) -> tuple[StepInfo, ...]:
        """Its steps without those of the backgrounds."""
        return tuple(step for step in self.steps if not step.background)

    def contexts(self) -> list[dict[str, str]]:
        """One mapping for each row of Examples; a single empty one when it is not an outline."""
        if not self.outline:
            return [{}]
        return list(itertools.chain.from_iterable(table.contexts() for table in self.examples))

    @property
    def names(self) -> frozenset[str]:
        """Its name, filled in for each row of Examples."""
        return frozenset(render(self.name, context) for context in self.contexts()) or frozenset(
            {self.name}
        )

    def rendered(self, step: StepInfo) -> list[str]:
        """The texts that ``step`` has over all rows, each once."""
        return list(dict.fromkeys(render(step.text, context) for context in self.contexts()))

    def _values(self, kind: str) -> list[str]:
        return [tag.partition(":")[2] for tag in self.tags if tag.startswith(f"{kind}:")]


@dataclass(frozen=True)
class FeatureFile:
    """One feature file."""

    path: Path
    name: str
    line: int
    tags: tuple[Tag, ...]
    scenarios: tuple[ScenarioInfo, ...]
    stray: tuple[Control, ...] = ()
    """Control comments that stand above no scenario."""


def render(text: str, context: Mapping[str, str]) -> str:
    """``text`` with the placeholders of ``context`` filled in, as pytest-bdd does it."""
    return render_string(text, context)


def read_features(directory: Path) -> list[FeatureFile]:
    """Every feature file below ``directory``, by path.

    Raises:
        ConfigurationError: with a problem for each file that cannot be parsed.
    """
    features: list[FeatureFile] = []
    problems: list[Problem] = []
    for path in sorted(directory.rglob("*.feature")):
        try:
            features.append(read_feature(path))
        except ConfigurationError as error:
            problems += error.problems
    if problems:
        raise ConfigurationError(problems, title="features")
    return features


def read_feature(path: Path) -> FeatureFile:
    """The feature file at ``path``.

    Raises:
        ConfigurationError: when it cannot be read or parsed; with its line.
    """
    try:
        document = gherkin_parser.get_gherkin_document(str(path))
    except _UNPARSABLE as error:
        raise ConfigurationError([_unparsable(path, error)], title="features") from None
    return _Reader(path, document).feature()


def _unparsable(path: Path, error: Exception) -> Problem:
    if isinstance(error, exceptions.GherkinParseError):
        return Problem(f"{path}:{error.line}", str(error.message).rstrip("."), error.line_content.strip())
    if isinstance(error, UnicodeDecodeError):
        return Problem(str(path), "is not UTF-8", "save it as UTF-8")
    if isinstance(error, OSError):
        return Problem(str(path), f"cannot be read: {error.strerror}")
    return Problem(str(path), "holds no Feature", "write one, or remove the file")


class _Reader:
    """Turns one parsed document into dataclasses."""

    def __init__(self, path: Path, document: gherkin_parser.GherkinDocument) -> None:
        self._path, self._document = path, document
        found = ((_CONTROL.search(c.text), c.location.line) for c in document.comments)
        self._controls = [Control(match["target"], line) for match, line in found if match]
        self._end_of_previous = 0

    def feature(self) -> FeatureFile:
        feature = self._document.feature
        tags = _tags(feature.tags)
        self._end_of_previous = feature.location.line
        scenarios = tuple(self._children(feature.children, tags, "", ()))
        taken = {control for scenario in scenarios for control in scenario.controls}
        stray = tuple(control for control in self._controls if control not in taken)
        return FeatureFile(self._path, feature.name, feature.location.line, tags, scenarios, stray)

    def _children(
        self,
        children: Iterable[gherkin_parser.Child],
        tags: tuple[Tag, ...],
        rule: str,
        background: tuple[StepInfo, ...],
    ) -> Iterator[ScenarioInfo]:
        for child in children:
            if child.background:
                background += self._steps(child.background.steps, background=True)
                self._end_of_previous = max([child.background.location.line, *(s.line for s in background)])
            elif child.rule:
                self._end_of_previous = child.rule.location.line
                inherited = (*tags, *_tags(child.rule.tags))
                yield from self._children(child.rule.children, inherited, child.rule.name, background)
            elif child.scenario:
                yield self._scenario(child.scenario, tags, rule, background)

    def _scenario(
        self,
        scenario: gherkin_parser.Scenario,
        tags: tuple[Tag, ...],
        rule: str,
        background: tuple[StepInfo, ...],
    ) -> ScenarioInfo:
        line = scenario.location.line
        controls = tuple(c for c in self._controls if self._end_of_previous < c.line <= line)
        steps = self._steps(scenario.steps)
        tables = tuple(_table(examples) for examples in scenario.examples)
        rows = [row.location.line for e in scenario.examples for row in e.table_body or []]
        self._end_of_previous = max([line, *(s.line for s in steps), *(t.line for t in tables), *rows])
        return ScenarioInfo(
            path=self._path,
            feature=self._document.feature.name,
            rule=rule,
            name=scenario.name,
            line=line,
            outline=scenario.keyword in ("Scenario Outline", "Scenario Template") or bool(tables),
            tag_list=(*tags, *_tags(scenario.tags), *(tag for t in tables for tag in t.tags)),
            steps=(*background, *steps),
            examples=tables,
            controls=controls,
        )

    def _steps(
        self, steps: Sequence[gherkin_parser.Step], *, background: bool = False
    ) -> tuple[StepInfo, ...]:
        if steps and steps[0].keyword_type not in STEP_TYPE_BY_PARSER_KEYWORD:
            where = f"{self._path}:{steps[0].location.line}"
            what = f"the first step begins with {steps[0].keyword.strip()}"
            raise ConfigurationError([Problem(where, what, "Given, When or Then")], title="features")
        made: list[StepInfo] = []
        kind = "given"
        for step in steps:
            kind = STEP_TYPE_BY_PARSER_KEYWORD.get(step.keyword_type, kind)
            made.append(StepInfo(kind, step.keyword.strip(), step.text, step.location.line, background))
        return tuple(made)


def _tags(tags: Iterable[gherkin_parser.Tag]) -> tuple[Tag, ...]:
    return tuple(Tag(tag.name.lstrip("@"), tag.location.line) for tag in tags)


def _table(examples: gherkin_parser.ExamplesTable) -> Table:
    header = examples.table_header
    return Table(
        line=examples.location.line,
        columns=tuple(cell.value for cell in header.cells) if header else (),
        rows=tuple(tuple(cell.value for cell in row.cells) for row in examples.table_body or ()),
        tags=_tags(examples.tags),
    )
