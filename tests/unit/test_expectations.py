"""What feature files promise, and what pytest-bdd would lose of it."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from harness.expectations import expected_scenarios, flaws
from harness.gherkin import FeatureFile, read_features

MARKERS = {"item", "env", "drill"}


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def written(text: str) -> list[FeatureFile]:
        (tmp_path / "a.feature").write_text(textwrap.dedent(text).lstrip())
        return read_features(tmp_path)

    return written


def test_each_row_is_expected_where_it_applies(read, tmp_path: Path) -> None:
    features = read("""
        Feature: A

          @item:GW-3 @env:local
          Scenario Outline: Limit <n>
            Then it is <n>
            Examples:
              | n | m |
              | 1 | 2 |
              | 3 | 4 |

          @env:staging
          Scenario: Elsewhere
            Then it is

          Scenario: Everywhere
            Then it is
    """)
    local = expected_scenarios(features, "local")
    assert {(key[1], key[2]): entry.name for key, entry in local.items()} == {
        (4, "1, 2"): "Limit 1 [1, 2]",
        (4, "3, 4"): "Limit 3 [3, 4]",
        (15, ""): "Everywhere",
    }
    assert {key[0] for key in local} == {str(tmp_path.resolve() / "a.feature")}
    first = next(iter(local.values()))
    assert (first.item, first.where) == ("GW-3", "a.feature:4")
    assert [entry.name for entry in expected_scenarios(features, "staging").values()] == [
        "Elsewhere",
        "Everywhere",
    ]


def test_an_outline_without_rows_is_still_expected(read) -> None:
    features = read(
        "Feature: A\n\n  Scenario Outline: Limit <n>\n    Then it is <n>\n    Examples:\n      | n |\n"
    )
    assert [entry.name for entry in expected_scenarios(features, "local").values()] == ["Limit <n>"]


def test_flaws_have_their_line(read) -> None:
    features = read("""
        Feature: A
          @itme:GW-1
          Scenario: One
            Then it is
          Rule: R
            Scenario: One
              Then it is
          Scenario Outline: Two
            Then it is <n>
            @env:local
            Examples:
              | n |
              | 1 |
    """)
    assert sorted(map(str, flaws(features, MARKERS))) == [
        "a.feature:10: @env:local on Examples has no effect (tag the scenario)",
        "a.feature:2: @itme:GW-1 is not registered (see markers in pytest.ini)",
        "a.feature:6: a second scenario 'One': one of them would never run (the first is a.feature:3)",
    ]
