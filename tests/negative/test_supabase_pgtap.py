"""pgTAP tests that fail, die, count wrong or prove nothing: each is said as what it is."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from harness.checks import pgtap
from harness.evidence import Verdict
from harness.stack import Stack
from tests.pg_fixture import Database
from tests.supabase_proof import holds, refutes, told


@pytest.fixture
def test_file(project: Path) -> Path:
    """The only test of the project; a test writes it."""
    for path in (project / "tests").iterdir():
        path.unlink()
    return project / "tests" / "one_test.sql"


def test_a_policy_for_everybody_fails_a_test(database_stack: Stack, database: Database) -> None:
    holds(pgtap.tested, database_stack)
    database.execute('alter policy "owners read their messages" on public.messages using (true)')
    evidence = refutes(
        pgtap.tested, database_stack, "supabase/tests/ownership_test.sql:", "another user sees no message"
    )
    assert "Unexpected records" in told(evidence)
    own = "owner_id = (select auth.uid())"
    database.execute(f'alter policy "owners read their messages" on public.messages using ({own})')
    database.execute("grant select on usage.totals to anon")
    refutes(pgtap.tested, database_stack, "anon has no right on usage.totals", "SELECT")


def test_a_broken_ledger_fails_a_test(database_stack: Stack, database: Database) -> None:
    database.execute("drop trigger append_only on usage.entries")
    refutes(pgtap.tested, database_stack, "ledger_test.sql", "no entry is changed")


def test_nothing_is_left_behind(database_stack: Stack, database: Database) -> None:
    before = database.execute("select count(*) from auth.users")
    holds(pgtap.tested, database_stack)
    assert database.execute("select count(*) from auth.users") == before
    assert database.execute("select nspname from pg_namespace where nspname ~ 'pgtap'") == []


def test_no_test_at_all_is_no_pass(database_stack: Stack, test_file: Path) -> None:
    refutes(pgtap.tested, database_stack, "there are none", "supabase/tests")
    test_file.parent.rmdir()
    refutes(pgtap.tested, database_stack, "there are none", "supabase/tests")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ["no plan, and 0 tests"]),
        ("-- select plan(1);", ["no plan, and 0 tests"]),
        ("select plan(0);", ["all are skipped"]),
        ("select '1..0 # SKIP not today';", ["all are skipped"]),
        ("select ok(true, 'fine');", ["tried to run a test without a plan"]),
        ("select no_plan(); select ok(true, 'fine');", ["no plan, and 1 tests"]),
        ("select plan(2); select ok(true, 'fine'); select * from finish();", ["2 tests, as planned"]),
        (
            "select plan(1); select ok(true); select ok(true); select * from finish();",
            ["1 tests, as planned"],
        ),
        ("select plan(1);\nselect is(1, 2, 'one is two');", ["one_test.sql:2", "one is two", "have: 1"]),
        ("select plan(1); select * from skip('too slow', 1);", ["1 is skipped: too slow"]),
        ("select plan(1);\n\nselect ok(1 / 0 = 1);", ["one_test.sql:3", "it died: division by zero"]),
        ("select plan(1); select 'Bail out! no way';", ["it bailed out: no way"]),
        ("select plan(1);\nselect nothing_like_it();", ["one_test.sql:2", "does not exist"]),
        ("select plan(1);\nselekt;", ["one_test.sql:2", "syntax error"]),
        ("\\i other.sql\nselect plan(1);", ["one_test.sql:1", "syntax error"]),
        ("begin;\nselect plan(1);\ncommit;", ["one_test.sql:3", "commit", "rollback last"]),
        ("begin;\nrollback;\nbegin; select plan(1); select ok(true); rollback;", ["one_test.sql:2"]),
        ("select plan(1); do $$ begin perform ok(true, 'unheard'); end $$;", ["0 tests"]),
    ],
)
def test_a_test_that_proves_nothing_is_no_pass(
    database_stack: Stack, test_file: Path, text: str, says: list[str]
) -> None:
    test_file.write_text(text)
    refutes(pgtap.tested, database_stack, *says)


def test_what_is_right_is_let_pass(database_stack: Stack, test_file: Path) -> None:
    test_file.write_text(
        "begin;\ncreate extension if not exists pgtap with schema extensions;\nselect no_plan();\n"
        "savepoint s; create table public.\"Größe\" (id int); select has_table('Größe'); rollback to s;\n"
        "select 1 as not_text; select 'words that are no protocol';\n"
        "select todo('next month', 1); select ok(false, 'not yet');\nselect * from finish();\nrollback;"
    )
    evidence = pgtap.tested(database_stack)
    assert evidence.verdict is Verdict.HOLDS, told(evidence)
    assert "known not to hold yet: supabase/tests/one_test.sql:6 not yet (next month)" in evidence.summary


def test_an_outage_is_no_finding(database_stack: Stack, test_file: Path) -> None:
    test_file.write_text("select plan(1);\nselect ok(pg_terminate_backend(pg_backend_pid()));")
    evidence = pgtap.tested(database_stack)
    assert evidence.verdict is Verdict.UNREACHABLE, told(evidence)
    assert "supabase/tests/one_test.sql" in evidence.summary
    test_file.write_text(
        "select plan(1); set local statement_timeout = '20ms'; select ok(pg_sleep(60) is null);"
    )
    evidence = pgtap.tested(database_stack)
    assert evidence.verdict is Verdict.UNREACHABLE, told(evidence)
    assert "statement timeout" in evidence.summary


def test_a_role_without_the_right_is_said(
    database_stack: Stack, database: Database, test_file: Path
) -> None:
    test_file.write_text("select plan(1); select ok(true, 'fine'); select * from finish();")
    with psycopg.connect(database.superuser_dsn, autocommit=True) as admin:
        admin.execute(f"revoke create on database {database.name} from postgres")
    evidence = pgtap.tested(database_stack)
    assert evidence.verdict is Verdict.BLOCKED, told(evidence)
    assert "pgTAP cannot be laid: permission denied for database" in evidence.summary
