"""What is read of SQL without a parser: the values that it asks for, and the texts that become SQL."""

from __future__ import annotations

from typing import Any

import pytest

from harness.database.catalogue import Column, Constraint, Relation
from harness.database.dynamic_sql import runs_text
from harness.database.wishes import combined, wishes


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
        "begin execute 'select 1'; return mail; end",
        "-- execute mail;\nbegin return mail; end",
    ],
)
def test_a_text_that_stays_a_value(body: str) -> None:
    assert not runs_text(body, ["mail"])
