"""Conditions left out one at a time: what a person may forget, and nothing that only lets less through."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from harness.database.weaker import of_condition, of_function, of_query, plainly


@pytest.mark.parametrize(
    ("condition", "weaker"),
    [
        ("(a = b)", {"true"}),
        ("true", set()),
        ("(a and b)", {"a", "b"}),
        ("(a or b)", {"true"}),
        ("((a and b) or c)", {"a or c", "b or c"}),
        ("(a and not (b or c))", {"not (b or c)", "a", "a and not c", "a and not b"}),
        (
            "exists (select 1 from t where t.x = y and t.who = me())",
            {
                "exists (select 1 from t where t.x = y)",
                "exists (select 1 from t where t.who = me())",
            },
        ),
        ("exists (select 1 from t where t.x = y)", {"exists (select 1 from t where true)"}),
        (
            "not exists (select 1 from t where t.x = y)",
            {"not exists (select 1 from t where false)"},
        ),
        (
            "x in (select t.x from t join u on u.t = t.id)",
            {"x in (select t.x from t join u on true)"},
        ),
    ],
)
def test_a_condition_without_one_of_its_parts(condition: str, weaker: set[str]) -> None:
    assert {plainly(one.text) for one in of_condition(condition)} == {plainly(one) for one in weaker}


def test_a_query_without_one_of_its_conditions() -> None:
    view = "select n.id from notes n join members m on m.org = n.org where m.who = me() and not n.gone"
    assert {plainly(one.text) for one in of_query(view)} == {
        plainly(view.replace("m.org = n.org", "true")),
        plainly(view.replace("m.who = me() and ", "")),
        plainly(view.replace(" and not n.gone", "")),
    }


def function(body: str, *, language: str = "plpgsql", returns: str = "boolean") -> SimpleNamespace:
    given = [{"name": "x", "type": "uuid"}] if returns != "trigger" else []
    return SimpleNamespace(
        title="app.f(uuid)", body=body, language=language, returns=returns, set=False, inputs=given
    )


def bodies(given: SimpleNamespace) -> list[tuple[str, ...]]:
    return [tuple(weaker.text for weaker in alternatives) for alternatives in of_function(given)]


def test_a_guard_is_weaker_where_it_raises_less() -> None:
    body = "begin if a or not b then raise exception 'no' using errcode = 'x'; end if; return new; end"
    assert bodies(function(body, returns="trigger")) == [
        (body.replace("a or not b", " NOT b "),),
        (body.replace("a or not b", " a "),),
    ]


def test_what_a_function_answers_is_weaker_where_it_asks_less() -> None:
    body = "begin return x = me() and y; end"
    assert bodies(function(body)) == [
        (body.replace("x = me() and y", " y "),),
        (body.replace("x = me() and y", " x = me() "),),
    ]


def test_a_guard_of_one_part_is_never_met_or_always() -> None:
    body = "begin if stops(x) then raise exception 'no'; end if; return true; end"
    assert bodies(function(body))[:1] == [
        (body.replace("stops(x)", " true "), body.replace("stops(x)", " false "))
    ]


@pytest.mark.parametrize(
    ("condition", "lost"),
    [
        ("(a and b)", ["a", "b"]),
        ("((a and b) or c)", ["… or a", "… or b"]),
        ("(a or (b or c and d))", ["… or … or c", "… or … or d"]),
        ("(who = ( SELECT auth.uid() AS uid))", ["auth.uid() = who"]),
        (
            "(a and exists (select from t where t.b and t.c = (select d from u where u.e)))",
            ["a", "EXISTS (SELECT FROM t)", "t.b", "(SELECT d FROM u) = t.c", "u.e"],
        ),
    ],
)
def test_what_is_lost_is_told_in_a_line(condition: str, lost: list[str]) -> None:
    assert sorted(one.lost for one in of_condition(condition)) == sorted(lost)


def test_a_statement_inside_is_weaker_without_a_condition() -> None:
    body = "begin update t set y = 1 where id = x and who = me(); return true; end"
    weaker = [" ".join(one.split()) for (one,) in bodies(function(body))[:2]]
    assert weaker == [
        "begin UPDATE t SET y = 1 WHERE who = me() ; return true; end",
        "begin UPDATE t SET y = 1 WHERE id = x ; return true; end",
    ]


@pytest.mark.parametrize(
    "unreadable",
    [
        function("return 1", language="plv8"),
        function("", language="sql"),
        function("begin nonsense end"),
        function("select from from", language="sql"),
    ],
)
def test_what_cannot_be_read_is_said(unreadable: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        list(of_function(unreadable))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("(a AND b)", "b and a"),
        ("(who = ( SELECT auth.uid() AS uid))", "who = auth.uid()"),
        (
            "(EXISTS ( SELECT 1 FROM t WHERE ((t.a = b) AND t.c)))",
            "exists (select 1 from t where t.c and t.a = b)",
        ),
        ("(who = auth.uid())", "auth.uid() = who"),
        ("not  readable (", "not readable ("),
    ],
)
def test_what_makes_no_difference_is_written_alike(one: str, other: str) -> None:
    assert plainly(one) == plainly(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a and b", "a or b"),
        ("a < b", "b < a"),
        ("not (a and b)", "not a and b"),
        ("who = (select auth.uid() from t)", "who = auth.uid()"),
        ("a in (select x from t)", "a in (select y from t)"),
    ],
)
def test_what_makes_a_difference_is_not(one: str, other: str) -> None:
    assert plainly(one) != plainly(other)


def test_what_the_printer_does_not_know_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(self: object, node: object) -> str:
        raise NotImplementedError

    monkeypatch.setattr("pglast.stream.RawStream.__call__", unknown)
    assert plainly("a  and b") == "a and b"
    with pytest.raises(ValueError, match="cannot be written"):
        list(of_query("select a from t where b"))
