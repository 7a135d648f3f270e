"""What is asked of the Management API and read from it, against the vendor's document and recordings.

Both are test data that is not part of the project; without them these tests say that they were skipped.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from harness.providers.auth_settings import auth_settings
from harness.providers.backup_state import backup_state
from harness.providers.cloud import supabase as cloud
from harness.providers.supabase_management import ManagementApi, management_api
from harness.secrets import Secret
from tests.management_api import (
    answer,
    backup,
    continuous,
    daily,
    encrypted,
    exposing,
    healthy,
    hosted_stack,
    networks,
    project,
)
from tests.pg_fixture import ROOT

SPECS = ROOT.parent / "shared" / "specs"
RECORDED = SPECS / "supabase-recorded"
DOCUMENT = SPECS / "supabase-management-api-v1.openapi.json"
recordings = pytest.mark.skipif(not RECORDED.exists(), reason=f"no recordings in {RECORDED}")
document = pytest.mark.skipif(not DOCUMENT.exists(), reason=f"no document {DOCUMENT}")
READS = {
    "": ManagementApi.project,
    "config/auth": ManagementApi.auth,
    "database/backups": ManagementApi.backups,
    "network-restrictions": ManagementApi.network,
    "postgrest": ManagementApi.data_api,
    "ssl-enforcement": ManagementApi.ssl,
}


def _pairs(path: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Recorded requests for ``path`` of a project, each with its response."""
    name = re.sub("[/-]", "_", path)
    folder = RECORDED / f"GET_v1_projects___PROJECT_REF__{'_' if name else ''}{name}"
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


DOUBLES = [
    ("database/backups", daily()),
    ("database/backups", daily(backup(1), backup(2, "FAILED"))),
    ("database/backups", continuous(1)),
    ("", project()),
    ("", project("INACTIVE", "15")),
    ("health", healthy()),
    ("health", healthy(auth="UNHEALTHY")),
    ("ssl-enforcement", encrypted()),
    ("network-restrictions", networks("0.0.0.0/0", "::/0")),
    ("network-restrictions", networks(status="stored", entitlement="disallowed")),
    ("postgrest", exposing()),
]


def _operation(path: str) -> dict[str, Any]:
    full = f"/v1/projects/{{ref}}/{path}".rstrip("/")
    return json.loads(DOCUMENT.read_text())["paths"][full]["get"]


def _with_nulls(schema: Any) -> Any:
    """OpenAPI 3.0 writes `nullable` where JSON Schema has a list of types."""
    if isinstance(schema, list):
        return [_with_nulls(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _with_nulls(value) for key, value in schema.items()}
    if made.get("nullable") is True and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]
    return made


@document
@pytest.mark.parametrize(("path", "body"), DOUBLES)
def test_the_double_answers_what_the_document_says(path: str, body: Any) -> None:
    schema = _operation(path)["responses"]["200"]["content"]["application/json"]["schema"]
    components = json.loads(DOCUMENT.read_text())["components"]
    jsonschema.validate(body, _with_nulls({**schema, "components": components}))


@document
@pytest.mark.parametrize("path", [*READS, "health"])
def test_what_is_asked_is_in_the_document(path: str) -> None:
    assert _operation(path)


@document
def test_services_are_asked_for_as_the_document_says() -> None:
    (services,) = (p for p in _operation("health")["parameters"] if p["name"] == "services")
    known = services["schema"]["items"]["enum"]
    assert set(cloud.SERVICES) <= set(known)


def test_no_secret_of_an_answer_is_kept(tmp_path, monkeypatch) -> None:
    """The Data API's settings are answered with the JWT secret among them."""
    stack = hosted_stack(answer(exposing()), tmp_path, monkeypatch)
    assert "the-jwt-secret" not in repr(management_api(stack).data_api())


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
