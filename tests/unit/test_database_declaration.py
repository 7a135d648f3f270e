"""The declaration: strictly read, every problem at its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.database.declaration import load, parse
from harness.errors import ConfigurationError

ROOT = Path(__file__).parents[2]


def problems(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, "d.yaml")
    return str(caught.value)


def test_the_short_forms_are_rules() -> None:
    read = parse(
        "tables:\n  public.a: {owner: user_id, may: all}\n  public.b: {public: true}\n"
        "  public.c: {service_only: true}\nbuckets:\n  files: {size: 10 MiB}\n"
    )
    (rule,) = read.tables["public.a"].all_rules
    assert (rule.who, rule.by, rule.may) == ("owner", "user_id", ("select", "insert", "update", "delete"))
    assert read.tables["public.b"].all_rules[0].who == "anyone"
    assert read.tables["public.c"].all_rules == ()
    assert read.buckets["files"].bytes == 10 * 2**20


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "tabels:\n  public.a: {}\n",
            "d.yaml:1:1: tabels: there is no key 'tabels' here (did you mean tables?)",
        ),
        (
            "tables:\n  public.a:\n    owner: x\n",
            "d.yaml:2:3: tables.public.a: names an owner who may do nothing",
        ),
        (
            "tables:\n  public.a:\n    rules:\n      - {who: owner, may: [read]}\n",
            "d.yaml:4:28: tables.public.a.rules.0.may.0",
        ),
        ("tables:\n  public.a:\n    rules:\n      - {who: owner, may: [select]}\n", "owner needs `by`"),
        (
            "tables:\n  public.a:\n    rules:\n      - {who: members, by: org, of: team, may: [select]}\n",
            "there is no membership 'team' (under memberships: none is declared)",
        ),
        ("buckets:\n  a: {size: huge}\n", "a size is a number and a unit: 10 MiB"),
        ("tables:\n  public.a: {service_only: true, public: true}\n", "is service_only and has rules"),
        ("- a\n", "must be a mapping"),
        ("tables: &a {}\n", "anchors and aliases are refused"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, said: str) -> None:
    assert said in problems(text)


def test_all_problems_at_once() -> None:
    said = problems("tabels: {}\nschemas: 3\n")
    assert "2 problems" in said
    assert "d.yaml:1:1" in said
    assert "d.yaml:2:10" in said or "d.yaml:2:1" in said


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        load(tmp_path / "none.yaml")


def test_bytes_that_are_not_text(tmp_path: Path) -> None:
    path = tmp_path / "d.yaml"
    path.write_bytes(b"tables:\n  \xff: {}\n")
    with pytest.raises(ConfigurationError, match="is not UTF-8"):
        load(path)


def test_the_projects_own_declaration_reads() -> None:
    assert "public.messages" in load(ROOT / "supabase" / "declaration.yaml").tables
