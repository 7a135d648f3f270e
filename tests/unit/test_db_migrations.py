"""Migration files against what a database has recorded."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import DeployError
from harness.migrations import Migration, compare, migrations_in, rollback_of
from tests.pg_fixture import ROOT


def _one(version: str, text: str = "select 1", name: str = "x") -> Migration:
    return Migration(version, name, text)


def test_the_repositorys_migrations_each_have_a_reverse() -> None:
    found = migrations_in(ROOT / "supabase" / "migrations")
    assert [m.name for m in found][:2] == ["profiles", "conversations"]
    assert all(rollback_of(m).exists() for m in found)


def test_equal_histories_differ_in_nothing() -> None:
    files = [_one("1"), _one("2")]
    difference = compare(files, files)
    assert not difference.diverged
    assert not difference.pending


@pytest.mark.parametrize(
    ("files", "record", "pending", "late", "edited", "unknown"),
    [
        (["1", "2"], ["1"], ["2"], [], [], []),
        (["1", "2"], ["2"], [], ["1"], [], []),
        (["1"], ["1", "2"], [], [], [], ["2"]),
        ([], [], [], [], [], []),
    ],
)
def test_what_differs_is_told_apart(files, record, pending, late, edited, unknown) -> None:
    difference = compare(map(_one, files), map(_one, record))
    for wanted, found in (
        (pending, difference.pending),
        (late, difference.late),
        (edited, difference.edited),
        (unknown, difference.unknown),
    ):
        assert [m.version for m in found] == wanted
    assert difference.diverged == bool(late or edited or unknown) == bool(difference.describe())


def test_an_edit_is_an_edit_and_white_space_is_none() -> None:
    recorded = Migration.recorded("1", "x", ["create table a (id int)", "create table b (id int)"])
    same = _one("1", "create table a (id int);\n\n\ncreate table b (id int) ;\n")
    assert compare([same], [recorded]).edited == ()
    other = _one("1", "create table a (id int); create table b (id bigint);")
    assert compare([other], [recorded]).edited == (other,)


def test_a_comment_is_no_edit() -> None:
    recorded = Migration.recorded(
        "1", "x", ["-- makes it\ncreate table a (id int)", "drop table b -- gone"]
    )
    agreed = _one("1", "create table a (id int); /* b */\n-- accept drop-table: empty\ndrop table b;")
    assert compare([agreed], [recorded]).edited == ()
    other = _one("1", "create table a (id int); drop table c;")
    assert compare([other], [recorded]).edited == (other,)
    string = _one("1", "create table a (id int); drop table b; select '-- text';")
    assert compare([string], [recorded]).edited == (string,)


@given(st.lists(st.sampled_from("12345"), unique=True), st.lists(st.sampled_from("12345"), unique=True))
def test_every_version_is_accounted_for(files: list[str], record: list[str]) -> None:
    difference = compare(map(_one, files), map(_one, record))
    missing = {m.version for m in (*difference.pending, *difference.late)}
    assert missing == set(files) - set(record)
    assert {m.version for m in difference.unknown} == set(record) - set(files)


def test_a_file_with_another_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "001_x.sql").write_text("select 1")
    with pytest.raises(DeployError, match=r"001_x\.sql is no migration"):
        migrations_in(tmp_path)


def test_two_files_of_one_version_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"20261101000100_{name}.sql").write_text("select 1")
    with pytest.raises(DeployError, match="have one version"):
        migrations_in(tmp_path)
