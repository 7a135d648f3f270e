"""Which of the conditions that a declaration notes a policy, function or view still has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.database.catalogue import Function, Policy
from harness.database.conditions import RIGHTS, missing, unrestricted, weaker_clauses
from harness.database.declaration import parse
from harness.errors import ConfigurationError

MINE = "who = auth.uid()"


def policy(using: str | None, check: str | None = None, **given: Any) -> Policy:
    plain = {"relation": 1, "name": "own", "permissive": True, "command": "ALL", "roles": [], "applies": []}
    return Policy(**plain | given, using=using, check=check, functions=[], relations=[])


def test_what_new_rows_have_to_meet_too_is_noted_as_both() -> None:
    assert [(clause, weaker.lost) for clause, weaker in weaker_clauses(policy(MINE))] == [
        ("using", "using and with check: auth.uid() = who")
    ]
    assert [(clause, weaker.lost) for clause, weaker in weaker_clauses(policy(MINE, "open"))] == [
        ("using", "using: auth.uid() = who"),
        ("with check", "with check: open"),
    ]
    (read,) = weaker_clauses(policy(MINE, command="SELECT", permissive=False))
    assert read[1].lost == "restrictive using: auth.uid() = who"


def function(body: str, language: str = "plpgsql") -> Function:
    given = [{"name": "x", "type": "uuid"}]
    return Function(
        1,
        "app",
        "f",
        "f",
        "x uuid",
        given,
        "boolean",
        False,
        "s",
        True,
        False,
        language,
        "o",
        False,
        [],
        body,
        False,
        [],
    )


BOTH = "using and with check: auth.uid() = who"


@pytest.mark.parametrize(
    ("noted", "now", "gone"),
    [
        (BOTH, policy("open and auth.uid() = who"), False),
        (BOTH, policy(f"open or {MINE}"), True),
        (BOTH, policy(MINE, "open"), True),
        (BOTH, policy("open", MINE), True),
        (BOTH, policy(MINE, f"open and {MINE}"), False),
        (BOTH, policy(MINE, command="SELECT"), False),
        (BOTH, policy(None, MINE, command="INSERT"), False),
        (BOTH, policy(None, "open", command="INSERT"), True),
        ("using: … or a", policy(f"{MINE} or a and b"), False),
        ("using: … or a", policy(f"{MINE} or b"), True),
        ("using: a", policy(f"{MINE} or a and b"), True),
        ("using: t.x = who", policy("exists (select 1 from t where t.x = who and t.y)"), False),
        ("restrictive using: a", policy("a and b", permissive=False), False),
        ("restrictive using: a", policy(None, "a", permissive=False, command="INSERT"), True),
    ],
)
def test_a_condition_is_missing_where_a_clause_has_it_not(noted: str, now: Policy, gone: bool) -> None:
    assert missing([noted], now) == ({noted} if gone else set())


WALL = policy("a and b", permissive=False, applies=["authenticated"])
OPEN = policy(MINE, applies=["authenticated"])


@pytest.mark.parametrize(
    ("others", "gone"),
    [
        ([OPEN, WALL], False),
        ([OPEN], True),
        ([OPEN, policy("a", permissive=False)], True),  # of nobody
        ([OPEN, policy("a", applies=["authenticated"])], True),  # another way in
        ([OPEN, policy("a", permissive=False, applies=["authenticated"], command="SELECT")], True),
    ],
)
def test_what_a_policy_lacks_a_restrictive_one_may_have(others: list[Policy], gone: bool) -> None:
    assert missing(["using: a"], OPEN, others) == ({"using: a"} if gone else set())


@pytest.mark.parametrize(
    ("others", "gone"),
    [
        ([policy(f"{MINE} and a"), policy("a", command="SELECT")], False),
        ([policy(f"{MINE} and a"), OPEN], True),
        ([policy(None, "b", command="INSERT")], False),  # it has no USING
    ],
)
def test_what_a_restrictive_policy_asked_each_way_in_may_ask(others: list[Policy], gone: bool) -> None:
    noted = {"restrictive using: a"}
    assert unrestricted([*noted, "using: b"], others) == (noted if gone else set())
    assert missing(noted, policy("a"), others) == (noted if gone else set())


def test_a_functions_conditions_are_those_of_all_its_statements() -> None:
    now: Any = function(
        "begin if not admin(x) then raise exception 'no'; end if; return x = me() and y; end"
    )
    assert missing(["NOT admin(x)", "me() = x", "y", "z"], now) == {"z"}
    assert missing([RIGHTS, "y"], now) == {RIGHTS}
    assert missing([RIGHTS], replace(now, definer=False)) == set()


def test_what_cannot_be_read_is_said() -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        missing(["a"], function("return 1", language="plv8"))


def test_a_declaration_of_another_form_says_where() -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse("schemas: [public]\nwritten_from:\n  view public.v: x12\n  view public.w: {blind: [a]}\n")
    assert {one.hint for one in refused.value.problems} == {"write it anew: harness db declare"}
    assert [(one.where, "digest" in one.what) for one in refused.value.problems] == [
        ("declaration:3:3", True),
        ("declaration:4:3", True),
    ]
