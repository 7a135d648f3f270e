"""Feature files as data: nothing that a linter must see is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import ConfigurationError
from harness.gherkin import read_feature, read_features

TEXT = """# control: belongs/to::nobody
@all
Feature: F

  Background:
    Given x

  # control: t.py::a
  #control: t.py::b
  # a remark
  @item:GW-2 @item:GW-1
  @env:local
  Scenario: One
    Then y
    And z

  # control: t.py::between
  Rule: R

    Background:
      Given w

    # control: t.py::c
    @rule
    Scenario Outline: <n> things
      When <n> and <m>
      Then same

      @few
      Examples:
        | n | m |
        | 1 | a |
        | 2 | a |

      Examples: more
        | n | m |
        | 3 | b |

    Scenario: One
      Then y
      * z
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "f.feature").write_text(TEXT)
    return tmp_path


def test_everything_is_there_with_its_line(folder: Path) -> None:
    (feature,) = read_features(folder)
    assert (feature.name, feature.line, [t.name for t in feature.tags]) == ("F", 3, ["all"])
    one, outline, again = feature.scenarios
    assert (one.name, one.line, one.rule, one.outline) == ("One", 13, "", False)
    assert one.items == ("GW-1", "GW-2")
    assert one.environments == {"local"}
    assert one.tags == {"all", "item:GW-1", "item:GW-2", "env:local"}
    assert [(s.type, s.text, s.line, s.background) for s in one.steps] == [
        ("given", "x", 6, True),
        ("then", "y", 14, False),
        ("then", "z", 15, False),
    ]
    assert [step.text for step in one.own_steps] == ["y", "z"]
    assert (outline.rule, outline.outline, outline.tags) == ("R", True, {"all", "rule", "few"})
    assert [step.text for step in outline.steps] == ["x", "w", "<n> and <m>", "same"]
    assert again.name == "One", "a second scenario of one name is not lost"
    assert [step.type for step in again.own_steps] == ["then", "then"]


def test_rows_fill_in_names_and_steps(folder: Path) -> None:
    outline = read_features(folder)[0].scenarios[1]
    assert outline.contexts() == [{"n": "1", "m": "a"}, {"n": "2", "m": "a"}, {"n": "3", "m": "b"}]
    assert outline.names == {"1 things", "2 things", "3 things"}
    assert outline.rendered(outline.steps[2]) == ["1 and a", "2 and a", "3 and b"]
    assert outline.rendered(outline.steps[3]) == ["same"]
    assert outline.steps[2].placeholders == {"n", "m"}


def test_a_control_belongs_to_the_scenario_below_it(folder: Path) -> None:
    one, outline, again = read_features(folder)[0].scenarios
    assert [(c.target, c.line) for c in one.controls] == [("t.py::a", 8), ("t.py::b", 9)]
    assert [c.target for c in outline.controls] == ["t.py::c"]
    assert again.controls == ()
    stray = read_features(folder)[0].stray
    assert [(c.target, c.line) for c in stray] == [("belongs/to::nobody", 1), ("t.py::between", 17)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no Feature"),
        (b"# words\n", "holds no Feature"),
        (b"Feature: F\n  Scenario: S\n    And x\n", ":3: the first step begins with And"),
        (b"Feature: F\n  Scenario: S\n    Given x\n  nonsense\n", ":4: "),
        (b"Feature: F\n  Scenario: S\n    Then x\n      | a | b |\n      | c |\n", ":"),
        (b"\xff\xfe", "is not UTF-8"),
    ],
)
def test_what_cannot_be_parsed_is_one_problem_with_its_line(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "x.feature"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        read_feature(path)
    assert len(caught.value.problems) == 1
    assert message in str(caught.value.problems[0])


def test_every_broken_file_is_reported_at_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.feature").write_text("")
    with pytest.raises(ConfigurationError, match="features: 2 problems"):
        read_features(tmp_path)
