"""What trying cannot judge: a change since the declaration was written is a finding, and only there."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from harness.database.check import Options, check_connection
from harness.database.declaration import Declaration, parse
from harness.database.declare import declared_text
from harness.database.findings import Report

SCHEMA = """
create schema app; grant usage on schema app to authenticated;
create function app.known(code text) returns boolean language plpgsql stable set search_path = '' as $$
begin return md5(code) like '00000%'; end $$;
grant execute on function app.known to authenticated;
create table public.notes (
    id bigint generated always as identity primary key, person uuid not null default auth.uid(), code text);
create table public.plans (
    id bigint generated always as identity primary key, person uuid not null default auth.uid());
alter table public.notes enable row level security; alter table public.plans enable row level security;
create policy own on public.notes for select to authenticated
    using (person = auth.uid() and app.known(code));
create policy own on public.plans for all to authenticated using (person = auth.uid());
grant select on public.notes to authenticated;
grant select, insert, update, delete on public.plans to authenticated;
"""


@pytest.fixture
def written(bare: Callable[[str], str]) -> tuple[str, Declaration]:
    """A database of which one table cannot be proven (nobody finds such a code), and its declaration."""
    dsn = bare(SCHEMA)
    return dsn, parse(declared_text(dsn))


def after(written: tuple[str, Declaration], change: str) -> Report:
    """The report when ``change`` has been made."""
    dsn, declaration = written
    with psycopg.connect(dsn) as connection:
        connection.execute(change.encode())
        report = check_connection(connection, declaration, Options())
        connection.rollback()
    assert [gap.object for gap in report.gaps] == ["public.notes"], report
    return report


@pytest.mark.parametrize(
    ("change", "culprit", "how"),
    [
        (
            "alter policy own on public.notes using (app.known(code))",
            'policy "own" on public.notes',
            "it has changed",
        ),
        (
            "create policy more on public.notes for select to authenticated using (md5(code) like '0001%')",
            'policy "more" on public.notes',
            "it is new",
        ),
        ("drop policy own on public.notes", 'policy "own" on public.notes', "it is gone"),
        (
            "create or replace function app.known(code text) returns boolean language plpgsql stable"
            " set search_path = '' as $$ begin return md5(code) like '0000_0%'; end $$",
            "function app.known(text)",
            "it has changed",
        ),
    ],
)
def test_a_change_of_what_cannot_be_tried_is_named(
    written: tuple[str, Declaration], change: str, culprit: str, how: str
) -> None:
    (found,) = [one for one in after(written, change).found if one.rule == "changed-unproven"]
    assert found.object == culprit
    assert found.what.startswith(f"{how} since the declaration was written")
    assert "public.notes" in found.what


@pytest.mark.parametrize(
    "change",
    [
        "alter policy own on public.plans using (auth.uid() = person)",
        "create function app.other() returns int language sql set search_path = '' as 'select 1'",
        "alter policy own on public.notes rename to theirs",
        "alter policy own on public.notes using (app.known(code) and (select auth.uid()) = person)",
        "select 1",
    ],
)
def test_what_can_be_tried_may_be_written_otherwise(written: tuple[str, Declaration], change: str) -> None:
    report = after(written, change)
    assert report.found == [], report


def test_without_digests_it_is_as_unproven_as_before(written: tuple[str, Declaration]) -> None:
    dsn, declaration = written
    alone = declaration.model_copy(update={"written_from": {}})
    report = after((dsn, alone), "alter policy own on public.notes using (app.known(code))")
    assert report.found == [], report
