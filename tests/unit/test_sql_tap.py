"""The Test Anything Protocol, as it is read."""

from __future__ import annotations

import pytest

from harness.sql.tap import TapResult, read_tap


def _read(text: str) -> TapResult:
    return read_tap([(line, number) for number, line in enumerate(text.splitlines(), 1)])


def test_a_pass_is_a_plan_and_as_many_oks() -> None:
    result = _read("1..2\nok 1 - first\nok 2 - second\n")
    assert list(result.flaws()) == []
    assert result.failures == []
    assert [a.description for a in result.assertions] == ["first", "second"]


def test_a_plan_at_the_end_is_a_plan() -> None:
    assert list(_read("ok 1\nok 2\n1..2\n").flaws()) == []


@pytest.mark.parametrize(
    ("text", "observed"),
    [
        ("", "no plan, and 0 tests"),
        ("ok 1\n", "no plan, and 1 tests"),
        ("1..0\n", "all are skipped: the plan is for none"),
        ("1..0 # SKIP no database\n", "all are skipped: no database"),
        ("1..3\nok 1\nok 2\n", "2 tests"),
        ("1..1\nok 1\nok 2\n", "2 tests"),
        ("1..1\n1..1\nok 1\n", "2 plans"),
        ("1..2\nok 1\nok 1\n", "they are numbered 1, 1"),
        ("1..2\nok 2\nok 1\n", "they are numbered 2, 1"),
        ("1..1\nok 1 # skip too slow\n", "1 is skipped: too slow"),
        ("1..2\nok 1\nBail out!  no more\nok 2\n", "it bailed out: no more"),
        ("Bail out!\n", "it bailed out: without a reason"),
    ],
)
def test_what_is_no_pass_is_said(text: str, observed: str) -> None:
    assert observed in [seen for _, seen in _read(text).flaws()]


def test_a_failure_has_its_line_and_what_was_said_about_it() -> None:
    (failed,) = _read("1..1\nnot ok 1 - a # b\n# Failed test 1\n#   have: 1\n").failures
    assert (failed.at, failed.description) == (2, "a # b")
    assert failed.diagnostics == ["Failed test 1", "have: 1"]


def test_todo_excuses_a_failure_and_only_that() -> None:
    result = _read("1..3\nnot ok 1 - a # TODO later\nok 2 - b # TODO soon\nnot ok 3 - c\n")
    assert [a.description for a in result.failures] == ["c"]
    assert [(a.description, a.reason) for a in result.todo] == [("a", "later"), ("b", "soon")]


def test_an_escaped_hash_is_no_directive() -> None:
    (assertion,) = _read("1..1\nok 1 - channel \\# todo list\n").assertions
    assert assertion.directive == ""


def test_other_lines_are_not_looked_at() -> None:
    assert list(_read("hello\n  \nokay then\n1..1\nok 1\n").flaws()) == []
