"""Backups that lack something, and monitoring that is blind."""

from __future__ import annotations

from pathlib import Path

import httpx
import psycopg

from harness.checks import backups
from harness.checks import database as operations
from harness.stack import Stack
from harness.waiting import wait_until
from tests.pg_fixture import Database
from tests.supabase_proof import holds, refutes


def test_a_backup_without_a_table_is_seen(database_stack: Stack) -> None:
    provider = database_stack.providers["supabase"]
    provider.dump_options = ("--exclude-table=public.attachments",)
    refutes(backups.restorable, database_stack, "public.attachments", "the table is not in the backup")
    provider.dump_options = ()
    holds(backups.restorable, database_stack)


def test_a_backup_without_rows_is_seen(database_stack: Stack) -> None:
    database_stack.providers["supabase"].dump_options = ("--exclude-table-data=public.messages",)
    refutes(backups.restorable, database_stack, "public.messages", "expected  3 rows", "observed  0 rows")


def test_a_backup_without_privileges_is_seen(database_stack: Stack) -> None:
    database_stack.providers["supabase"].dump_options = ("--no-privileges",)
    refutes(backups.restorable, database_stack, "schema in the backup", "GRANT")


def test_a_truncated_backup_is_seen(database_stack: Stack, monkeypatch) -> None:
    provider = database_stack.providers["supabase"]
    whole = type(provider).backup

    def truncated(self: object, snapshot: str) -> Path:
        path = whole(self, snapshot)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        return path

    monkeypatch.setattr(type(provider), "backup", truncated)
    refutes(backups.restorable, database_stack, "backup.dump", "pg_restore")
    monkeypatch.undo()
    holds(backups.restorable, database_stack)


def test_a_backup_leaves_no_scratch_database(database_stack: Stack, database: Database) -> None:
    holds(backups.restorable, database_stack)
    assert database.execute("select datname from pg_database where datname like 'scratch%'") == []


def test_a_silent_health_address_is_seen(supabase_stack: Stack, database: Database) -> None:
    provider = supabase_stack.providers["supabase"]
    holds(operations.monitored, supabase_stack)
    real = dict(provider.monitored)
    dead = real["the Data API's front"].replace("/health", "/nowhere")
    provider.monitored["the Data API's front"] = dead
    refutes(operations.monitored, supabase_stack, dead, "HTTP 404")
    provider.monitored = real
    # and for real: PostgREST loses its database login, and says so on its health address
    with psycopg.connect(database.cluster.dsn("supabase_admin"), autocommit=True) as admin:
        admin.execute("alter role authenticator nologin")
        try:
            admin.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'authenticator'"
            )
            ready = real["PostgREST is connected and knows the schema"]
            wait_until("PostgREST notices", lambda: httpx.get(ready).status_code == 503, seconds=20)
            refutes(operations.monitored, supabase_stack, ready, "HTTP 503")
        finally:
            admin.execute("alter role authenticator login")


def test_a_stopped_data_api_is_seen(database_stack: Stack) -> None:
    address = f"{database_stack.environment.supabase.api_url}/health"
    database_stack.providers["supabase"].monitored = {"the Data API's front": address}
    refutes(operations.monitored, database_stack, address, "no answer: ConnectError")


def test_statistics_switched_off_are_seen(database_stack: Stack, database: Database) -> None:
    with psycopg.connect(database.superuser_dsn, autocommit=True) as admin:
        admin.execute(f"alter database {database.name} set track_activities = off")
    refutes(operations.monitored, database_stack, "track_activities = off")
    with psycopg.connect(database.superuser_dsn, autocommit=True) as admin:
        admin.execute(f"alter database {database.name} reset track_activities")
        admin.execute("drop extension pg_stat_statements")
    refutes(operations.monitored, database_stack, "extension pg_stat_statements")
    with psycopg.connect(database.superuser_dsn, autocommit=True) as admin:
        admin.execute("create extension pg_stat_statements with schema extensions")
    holds(operations.monitored, database_stack)


def test_an_abandoned_replication_slot_is_seen(database_stack: Stack, database: Database) -> None:
    with psycopg.connect(database.superuser_dsn, autocommit=True) as admin:
        admin.execute("select pg_create_physical_replication_slot('abandoned')")
        try:
            refutes(operations.monitored, database_stack, "idle_replication_slots")
        finally:
            admin.execute("select pg_drop_replication_slot('abandoned')")
    holds(operations.monitored, database_stack)
