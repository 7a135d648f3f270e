"""Every declared bucket over HTTP: whose folder it is decides, and what cannot be tried says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import psycopg
import pytest

from harness.checks.storage_client import StorageClient
from harness.checks.storage_http import Heard, over_http
from harness.database.declaration import load, parse
from harness.stack import Stack
from tests.corpus import DECLARATION, SCHEMA
from tests.pg_fixture import ROOT
from tests.storage_double import StorageApi

RECORDED = ROOT.parent / "shared" / "specs" / "supabase-recorded"


@pytest.fixture
def corpus(bare: Callable[[str], str], database_stack: Stack) -> StorageApi:
    """The corpus' three buckets (public, one's own, an organisation's) behind a Storage API."""
    dsn = bare(SCHEMA.read_text(encoding="utf-8"))
    database_stack.dsn_source = lambda: dsn
    return StorageApi(database_stack)


def execute(api: StorageApi, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(api.stack.database_dsn) as connection:
        done = connection.execute(statement.encode())
        return done.fetchall() if done.description else []


def heard(api: StorageApi, text: str = "") -> Heard:
    """What is heard of the corpus' declaration; nothing stays."""
    declared = parse(text) if text else load(DECLARATION)
    found = over_http(api.stack, declared)
    assert api.files == {}
    assert execute(api, "select count(*) from storage.objects") == [(0,)]
    assert execute(api, "select count(*) from auth.users") == [(0,)]
    assert execute(api, "select count(*) from public.members") == [(0,)]
    assert [path.read_text() for path in api.stack.state.glob("planted-*")] == []
    return found


def test_every_declared_bucket_is_tried(corpus: StorageApi) -> None:
    found = heard(corpus)
    assert found.findings == []
    assert found.gaps == []
    for bucket in ("avatars", "files", "org-assets"):
        assert any(f"object/{bucket}/" in asked for asked in corpus.seen), bucket
        assert f"POST object/list/{bucket}" in corpus.seen or bucket == "avatars"


@pytest.mark.parametrize(
    ("mistake", "culprit"),
    [
        (
            "alter policy assets_read on storage.objects using (bucket_id = 'org-assets')",
            "GET as B, org-assets/",
        ),
        (
            "alter policy assets_add on storage.objects with check (bucket_id = 'org-assets')",
            "POST as B, org-assets/",
        ),
        (
            "alter policy avatars_add on storage.objects with check (bucket_id = 'avatars')",
            "POST as B, avatars/",
        ),
        (
            "alter policy avatars_change on storage.objects using (bucket_id = 'avatars')"
            " with check (bucket_id = 'avatars')",
            "PUT as B, avatars/",
        ),
        (
            "create policy hole on storage.objects for delete to authenticated"
            " using (bucket_id = 'avatars')",
            "DELETE as B, avatars/",
        ),
        (
            "create policy hole on storage.objects for select to anon using (bucket_id = 'files')",
            "list as anybody, files/",
        ),
        (
            "update storage.buckets set public = true where id = 'files'",
            "GET of the public URL as anybody, files/",
        ),
        (
            "update storage.buckets set public = false where id = 'avatars'",
            "GET of the public URL, avatars/",
        ),
        (
            "update storage.buckets set file_size_limit = null where id = 'org-assets'",
            "POST of 5 MiB + 1, org-assets/",
        ),
        (
            "update storage.buckets set allowed_mime_types = null where id = 'avatars'",
            "POST of a program, avatars/",
        ),
        ("drop policy assets_add on storage.objects", "POST as A, org-assets/"),
        ("drop policy files_read on storage.objects", "GET as A, files/"),
    ],
)
def test_a_mistake_in_one_bucket_is_named(corpus: StorageApi, mistake: str, culprit: str) -> None:
    execute(corpus, mistake)
    found = heard(corpus)
    assert any(one.where.startswith(f"Storage API, {culprit}") for one in found.findings), found
    bucket = culprit.partition(", ")[2].rstrip("/")
    assert all(f", {bucket}/" in one.where for one in found.findings), found


def test_a_bucket_that_cannot_be_tried_says_so(corpus: StorageApi) -> None:
    """Declared, and not there; of a group that nobody can be planted into; larger than is sent."""
    text = DECLARATION.read_text(encoding="utf-8")
    absent = text + "  lost: {size: 1 MiB, rules: [{who: owner, by: folder, may: all}]}\n"
    gaps = "\n".join(map(str, heard(corpus, absent).gaps))
    assert "bucket lost: not proven: the Storage API does not have it: nothing was tried" in gaps
    execute(corpus, "alter table public.organisations add check (name = md5(slug))")
    gaps = "\n".join(map(str, heard(corpus).gaps))
    assert "bucket org-assets: not proven: nothing was tried over HTTP: nobody could be planted" in gaps
    large = text.replace("size: 10 MiB", "size: 1 GiB")
    assert "bucket files: its size limit was not tried over HTTP: 1 GiB" in heard(corpus, large).notes
    served = text.replace(
        "- {who: owner, by: folder, may: all}", "- {who: owner, by: folder, may: [select]}"
    )
    execute(corpus, "drop policy files_add on storage.objects")
    execute(
        corpus, "drop policy files_change on storage.objects; drop policy files_remove on storage.objects"
    )
    found = heard(corpus, served)
    assert [one for one in found.findings if "files/" in one.where] == []
    assert "bucket files: its limits were not tried over HTTP: no user uploads into it" in found.notes


def test_files_of_a_run_that_was_killed_are_removed_by_the_next(corpus: StorageApi) -> None:
    """The list is on the disk before the first upload; the run ends where it would have cleaned up."""
    journal: Path = corpus.stack.state / "planted-files.json"
    answer, left = corpus.answer, []

    def killed(request: httpx.Request) -> httpx.Response:
        if left:
            raise KeyboardInterrupt
        done = answer(request)
        if request.method == "POST" and corpus.files:
            left.extend(json.loads(journal.read_text()))
        return done

    corpus.answering = killed
    with pytest.raises(KeyboardInterrupt):
        over_http(corpus.stack, load(DECLARATION))
    corpus.answering = answer
    assert corpus.files
    assert ["avatars", next(iter(corpus.files)).partition("/")[2]] in left
    assert heard(corpus).findings == []


@pytest.mark.parametrize(
    ("recorded", "method", "route", "body"),
    [
        ("GET_storage_v1_bucket", "GET", "bucket", None),
        ("POST_storage_v1_object_cli_e2e_bucket_upload_txt", "POST", "object/files/u/a.txt", b"own"),
        (
            "POST_storage_v1_object_list_cli_e2e_bucket",
            "POST",
            "object/list/files",
            {"prefix": "u", "limit": 9},
        ),
        (
            "POST_storage_v1_object_move",
            "POST",
            "object/move",
            {"bucketId": "files", "sourceKey": "u/a.txt", "destinationKey": "u/b.txt"},
        ),
        (
            "GET_storage_v1_object_cli_e2e_bucket_hello_txt",
            "GET",
            "object/authenticated/files/u/a.txt",
            None,
        ),
    ],
)
@pytest.mark.skipif(not RECORDED.exists(), reason="the recorded pairs are not at hand")
def test_the_double_answers_as_recorded(
    corpus: StorageApi, recorded: str, method: str, route: str, body: object
) -> None:
    """The same status, and no key in an answer that the real API does not give."""
    real = json.loads((RECORDED / recorded / "default.response.json").read_text(encoding="utf-8"))
    client = StorageClient(corpus.stack)
    given = (
        {"content": body, "headers": {"Content-Type": "text/plain"}}
        if isinstance(body, bytes)
        else {"json": body}
    )
    client.object(
        "POST", "files/u/a.txt", client.service, content=b"own", headers={"Content-Type": "text/plain"}
    )
    if isinstance(body, bytes):
        client.object("DELETE", "files/u/a.txt", client.service)
    answer = client.send(method, f"/storage/v1/{route}", client.service, **given)
    assert answer.status_code == real["status"], answer.text
    if real["body"] is not None:
        ours, theirs = (keys(body) for body in (answer.json(), real["body"]))
        assert ours, answer.text
        assert ours <= theirs | {"avif_autodetection", "owner_id"}


def keys(document: object) -> set[str]:
    """The keys of a document, or of the first of several."""
    first = document[0] if isinstance(document, list) else document
    return set(first) if isinstance(first, dict) else set()
