"""Functions that leak, behind a real Data API: named with the request; what they write never stays."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.database.check import Options, check
from harness.database.declaration import parse
from harness.database.findings import merged
from tests.api_stand import OTHERS, Exposed, told
from tests.negative.test_data_api_views import NOTES

Made = Callable[..., Exposed]
DECLARED = """
tables:
  public.notes: {owner: user_id, may: all}
functions:
  public.note(uuid): {callers: [authenticated]}
"""
ROLLS_BACK = 'db-tx-end = "commit-allow-override"\n'
RIGHT = "select n.body from public.notes n where n.id = wanted and n.user_id = auth.uid()"
WRONG = "select n.body from public.notes n where n.id = wanted or n.user_id = wanted"
WRITES = "update public.notes set facts = '[1]' where id = wanted or user_id = wanted returning body"


def function(body: str, volatility: str = "stable", arguments: str = "wanted uuid") -> str:
    return (
        f"create function public.note({arguments}) returns setof text language sql {volatility}"
        f" security definer set search_path = '' as $$ {body} $$;"
        "revoke all on function public.note from public, anon;"
        "grant execute on function public.note to authenticated;"
    )


@pytest.mark.parametrize("volatility", ["stable", "immutable", "volatile"])
def test_a_function_that_is_right_is_silent(exposed: Made, volatility: str) -> None:
    report = exposed(NOTES + function(RIGHT, volatility)).probe(DECLARED, writes=False)
    assert report.holds, told(report)
    assert not report.notes


@pytest.mark.parametrize(
    ("volatility", "request_"),
    [
        ("stable", 'POST /rest/v1/rpc/note {"wanted": "'),
        ("volatile", "GET /rest/v1/rpc/note?wanted="),  # it writes nothing, so it can be asked to be read
    ],
)
def test_a_function_that_gives_away_a_row_is_named(exposed: Made, volatility: str, request_: str) -> None:
    report = exposed(NOTES + function(WRONG, volatility)).probe(DECLARED, writes=False)
    (found,) = report.found
    assert (found.rule, found.object) == ("function-leaks", "function public.note(uuid)")
    assert f"authenticated (B): {request_}" in found.proofs[0]
    assert "HTTP 200, saw probe-" in found.proofs[0]
    assert "somebody else" not in told(report)


def test_a_function_for_everybody_is_tried_without_a_token(exposed: Made) -> None:
    only = WRONG.replace("where", "where auth.uid() is null and (") + ")"
    grant = "grant execute on function public.note to anon;"
    declared = DECLARED.replace("[authenticated]", "[anon, authenticated]")
    report = exposed(NOTES + function(only) + grant).probe(declared, writes=False)
    (found,) = report.found
    assert found.roles == ("anon",)
    assert "anon: POST /rest/v1/rpc/note" in found.proofs[0]


def test_what_writes_is_called_only_where_it_is_undone(exposed: Made) -> None:
    """`probe` asserts that no row is another one afterwards."""
    sql = NOTES + function(WRITES, "volatile")
    report = exposed(sql).probe(DECLARED, writes=False)
    assert not report.found, told(report)
    (note,) = report.notes
    assert note.startswith("function public.note(uuid): not tried through the Data API: calls that write")
    report = exposed(sql, settings=ROLLS_BACK).probe(DECLARED, writes=False)
    (found,) = report.found
    assert (found.rule, found.object) == ("function-leaks", "function public.note(uuid)")
    assert "POST /rest/v1/rpc/note" in found.proofs[0]
    assert not report.notes


def test_arguments_without_names_are_said_to_be_untried(exposed: Made) -> None:
    sql = NOTES + function(RIGHT.replace("wanted", "$1"), arguments="uuid")
    report = exposed(sql).probe(DECLARED, writes=False)
    assert report.notes == [
        "function public.note(uuid): not tried through the Data API: its arguments have no names, so it"
        " cannot pass them"
    ]


def test_a_function_that_the_data_api_does_not_know_is_no_pass(exposed: Made) -> None:
    elsewhere = "create schema api; grant usage on schema api to authenticated;"
    there = function(RIGHT).replace("function public.note", "function api.note")
    made = exposed(NOTES + elsewhere + there)
    declared = "schemas: [public, api]" + DECLARED.replace("public.note(", "api.note(")
    report = made.probe(declared, writes=False)
    assert "function api.note(uuid): not proven: the Data API does not know it" in told(report)
    assert not report.holds


def test_a_function_that_its_callers_may_not_call_is_missing_access(exposed: Made) -> None:
    revoked = "revoke execute on function public.note from authenticated;"
    report = exposed(NOTES + function(RIGHT) + revoked).probe(DECLARED, writes=False)
    (found,) = report.found
    assert (found.rule, found.object) == ("missing-access", "function public.note(uuid)")
    assert "authenticated (A): POST /rest/v1/rpc/note" in found.proofs[0]


def test_both_ways_name_the_same_finding(exposed: Made) -> None:
    made = exposed(NOTES + function(WRONG))
    sql = check(made.dsn, parse(DECLARED), Options())
    (found,) = merged([*sql.found, *made.probe(DECLARED, writes=False).found])
    assert any("select " in proof for proof in found.proofs)
    assert any("POST /rest/v1/rpc/note" in proof for proof in found.proofs)


def test_what_merely_follows_from_an_open_table_is_left_out(exposed: Made) -> None:
    opened = "create policy hole on public.notes for select to authenticated using (true);"
    invoker = function(WRONG).replace("security definer", "security invoker")
    report = exposed(NOTES + invoker + opened).probe(DECLARED, writes=False)
    assert [one.object for one in report.found] == ['policy "hole" on public.notes'], told(report)


def test_a_bad_token_reaches_no_function(exposed: Made) -> None:
    made = exposed(NOTES + function(RIGHT), also_trusts=OTHERS)
    (found,) = made.probe(DECLARED, writes=False).found
    said = " ".join(found.proofs)
    assert found.rule == "token-accepted"
    assert "forged token: GET /rest/v1/rpc/note?wanted=" in said
    assert "forged token: POST /rest/v1/rpc/note" in said
    assert "expired" not in said
