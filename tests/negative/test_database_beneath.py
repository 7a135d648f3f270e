"""Views over tables that nothing is declared of; and what `harness db declare` says of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.database.declare import declared_text
from harness.errors import ConfigurationError
from tests.negative.test_database_proof import PETS, told

Bare = Callable[[str], str]
BENEATH = """
create schema api; create schema data; grant usage on schema api, data to authenticated;
create table data.jobs (id bigint generated always as identity primary key,
    boss uuid not null default auth.uid() references auth.users, task text not null);
alter table data.jobs enable row level security;
create policy own on data.jobs for all to authenticated using (boss = auth.uid());
grant select, insert, update, delete on data.jobs to authenticated;
create view api.jobs with (security_invoker) as select * from data.jobs;
grant select, insert, update, delete on api.jobs to authenticated;
"""
BENEATH_DECLARED = "schemas: [api]\ntables:\n  api.jobs: {rules: [{who: owner, by: boss, may: all}]}\n"


@pytest.mark.parametrize(
    ("mistake", "named"),
    [
        ("alter policy own on data.jobs with check (true)", 'forged-insert policy "own" on data.jobs'),
        ("alter table data.jobs disable row level security", "rls-disabled data.jobs"),
        ("revoke delete on data.jobs from authenticated", "missing-access data.jobs, DELETE"),
    ],
)
def test_a_table_beneath_a_view_is_tried(bare: Bare, mistake: str, named: str) -> None:
    report, said = told(bare(BENEATH), BENEATH_DECLARED)
    assert report.holds, said
    assert named in told(bare(BENEATH + mistake), BENEATH_DECLARED)[1]


def test_a_view_that_shows_less_is_said_to_be_untried(bare: Bare) -> None:
    part = BENEATH.replace("select * from data.jobs", "select id, boss from data.jobs where task <> ''")
    report, said = told(bare(part), BENEATH_DECLARED)
    assert "api.jobs: not proven: callers may write through it into data.jobs" in said
    assert not report.holds


def test_declare_says_of_what_a_view_shows_rows_when_trying_does_not_tell(bare: Bare) -> None:
    masked = BENEATH.replace("select * from data.jobs", "select id, task from data.jobs")
    text = declared_text(bare(masked), ("api",))
    assert "# api.jobs shows rows of data.jobs: say whose" in text
    assert "grants: wide" not in text
    with pytest.raises(ConfigurationError, match="there is no schema nope"):
        declared_text(bare(PETS), ("nope",))
