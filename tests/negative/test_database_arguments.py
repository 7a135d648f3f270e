"""Wrong arguments and declarations say what is wrong, and lose nothing that was found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from typer.testing import CliRunner, Result

from harness import database_cli
from harness.database.findings import Found
from harness.database.sarif import located
from harness.errors import ConfigurationError, DeployError
from harness.providers import supabase_cli
from harness.providers.supabase_cli import Target
from tests.pg_fixture import Database

Bare = Callable[[str], str]
SHEETS = """
create table public.sheets (
    id uuid primary key default gen_random_uuid(), maker uuid not null references auth.users
);
alter table public.sheets enable row level security;
create policy open on public.sheets for select to authenticated using (true);
grant select on public.sheets to authenticated;
"""


def harness(*arguments: str) -> Result:
    return CliRunner().invoke(database_cli.app, arguments)


@pytest.fixture
def declared(tmp_path: Path) -> str:
    path = tmp_path / "d.yaml"
    path.write_text("tables:\n  public.sheets: {owner: maker, may: [select]}\n")
    return str(path)


@pytest.mark.parametrize("command", ["check", "declare", "sweep"])
@pytest.mark.parametrize("dsn", ["secret words=and nothing", "postgresql://u:secret@[::", "nonsense"])
def test_what_is_no_connection_string(command: str, dsn: str, declared: str) -> None:
    more = [] if command == "declare" else ["--declaration", declared]
    run = harness(command, "--dsn", dsn, *more)
    assert isinstance(run.exception, ConfigurationError)  # `harness` prints it, and ends with 4
    assert "--dsn" in str(run.exception)
    assert "secret" not in str(run.exception)


def test_a_membership_of_columns_that_are_not_there(bare: Bare, tmp_path: Path) -> None:
    path = tmp_path / "d.yaml"
    path.write_text(
        "memberships:\n  m: {table: public.sheets, user: maker, group: club, role: rank}\n"
        "tables:\n  public.sheets: {rules: [{who: members, of: m, by: club, may: [select]}]}\n"
    )
    run = harness("check", "--dsn", bare(SHEETS), "--declaration", str(path))
    assert run.exit_code == 2
    assert (
        "membership m: not proven: public.sheets has no column club, rank (it has id, maker)" in run.output
    )


def test_a_table_of_users_that_is_not_there(bare: Bare, declared: str) -> None:
    path = Path(declared)
    path.write_text("users: public.peple\n" + path.read_text())
    run = harness("check", "--dsn", bare(SHEETS), "--declaration", declared)
    assert run.exit_code == 2
    assert "there is no table of users public.peple" in run.output


def test_names_that_are_not_there(bare: Bare, declared: str) -> None:
    path = Path(declared)
    text = path.read_text()
    path.write_text(text.replace("may: [select]}", "may: [select], plant: {makr: x}}"))
    run = harness("check", "--dsn", bare(SHEETS), "--declaration", declared)
    assert "public.sheets: not proven: `plant` names makr: no such column" in run.output
    path.write_text("anonymous: visitor\n" + text)
    run = harness("check", "--dsn", bare(SHEETS), "--declaration", declared)
    assert "role visitor: not proven" in run.output


def test_declare_makes_the_directory_and_says_when_it_cannot(bare: Bare, tmp_path: Path) -> None:
    dsn, path = bare(SHEETS), tmp_path / "new" / "d.yaml"
    assert harness("declare", "--dsn", dsn, "--output", str(path)).exit_code == 0
    assert "public.sheets" in path.read_text()
    run = harness("declare", "--dsn", dsn, "--output", str(path / "below.yaml"))
    assert "cannot be written" in str(run.exception)


def test_users_without_addresses_are_not_swept(bare: Bare, tmp_path: Path) -> None:
    path = tmp_path / "d.yaml"
    path.write_text("users: public.people\n")
    dsn = bare("create table public.people (id uuid primary key)")
    assert harness("sweep", "--dsn", dsn, "--declaration", str(path)).output == "removed: 0 planted users\n"


def test_a_user_who_cannot_be_swept(bare: Bare, declared: str) -> None:
    dsn = bare(
        "insert into auth.users (id, email) values (gen_random_uuid(), 'probe-1-A@probe.invalid');"
        "create table public.kept as select id from auth.users;"
        "alter table public.kept add foreign key (id) references auth.users"
    )
    run = harness("sweep", "--dsn", dsn, "--declaration", declared)
    assert run.exit_code == 2
    assert "nothing removed" in run.output
    assert "violates foreign key constraint" in run.output


def test_advisors_that_fail_lose_nothing(
    bare: Bare, declared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise DeployError("supabase", "supabase db advisors ended with 1: password authentication failed")

    monkeypatch.setattr(supabase_cli, "asked_advisors", fails)
    sarif = tmp_path / "r.sarif"
    run = harness(
        "check", "--dsn", bare(SHEETS), "--declaration", declared, "--advisors", "--sarif", str(sarif)
    )
    assert run.exit_code == 1
    assert 'foreign-read  policy "open" on public.sheets' in run.output
    assert "the advisors: not proven: they could not be asked" in run.output
    assert sarif.exists()


def test_advisors_with_the_password_in_the_environment(
    database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = conninfo_to_dict(database.dsn)
    password = str(given.pop("password"))
    dsn = make_conninfo(**{key: str(value) for key, value in given.items()})
    monkeypatch.setenv("PGPASSWORD", password)
    assert Target.from_dsn(dsn).password == password
    monkeypatch.delenv("PGPASSWORD")
    passfile = tmp_path / "pass"
    lines = ["other:1:*:*:no", f"{given['host']}:{given['port']}:*:{given['user']}:it\\:is\\\\so"]
    passfile.write_text("\n".join(lines) + "\n")
    monkeypatch.setenv("PGPASSFILE", str(passfile))
    assert Target.from_dsn(dsn).password == r"it:is\so"


MIGRATION = """\
create table public.notes (id int);
create table public.notes_archive (id int);
-- create policy read on public.notes
create policy "read all" on public.notes using (true);
create policy read
    on public.notes_archive
    using (true);
create policy read
    on public.notes
    using (false);
create table other.notes (id int);
create function public.f_more() returns int language sql as 'select 1';
create or replace function
    public.f() returns int language sql as 'select 1';
"""


@pytest.mark.parametrize(
    ("thing", "line"),
    [
        ('policy "read" on public.notes', 8),
        ('policy "read" on public.notes_archive', 5),
        ('policy "read all" on public.notes', 4),
        ("public.notes", 1),
        ("other.notes", 11),
        ("function public.f()", 13),
        ("public.note", None),
        ('policy "read" on public.elsewhere', None),
    ],
)
def test_findings_lead_to_the_statement_that_defines(tmp_path: Path, thing: str, line: int | None) -> None:
    (tmp_path / "1.sql").write_text(MIGRATION)
    (found,) = located([Found("rule", thing, "what", "expected", "fix")], tmp_path, tmp_path)
    assert found.source == (f"1.sql:{line}" if line else "")
