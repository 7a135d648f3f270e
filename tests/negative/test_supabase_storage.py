"""Storage opened for real: buckets and policies."""

from __future__ import annotations

import pytest

from harness.checks import storage
from harness.stack import Stack
from tests.pg_fixture import Database
from tests.storage_double import StorageApi
from tests.supabase_proof import holds, refutes


@pytest.fixture(autouse=True)
def api(database_stack: Stack) -> StorageApi:
    """As in the embedded stack: absent, unless a test brings it."""
    return StorageApi(database_stack, broken="absent")


FOLDER = "(bucket_id = 'attachments' and (storage.foldername(name))[1] = (select auth.uid())::text)"


def test_a_public_bucket_is_seen(database_stack: Stack, database: Database) -> None:
    database.execute("update storage.buckets set public = true")
    refutes(storage.buckets, database_stack, "bucket attachments", "public = True")
    database.execute("update storage.buckets set public = false")
    holds(storage.buckets, database_stack)


@pytest.mark.parametrize("column", ["file_size_limit", "allowed_mime_types"])
def test_a_bucket_without_limits_is_seen(database_stack: Stack, database: Database, column: str) -> None:
    database.execute(f"update storage.buckets set {column} = null")  # noqa: S608
    refutes(storage.buckets, database_stack, "bucket attachments", f"{column} = no limit")


def test_an_undeclared_bucket_is_seen(database_stack: Stack, database: Database) -> None:
    database.execute("insert into storage.buckets (id, name, public) values ('dump', 'dump', true)")
    refutes(storage.buckets, database_stack, "bucket dump", "it is not declared, and it is public")


@pytest.mark.parametrize(
    ("command", "policy", "clause"),
    [
        ("SELECT", "owners read their files", "using"),
        ("INSERT", "owners upload into their folder", "with check"),
        ("DELETE", "owners delete their files", "using"),
    ],
)
def test_a_policy_without_the_folder_is_named(
    database_stack: Stack, database: Database, command: str, policy: str, clause: str
) -> None:
    if command == "DELETE":  # PostgreSQL shows a deleter only rows that may be read
        database.execute(
            "create policy peek on storage.objects for select to authenticated"
            " using (bucket_id = 'attachments')"
        )
    database.execute(f"alter policy \"{policy}\" on storage.objects {clause} (bucket_id = 'attachments')")
    rule = {"SELECT": "foreign-read", "INSERT": "forged-insert", "DELETE": "foreign-delete"}[command]
    where = f'policy "{policy}" on storage.objects as authenticated: {rule}'
    found = refutes(storage.objects, database_stack, where)
    database.execute(next(f.remedy for f in found.findings if rule in f.where))
    if command == "DELETE":
        database.execute("drop policy peek on storage.objects")
    holds(storage.objects, database_stack)


def test_an_update_policy_without_the_folder_is_named(database_stack: Stack, database: Database) -> None:
    policy = '"owners replace their files" on storage.objects'
    database.execute(f"alter policy {policy} using (true) with check (true)")
    refutes(storage.objects, database_stack, 'policy "owners replace their files" on storage.objects')
    database.execute(f"alter policy {policy} using {FOLDER} with check {FOLDER}")
    holds(storage.objects, database_stack)


def test_a_policy_for_anon_is_named(database_stack: Stack, database: Database) -> None:
    database.execute("create policy open on storage.objects for select to anon using (true)")
    refutes(storage.objects, database_stack, 'policy "open" on storage.objects as anon')
    database.execute("drop policy open on storage.objects")
    holds(storage.objects, database_stack)


def test_a_dropped_policy_hinders_the_owner(database_stack: Stack, database: Database) -> None:
    database.execute('drop policy "owners upload into their folder" on storage.objects')
    refutes(storage.objects, database_stack, "bucket attachments, INSERT as authenticated: missing-access")


@pytest.mark.parametrize(
    ("broken", "culprit"),
    [
        ("GET", "GET as B"),
        ("POST", "POST as B"),
        ("PUT", "PUT as B"),
        ("upsert", "upsert as B"),
        ("move", "move as B"),
        ("DELETE", "DELETE as B"),
        ("list", "list as B"),
        ("public", "GET of the public URL as anybody"),
        ("size", "POST of 10 MiB + 1"),
        ("mime", "POST of a program"),
        ("expired", "GET with an expired token"),
        ("forged", "GET with a forged token"),
    ],
)
def test_a_storage_api_that_forgets_a_rule_is_named(
    database_stack: Stack, database: Database, api: StorageApi, broken: str, culprit: str
) -> None:
    api.broken = ""
    before = database.execute("select count(*) from auth.users")
    holds(storage.objects, database_stack)
    assert api.files == {}
    api.broken = broken
    refutes(storage.objects, database_stack, f"Storage API, {culprit}, attachments/")
    assert api.files == {}
    assert database.execute("select count(*) from auth.users") == before
    assert database.execute("select count(*) from storage.objects") == [(0,)]


def test_a_policy_that_lets_others_in_is_seen_over_http(
    database_stack: Stack, database: Database, api: StorageApi
) -> None:
    api.broken = ""
    policy = '"owners read their files" on storage.objects'
    database.execute(f"alter policy {policy} using (bucket_id = 'attachments')")
    refutes(
        storage.objects, database_stack, "Storage API, GET as B, attachments/", "Storage API, list as B"
    )
    database.execute(f"alter policy {policy} using {FOLDER}")
    holds(storage.objects, database_stack)
    database.execute('drop policy "owners upload into their folder" on storage.objects')
    refutes(storage.objects, database_stack, "Storage API, POST as A, attachments/")


def test_a_storage_api_that_does_not_answer_well_is_no_pass(database_stack: Stack, api: StorageApi) -> None:
    api.broken = "down"
    evidence = storage.objects(database_stack)
    assert evidence.verdict == "blocked"
    assert "Storage API: not proven: it answered HTTP 503 to a list of buckets" in evidence.summary
