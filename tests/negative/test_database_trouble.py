"""A check that cannot be carried out says so, counts nothing as held, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from harness import database_cli
from harness.database.check import Options, check
from harness.database.declaration import Declaration, parse
from harness.database.planting_journal import swept, swept_users
from harness.providers.local.postgres import EmbeddedPostgres
from harness.providers.selfhosted.bootstrap import bootstrap
from harness.secrets import Secret
from harness.waiting import wait_until
from tests.pg_fixture import ROOT, Database, free_port

NOTES = """
create table public.notes (
    id uuid primary key default gen_random_uuid(), user_id uuid not null references auth.users
);
alter table public.notes enable row level security;
create policy own on public.notes for select to authenticated using (user_id = auth.uid());
grant select on public.notes to authenticated;
"""
SLOW = "alter policy own on public.notes using (user_id = auth.uid() and pg_sleep(60) is not null)"
PLANTED = "select count(*) from auth.users where email like 'probe-%@probe.invalid'"


@pytest.fixture
def notes(database: Database) -> Declaration:
    """One table more than the project has, and the whole declared."""
    database.execute(NOTES)
    text = (ROOT / "supabase" / "declaration.yaml").read_text(encoding="utf-8")
    return parse(text.replace("tables:\n", "tables:\n  public.notes: {owner: user_id, may: [select]}\n", 1))


def gaps(database: Database, declaration: Declaration, **options: float) -> str:
    report = check(database.dsn, declaration, Options(**options))
    assert not report.holds
    return "\n".join(map(str, report.gaps))


def test_rows_that_cannot_be_made_up(database: Database, notes: Declaration) -> None:
    assert check(database.dsn, notes).holds
    database.execute(
        "alter table public.notes add column odd text not null check (md5(odd) = repeat('0', 32))"
    )
    said = gaps(database, notes)
    assert "public.notes: not proven: its rows cannot be made up" in said
    assert 'violates check constraint "notes_odd_check"' in said
    assert "plant:" in said


def test_a_statement_that_takes_too_long(database: Database, notes: Declaration) -> None:
    database.execute(SLOW)
    said = gaps(database, notes, timeout=0.2)
    assert (
        "public.notes: not proven: a probe was interrupted: canceling statement due to statement timeout"
        in said
    )


def test_a_database_that_takes_no_writes(database: Database, notes: Declaration) -> None:
    database.execute(f"alter database {database.name} set default_transaction_read_only = on")
    assert "cannot execute INSERT in a read-only transaction" in gaps(database, notes)


def test_a_replica_is_read_and_nothing_is_tried_on_it(tmp_path: Path) -> None:
    password = Secret(uuid.uuid4().hex)
    primary, replica = (
        EmbeddedPostgres(tmp_path / name, free_port(), password, durable=False)
        for name in ("primary", "replica")
    )
    try:
        with primary.running():
            bootstrap(primary)
            with psycopg.connect(primary.dsn()) as owner:
                owner.execute(NOTES.replace("enable", "disable").encode())
            replica.initialise()
            shutil.rmtree(replica.data)
            copy = ["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--dbname", primary.dsn()]
            replica.run([str(replica.bin / "pg_basebackup"), "--pgdata", str(replica.data), *copy])
            with replica.running():
                report = check(
                    replica.dsn(), parse("tables:\n  public.notes: {owner: user_id, may: [select]}\n")
                )
    finally:
        replica.destroy()
        primary.destroy()
    assert [gap.reason for gap in report.gaps] == ["it is a read-only replica: rows cannot be planted"]
    assert not report.holds
    assert "rls-disabled" in {found.rule for found in report.found}


def test_a_role_that_may_not(database: Database, notes: Declaration) -> None:
    report = check(database.cluster.dsn("authenticator", database.name), notes)
    assert [gap.reason for gap in report.gaps] == ["authenticator does not bypass row level security"]


def test_a_condition_that_cannot_be_evaluated(database: Database, notes: Declaration) -> None:
    rule = '{who: signed-in, may: [select], where: "no_such_column"}'
    wrong = parse(f"tables:\n  public.notes:\n    rules: [{rule}]\n")
    assert 'column "no_such_column" does not exist' in gaps(database, wrong)


def test_a_connection_that_is_lost(database: Database, notes: Declaration, tmp_path: Path) -> None:
    database.execute(
        "create schema private; grant usage on schema private to authenticated;"
        "create function private.cut() returns boolean language sql security definer set search_path = ''"
        " as 'select pg_terminate_backend(pg_backend_pid())';"
        "alter policy own on public.notes using (user_id = auth.uid() and private.cut())"
    )
    with pytest.raises(psycopg.OperationalError):
        check(database.dsn, notes)
    path = tmp_path / "d.yaml"
    path.write_text("tables:\n  public.notes: {owner: user_id, may: [select]}\n")
    run = CliRunner().invoke(database_cli.app, ["check", "--dsn", database.dsn, "--declaration", str(path)])
    assert run.exit_code == 3
    assert "unreachable" in run.output
    assert database.execute(PLANTED) == [(0,)]


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "d.yaml"
    path.write_text("schemas: [public]\n")
    dsn = "postgresql://u:sentinel-of-a-password@127.0.0.1:1/x"
    run = CliRunner().invoke(database_cli.app, ["check", "--dsn", dsn, "--declaration", str(path)])
    assert run.exit_code == 3
    assert "sentinel-of-a-password" not in run.output


def test_the_command_line_says_all_of_it(database: Database, notes: Declaration, tmp_path: Path) -> None:
    database.execute("create policy everybody on public.messages for select to authenticated using (true)")
    declared, sarif, report = tmp_path / "d.yaml", tmp_path / "r.sarif", tmp_path / "r.json"
    text = (ROOT / "supabase" / "declaration.yaml").read_text(encoding="utf-8")
    more = "tables:\n  public.notes: {owner: user_id, may: [select]}\n"
    declared.write_text(text.replace("tables:\n", more, 1))
    arguments = ["check", "--dsn", database.dsn, "--declaration", str(declared), "--sarif", str(sarif)]
    arguments += ["--json", str(report), "--migrations", str(ROOT / "supabase" / "migrations")]
    run = CliRunner().invoke(database_cli.app, arguments)
    assert run.exit_code == 1
    assert 'foreign-read  policy "everybody" on public.messages as authenticated' in run.output
    assert 'drop policy "everybody" on public.messages;' in run.output
    assert [f["rule"] for f in json.loads(report.read_text())["findings"]] == ["foreign-read"]
    (result,) = json.loads(sarif.read_text())["runs"][0]["results"]
    place = result["locations"][0]["physicalLocation"]
    migration = (ROOT / "supabase" / "migrations" / "20261101000300_messages.sql").read_text()
    assert place["artifactLocation"]["uri"].endswith("20261101000300_messages.sql")  # the table it is about
    assert "public.messages" in migration.splitlines()[place["region"]["startLine"] - 1]


def test_the_advisors_add_what_was_not_found(database: Database, tmp_path: Path) -> None:
    database.execute(
        "create function public.slow() returns int language sql as 'select 1';"
        "revoke all on function public.slow() from public;"
        "alter table public.messages disable row level security"
    )
    declared = str(ROOT / "supabase" / "declaration.yaml")
    arguments = ["check", "--dsn", database.dsn, "--declaration", declared, "--advisors"]
    run = CliRunner().invoke(database_cli.app, arguments)
    assert run.exit_code == 1
    assert "rls-disabled  public.messages" in run.output
    assert "advisor rls_disabled_in_public" not in run.output  # the same, said once
    assert "advisor function_search_path_mutable  public.slow" in run.output


def killed(script: str, ready: object, *arguments: str) -> None:
    """Run ``script`` until ``ready``, then kill it as hard as can be."""
    command = [sys.executable, "-c", script, *arguments]
    child = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        wait_until("the probe is in the middle", ready, seconds=60)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()


def test_killed_in_the_middle_of_a_transaction(database: Database, notes: Declaration) -> None:
    database.execute(SLOW)
    script = (
        "import sys; from harness.database.check import *; from harness.database.declaration import parse\n"
        "declared = parse('tables:\\n  public.notes: {owner: user_id, may: [select]}\\n')\n"
        "check(sys.argv[1], declared, Options(timeout=120))"
    )
    busy = (
        "select count(*) from pg_stat_activity"
        " where query like %s and datname = current_database() and state = 'active'"
    )

    def asleep() -> bool:
        with psycopg.connect(database.superuser_dsn) as connection:
            row = connection.execute(busy, ["rollback to savepoint probe%public%notes%"]).fetchone()
        return bool(row and row[0])

    killed(script, asleep, database.dsn)
    assert database.execute(PLANTED) == [(0,)]
    assert database.execute("select count(*) from public.notes") == [(0,)]


def test_killed_with_rows_planted_for_the_data_api(database: Database, tmp_path: Path) -> None:
    """The listener never answers; what was planted is committed, and the next run removes it."""
    journal = tmp_path / "planted.json"
    count = "select (select count(*) from auth.users), (select count(*) from public.messages)"
    before = database.execute(count)
    script = (
        "import sys, httpx, uuid; from pathlib import Path\n"
        "from harness.database.data_api import *; from harness.database.declaration import load\n"
        "client = httpx.Client(base_url=sys.argv[2], timeout=120)\n"
        "api = Api(client, 'anon', 'service', str(uuid.uuid4()), str(uuid.uuid4()), lambda user: 'token')\n"
        "probe(sys.argv[1], load(Path('supabase/declaration.yaml')), api, Path(sys.argv[3]), writes=False)"
    )
    with contextlib.ExitStack() as open_, socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(0)

        def asked() -> bool:
            try:
                open_.enter_context(silent.accept()[0])
            except BlockingIOError:
                return False
            return True

        killed(script, asked, database.dsn, f"http://127.0.0.1:{silent.getsockname()[1]}", str(journal))
    assert database.execute(PLANTED) == [(2,)]
    assert swept(database.dsn, journal).removed > 4
    assert database.execute(count) == before
    assert not journal.exists()


def test_planted_users_are_known_without_the_list(database: Database) -> None:
    database.execute(
        "insert into auth.users (id, email) values (gen_random_uuid(), 'probe-1-A@probe.invalid')"
    )
    assert swept_users(database.dsn, Declaration()) == 1
    assert database.execute(PLANTED) == [(0,)]
