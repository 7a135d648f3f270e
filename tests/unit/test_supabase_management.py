"""What is asked of the Management API and read from it, against the vendor's document and recordings.

Both are test data that is not part of the project; without them these tests say that they were skipped.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from harness.providers.auth_settings import auth_settings
from harness.providers.backup_state import backup_state
from harness.providers.supabase_management import ManagementApi
from harness.secrets import Secret
from tests.management_api import answer, backup, continuous, daily, hosted_stack
from tests.pg_fixture import ROOT

SPECS = ROOT.parent / "shared" / "specs"
RECORDED = SPECS / "supabase-recorded"
DOCUMENT = SPECS / "supabase-management-api-v1.openapi.json"
recordings = pytest.mark.skipif(not RECORDED.exists(), reason=f"no recordings in {RECORDED}")
document = pytest.mark.skipif(not DOCUMENT.exists(), reason=f"no document {DOCUMENT}")
READS = {"database/backups": ManagementApi.backups, "config/auth": ManagementApi.auth}


def _pairs(path: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Recorded requests for ``path`` of a project, each with its response."""
    folder = RECORDED / f"GET_v1_projects___PROJECT_REF___{path.replace('/', '_')}"
    names = sorted(folder.glob("*.request.json"))
    return [
        (
            json.loads(name.read_text()),
            json.loads(Path(str(name).replace(".request.", ".response.")).read_text()),
        )
        for name in names
    ]


@recordings
@pytest.mark.parametrize("path", READS)
def test_it_asks_as_the_vendors_own_client_does_and_reads_the_answers(path: str) -> None:
    pairs = _pairs(path)
    assert pairs
    for request, response in pairs:
        asked: list[httpx.Request] = []

        def answering(got: httpx.Request, asked=asked, response=response) -> httpx.Response:
            asked.append(got)
            return httpx.Response(response["status"], json=response["body"])

        with httpx.Client(
            base_url="https://management.test", transport=httpx.MockTransport(answering)
        ) as client:
            READS[path](ManagementApi(client, "__PROJECT_REF__", Secret("__ACCESS_TOKEN__")))
        assert asked[0].method == request["method"]
        assert asked[0].url.path == request["path"]
        assert asked[0].headers["authorization"] == request["headers"]["authorization"]


@document
@pytest.mark.parametrize("body", [daily(), daily(backup(1), backup(2, "FAILED")), continuous(1)])
def test_the_double_answers_what_the_document_says(body: dict[str, Any]) -> None:
    schemas = json.loads(DOCUMENT.read_text())["components"]["schemas"]
    jsonschema.validate(body, schemas["V1BackupsResponse"])


@document
@pytest.mark.parametrize("path", READS)
def test_what_is_asked_is_in_the_document(path: str) -> None:
    assert "get" in json.loads(DOCUMENT.read_text())["paths"][f"/v1/projects/{{ref}}/{path}"]


def test_sign_in_addresses_are_read(tmp_path, monkeypatch) -> None:
    body = {"site_url": "https://chat.test", "uri_allow_list": "https://chat.test/a, https://chat.test/b"}
    settings = auth_settings(hosted_stack(answer(body), tmp_path, monkeypatch))
    assert settings.site_url == "https://chat.test"
    assert settings.redirect_urls == ("https://chat.test/a", "https://chat.test/b")
    assert settings.where.endswith("/v1/projects/stagingchatprojectxy/config/auth")
    empty = auth_settings(
        hosted_stack(answer({"site_url": None, "uri_allow_list": ""}), tmp_path, monkeypatch)
    )
    assert (empty.site_url, empty.redirect_urls) == ("", ())


def test_the_newest_good_backup_counts_in_any_order(tmp_path, monkeypatch) -> None:
    body = daily(backup(50), backup(2), backup(26))
    state = backup_state(hosted_stack(answer(body), tmp_path, monkeypatch))
    assert state.newest is not None
    assert state.newest.strftime("%Y-%m-%dT%H:%M:%SZ") == body["backups"][1]["inserted_at"]
