"""`harness db lint` as a person runs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.errors import HarnessError
from harness.sql.lint import RULES, rules_text
from tests.pg_fixture import ROOT


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of supabase/."""
    return Path(shutil.copytree(ROOT / "supabase", tmp_path / "supabase"))


def test_the_project_is_content_and_says_what_it_accepted() -> None:
    result = CliRunner().invoke(app, ["db", "lint"])
    assert result.exit_code == 0
    assert "accepted storage-delete: only a bucket without files goes" in result.output
    assert "files of SQL read, nothing to object to" in result.output


def test_an_objection_has_its_line_the_reason_and_the_safer_way(copy: Path) -> None:
    path = copy / "migrations" / "29990101000000_x.sql"
    path.write_text("select 1;\ncreate index on public.messages (role);\n")
    result = CliRunner().invoke(app, ["db", "lint", str(copy)])
    assert result.exit_code == 1
    assert f"supabase/migrations/{path.name}:2: index-lock: builds an index" in result.output
    assert "    why    nobody can write" in result.output
    assert "    safer  create index concurrently" in result.output
    assert "1 objection (meant so?" in result.output


def test_objections_are_written_for_machines(copy: Path, tmp_path: Path) -> None:
    path = copy / "migrations" / "29990101000000_x.sql"
    path.write_text("select 1;\ncreate index on public.messages (role);\n")
    written = tmp_path / "lint.sarif"
    assert CliRunner().invoke(app, ["db", "lint", str(copy), "--sarif", str(written)]).exit_code == 1
    (run,) = json.loads(written.read_text())["runs"]
    assert run["tool"]["driver"]["rules"][0]["id"] == "index-lock"
    (result,) = run["results"]
    assert (result["ruleId"], result["level"]) == ("index-lock", "error")
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == f"supabase/migrations/{path.name}"
    assert place["region"] == {"startLine": 2}
    path.unlink()
    assert CliRunner().invoke(app, ["db", "lint", str(copy), "--sarif", str(written)]).exit_code == 0
    assert json.loads(written.read_text())["runs"][0]["results"] == []


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.sql", b"select 1", "x.sql is no migration"),
        ("29990101000000_x.sql", "select 'ä'".encode("latin-1"), "29990101000000_x.sql is not UTF-8"),
        ("20261101000100_again.sql", b"select 1", "have one version"),
    ],
)
def test_a_file_that_cannot_be_a_migration_is_said(
    copy: Path, name: str, content: bytes, says: str
) -> None:
    (copy / "migrations" / name).write_bytes(content)
    result = CliRunner().invoke(app, ["db", "lint", str(copy)])
    assert isinstance(result.exception, HarnessError)
    assert says in str(result.exception)


def test_a_directory_without_migrations_is_no_pass(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["db", "lint", str(tmp_path)])
    assert isinstance(result.exception, HarnessError)
    assert "holds no migration" in str(result.exception)


def test_a_large_migration_is_read_all_the_same(copy: Path) -> None:
    rows = ", ".join(f"({i}, 'Größe')" for i in range(20_000))
    made = "create table public.many (id int, name text);"
    text = f"{made}\ninsert into public.many values {rows};\ntruncate public.messages;"
    (copy / "migrations" / "29990101000000_many.sql").write_text(text)
    result = CliRunner().invoke(app, ["db", "lint", str(copy)])
    assert "29990101000000_many.sql:3: truncate" in result.output


def test_every_rule_is_listed_and_documented() -> None:
    output = CliRunner().invoke(app, ["db", "rules"]).output
    assert all(rule in output for rule in RULES)
    assert rules_text() in (ROOT / "docs" / "migrations.md").read_text(), "stale: run `make docs`"
