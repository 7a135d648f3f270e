"""The embedded PostgreSQL: made once, never in the way, never with a password where others can see it."""

from __future__ import annotations

import shutil
from pathlib import Path

import psycopg
import pytest

from harness.errors import DeployError
from harness.providers.local.postgres import EmbeddedPostgres
from harness.providers.selfhosted.bootstrap import bootstrap, logs_in, set_passwords
from harness.secrets import Secret
from tests.pg_fixture import Cluster, Database, free_port


@pytest.fixture
def server(tmp_path: Path):
    made = EmbeddedPostgres(tmp_path / "pg", free_port(), Secret("the superuser's password"), durable=False)
    yield made
    made.destroy()


def test_it_is_made_once_and_keeps_its_data(server: EmbeddedPostgres) -> None:
    server.durable = True
    assert server.initialise()
    assert not server.initialise()
    with server.running(), psycopg.connect(server.dsn()) as connection:
        connection.execute("create table kept (id int)")
    with server.running(), psycopg.connect(server.dsn()) as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (0,)


def test_half_of_an_initdb_is_thrown_away(server: EmbeddedPostgres) -> None:
    server.initialise()
    (server.directory / "cluster").unlink()  # as if killed before the last step
    assert not server.initialised()
    assert server.initialise()
    with server.running():
        assert server.ready()


def test_what_a_killed_test_run_left_is_swept(tmp_path: Path, server: EmbeddedPostgres) -> None:
    left = EmbeddedPostgres(tmp_path / "left", free_port(), Secret("another password"), durable=False)
    left.initialise()
    shutil.rmtree(left.directory)
    kept = EmbeddedPostgres(tmp_path / "kept", free_port(), Secret("another password"))
    kept.initialise()
    shutil.rmtree(kept.directory)
    server.initialise()
    assert not left.home.exists()
    # people's data is never swept; only root keeps it outside the directory that is gone
    assert kept.home.exists() == (kept.user.name is not None)
    kept.destroy()


def test_a_cluster_in_use_is_never_destroyed(server: EmbeddedPostgres) -> None:
    with server.running(), pytest.raises(DeployError, match="kill -INT"):
        server.destroy()


def test_the_password_is_in_no_argument_and_no_file(server: EmbeddedPostgres) -> None:
    server.initialise()
    secret = server.password.reveal()
    assert secret not in " ".join(map(str, server.program().argv))
    assert secret not in str(server.program().env)
    files = [path for path in server.home.iterdir() if path.is_file()]
    assert all(secret.encode() not in path.read_bytes() for path in files)


def test_a_wrong_password_is_refused(cluster: Cluster) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(cluster.server.dsn("postgres", Secret("not the password")))
    assert not logs_in(cluster.server, "postgres", Secret("not the password"))


def test_a_bootstrap_that_was_killed_half_way_is_finished(server: EmbeddedPostgres) -> None:
    with server.running():
        assert bootstrap(server)
        with psycopg.connect(server.dsn(database="template1"), autocommit=True) as admin:
            admin.execute("comment on database supabase_baseline is null")
            admin.execute("drop database postgres")
        assert bootstrap(server)
        assert not bootstrap(server)
        with psycopg.connect(server.dsn()) as connection:
            assert connection.execute("select auth.uid()").fetchone() == (None,)


def test_a_newer_baseline_keeps_the_data(server: EmbeddedPostgres) -> None:
    with server.running():
        bootstrap(server)
        with psycopg.connect(server.dsn()) as connection:
            connection.execute("create table public.kept (id int)")
        with psycopg.connect(server.dsn(database="template1"), autocommit=True) as admin:
            admin.execute("comment on database supabase_baseline is 'an older one'")
        assert bootstrap(server)
        with psycopg.connect(server.dsn()) as connection:
            assert connection.execute("select count(*) from public.kept").fetchone() == (0,)


def test_the_baseline_is_laid_once_and_passwords_are_set_once(cluster: Cluster) -> None:
    assert not bootstrap(cluster.server)
    assert set_passwords(cluster.server, cluster.passwords) == []


@pytest.mark.parametrize(
    "statement",
    [
        "create table storage.mine (id int)",
        "alter table storage.objects disable row level security",
        "drop table storage.objects",
        "create index on auth.users (phone)",
        "create or replace function auth.uid() returns uuid language sql as 'select null::uuid'",
    ],
)
def test_what_a_hosted_project_refuses_is_refused(database: Database, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="must be owner of"):
        database.execute(statement)


def test_new_tables_are_granted_to_nobody(database: Database) -> None:
    database.execute("create table public.fresh (id int)")
    rows = database.execute(
        "select r from unnest(array['anon', 'authenticated', 'service_role']) r"
        " where has_table_privilege(r, 'public.fresh', 'SELECT')"
    )
    assert rows == []


def test_postgres_is_no_superuser_and_owns_the_schema(database: Database) -> None:
    row = database.execute(
        "select rolsuper, rolbypassrls, has_schema_privilege('public', 'CREATE')"
        " from pg_roles where rolname = current_user"
    )
    assert row == [(False, True, True)]


def test_a_new_user_gets_a_profile(database: Database) -> None:
    database.execute(
        "insert into auth.users (id, email, raw_user_meta_data) values"
        " ('00000000-0000-4000-8000-00000000000c', 'c@chat-stack.test', '{\"display_name\": \"Carol\"}')"
    )
    rows = database.execute("select display_name from public.profiles where id::text like '%00c'")
    assert rows == [("Carol",)]
