"""Storage opened for real: buckets and policies."""

from __future__ import annotations

import base64
import json

import httpx
import pytest

from harness.checks import storage
from harness.stack import Stack
from tests.pg_fixture import Database
from tests.supabase_proof import holds, refutes


class StorageApi:
    """A Storage API in memory, held to the documented contract; ``broken`` is what it forgets."""

    def __init__(self, stack: Stack) -> None:
        self.files: dict[str, bytes] = {}
        self.broken = ""
        url = stack.environment.supabase.api_url
        stack._clients[url] = httpx.Client(base_url=url, transport=httpx.MockTransport(self.answer))

    def answer(self, request: httpx.Request) -> httpx.Response:
        claims = _claims(request.headers["Authorization"])
        route = request.url.path.removeprefix("/storage/v1/").removeprefix("object/")
        if route == "bucket":
            return httpx.Response(404 if self.broken == "absent" else 200, json=[])
        if route.startswith("list/"):
            prefix = "attachments/" + json.loads(request.content)["prefix"]
            mine = self.broken == "list" or claims.get("sub", "?") in prefix
            return httpx.Response(200, json=[f for f in self.files if mine and f.startswith(prefix)])
        public = route.startswith("public/")
        path = route.removeprefix("authenticated/").removeprefix("public/")
        owner = claims["role"] == "service_role" or claims.get("sub", "?") == path.split("/")[1]
        allowed = self.broken == "public" if public else owner or self.broken == request.method
        return self.act(request, path) if allowed else httpx.Response(400, json={"error": "not_found"})

    def act(self, request: httpx.Request, path: str) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, content=self.files[path])
        if request.method == "DELETE":
            self.files.pop(path, None)
            return httpx.Response(200, json={})
        large = len(request.content) > 10485760 and self.broken != "size"
        program = request.headers["Content-Type"] != "text/plain" and self.broken != "mime"
        if large or program:
            return httpx.Response(413 if large else 415, json={})
        self.files[path] = request.content
        return httpx.Response(200, json={})


def _claims(authorization: str) -> dict:
    body = authorization.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


@pytest.fixture(autouse=True)
def api(database_stack: Stack) -> StorageApi:
    """As in the embedded stack: absent, unless a test brings it."""
    made = StorageApi(database_stack)
    made.broken = "absent"
    return made


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
        ("DELETE", "DELETE as B"),
        ("list", "list as B"),
        ("public", "GET as anybody"),
        ("size", "POST of 10 MiB + 1"),
        ("mime", "POST of a program"),
    ],
)
def test_a_storage_api_that_forgets_a_rule_is_named(
    database_stack: Stack, api: StorageApi, broken: str, culprit: str
) -> None:
    api.broken = ""
    holds(storage.objects, database_stack)
    assert api.files == {}
    api.broken = broken
    refutes(storage.objects, database_stack, f"Storage API, {culprit}")
