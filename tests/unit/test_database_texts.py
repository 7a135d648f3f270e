"""What is read of SQL without a parser: the values that it asks for, and the texts that become SQL."""

from __future__ import annotations

from typing import Any

import pytest

from harness.database.catalogue import Column, Constraint, Relation
from harness.database.dynamic_sql import runs_text
from harness.database.kinship import beside, in_documents
from harness.database.mentions import spoken_of
from harness.database.oracle import Actor
from harness.database.planted import Planted
from harness.database.wishes import combined, moments, pairs, spans, spells, wishes
from harness.database.worlds import wanted


def column(name: str, base: str, category: str) -> Column:
    return Column(name, base, True, False, "", None, "b", category, base, None, None, None, None)


STATES = Constraint("states", "c", False, ["state"], None, [], "CHECK (state = ANY (ARRAY['new', 'paid']))")
COLUMNS = [
    column("state", "text", "S"),
    column("title", "text", "S"),
    column("credits", "int4", "N"),
    column("flags", "jsonb", "U"),
    column("during", "tstzrange", "R"),
    column("tenant", "uuid", "U"),
]
ORDERS = Relation(
    *(1, "public", "orders", "r", "postgres", 10, True, False, 0, [], False, False, None, None, [], []),
    *(None, 0, {}, [], COLUMNS, [STATES]),
)
TENANT = "00000000-0000-0000-0000-000000000000"
ROW: dict[str, Any] = {"state": "new", "title": "a", "credits": 0, "flags": {}, "during": "empty"}


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("state = 'new'", "state", "paid"),
        ("credits = 0", "credits", "1"),
        (r"title ~ '^\[all\]'", "title", "[all]"),
        ("length(title) > 300", "title", "a" * 301),
        ("title ~~ 'News:%'", "title", "News:x"),
        ("flags @> '{\"open\": true}'", "flags", {"open": True}),
        ("(flags -> 'share'::text) ->> 'all'::text = 'yes'", "flags", {"share": {"all": "yes"}}),
        ("(flags #>> '{share,all}'::text[]) = 'yes'", "flags", {"share": {"all": "yes"}}),
        ("flags ? 'open'", "flags", {"open": True}),
        ("during @> now()", "during", "(,)"),
        (f"tenant = '{TENANT}'", "tenant", TENANT),
    ],
)
def test_a_condition_names_the_values_that_matter(text: str, name: str, value: Any) -> None:
    assert (name, value) in list(wishes(ORDERS, ROW, text))


def test_what_one_alternative_asks_for_together_is_given_together() -> None:
    text = "((state = 'paid'::text) AND (title ~~ 'News:%'::text)) OR (credits = 5)"
    made = list(combined(ORDERS, ROW, [text]))
    assert {"state": "paid", "title": "News:x"} in made
    assert not any("credits" in change for change in made)


@pytest.mark.parametrize(
    "body",
    [
        "begin return query execute 'select 1 where a = ''' || mail || ''''; end",
        "declare q text; begin q := 'select 1 where a = ''' || mail || ''''; execute q; end",
        "declare q text := 'select 1 order by ' || mail; begin execute q; end",
        "begin execute concat('select 1 where a = ''', mail, ''''); end",
        "begin execute format('select 1 order by %s', mail); end",
        "declare m text; q text; begin m := lower(mail); q := 'select ' || m; execute q; end",
        "begin execute mail; end",
        "begin execute 'select ' || $1; end",
    ],
)
def test_a_text_that_becomes_sql(body: str) -> None:
    assert runs_text(body, ["mail"])


@pytest.mark.parametrize(
    "body",
    [
        "begin execute format('select 1 from %I where a = %L', mail, mail); end",
        "begin execute 'select 1 where a = $1' using mail; end",
        "begin execute 'select 1 where a = ' || quote_literal(mail); end",
        "declare n text; begin n := 'Dear ' || mail; perform pg_notify('mails', n); end",
        "begin return query execute 'select $1 where a ilike $2' using 'x', '%' || mail || '%'; end",
        "begin execute 'select 1'; return mail; end",
        "-- execute mail;\nbegin return mail; end",
    ],
)
def test_a_text_that_stays_a_value(body: str) -> None:
    assert not runs_text(body, ["mail"])


def test_values_of_two_alternatives_are_given_together_as_well() -> None:
    """What one alternative does not ask for, a rule may forbid."""
    made = list(pairs(ORDERS, ROW, ["state <> 'new'::text OR credits >= 5"]))
    assert {"state": "paid", "credits": "5"} in made


def test_dates_lie_around_today() -> None:
    assert len(moments("timestamptz")) == 4
    assert moments("interval") == []
    assert len(spans("daterange")) == 2
    assert spans("int4range") == spells("int4range") == []
    assert all(span.startswith("[") for span in spells("tstzrange"))


@pytest.mark.parametrize(
    ("condition", "value"),
    [
        ("accepted", "true"),
        ("m.accepted and role <> 'x'", "true"),
        ("not accepted", "false"),
        ('not m."accepted"', "false"),
        ("not coalesce(accepted, false)", "false"),
        ("accepted = false", "false"),
        ("accepted is not true", "false"),
        ("accepted is true", "true"),
    ],
)
def test_what_a_condition_wants_a_yes_or_no_to_be(condition: str, value: str) -> None:
    assert wanted("accepted", condition) == value


def test_names_hold_signs_of_any_kind() -> None:
    assert spoken_of("paid?", 'where m."paid?"')
    assert not spoken_of("paid", "where prepaid")


def test_names_that_begin_like_anothers() -> None:
    planted = Planted(ORDERS, {**ROW, "title": "9"}, 0, "")
    made = [change["title"] for change in beside(planted, {"title": "1.2"}, "title like x || '.%'")]
    assert {"1.22", "1.2.2", "1"} <= set(made)
    assert not list(beside(planted, {"title": "1.2"}, "title = 'a'"))


def test_somebody_is_put_into_a_document() -> None:
    planted = Planted(ORDERS, {**ROW, "flags": {"owner": "a"}}, 0, "")
    made = list(in_documents(planted, Actor("B", "authenticated", "b"), "flags -> 'readers' ? x"))
    assert {"flags": {"owner": "a", "readers": ["b"]}} in made
    assert not any(change["flags"]["owner"] != "a" for change in made)
