"""Everything that the harness asks of Vercel, and what its double answers, against the vendor's documents.

The documents are test data that is not part of the project; without them these tests say that they were
skipped. They are older or smaller than the API, so the deviations are listed.
"""

# ruff: noqa: F811 - fixtures are imported
from __future__ import annotations

import functools
import json
import re
from typing import Any

import jsonschema
import pytest

from harness.checks import rollback
from harness.providers.cloud import vercel
from tests.pg_fixture import ROOT
from tests.vendor_server import Asked, Told
from tests.vercel_stand import VercelStand, preview, production  # noqa: F401

SPECS = ROOT.parent / "shared" / "specs"
DOCUMENT = SPECS / "vercel-rest-api.openapi.json"
OPERATIONS = SPECS / "vercel-sdk-1.28.35.operations.json"
pytestmark = [
    pytest.mark.skipif(not DOCUMENT.exists(), reason=f"no document {DOCUMENT}"),
    pytest.mark.skipif(not OPERATIONS.exists(), reason=f"no list of operations {OPERATIONS}"),
]
OLDER = {"/v7/deployments": "/v6/deployments"}
"""What the document has under the number of an older version."""
NEWER = ("/v1/projects/{projectId}/rollback/{deploymentId}",)
"""What only the newer list of operations has."""
ONLY_THE_CLI = ("/v2/user", "/teams/{teamId}", "/v3/env/pull/{projectId}/{target}")
"""What the vendor's own CLI asks: no concern of ours."""


@functools.cache
def _document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DOCUMENT.read_text())
    return found


@functools.cache
def _operations() -> set[tuple[str, str]]:
    listed = json.loads(OPERATIONS.read_text())["operations"]
    return {(one["method"], one["path"]) for one in listed}


def _matches(template: str, path: str) -> bool:
    pattern = "/".join("[^/]+" if part.startswith("{") else re.escape(part) for part in template.split("/"))
    return re.fullmatch(pattern, path) is not None


def _template(asked: Asked) -> str:
    """The path of the operation as the list of operations has it."""
    if asked.path.startswith("/v13/deployments/"):
        return "/v13/deployments/{idOrUrl}"
    [found] = [
        path for method, path in _operations() if method == asked.method and _matches(path, asked.path)
    ]
    return found


def _json_schema(schema: Any) -> Any:
    """OpenAPI 3.0 as JSON Schema. Its unions are written `oneOf` although their members overlap."""
    if isinstance(schema, list):
        return [_json_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {"anyOf" if key == "oneOf" else key: _json_schema(value) for key, value in schema.items()}
    if made.pop("nullable", None) is True:
        if isinstance(made.get("type"), str):
            made["type"] = [made["type"], "null"]
        if "enum" in made:
            made["enum"] = [*made["enum"], None]
    return made


@functools.cache
def _components() -> Any:
    return _json_schema(_document()["components"])


def _validate(body: Any, schema: dict[str, Any]) -> None:
    """The document itself is not checked: it has an empty union, which JSON Schema forbids."""
    whole = {**_json_schema(schema), "components": _components()}
    jsonschema.Draft202012Validator(whole).validate(body)


def _content(part: dict[str, Any]) -> dict[str, Any] | None:
    found: dict[str, Any] | None = part.get("content", {}).get("application/json", {}).get("schema")
    return found


def _hold(asked: Asked, told: Told) -> str:
    """Hold a pair to the documents; the path of its operation."""
    template = _template(asked)
    if template in NEWER:
        return template
    operation = _document()["paths"][OLDER.get(template, template)][asked.method.lower()]
    known = {one["name"] for one in operation["parameters"] if one["in"] == "query"}
    assert set(asked.query) <= known, (template, set(asked.query) - known)
    if (schema := _content(operation.get("requestBody", {}))) is not None:
        _validate(asked.json(), schema)
    response = operation["responses"][str(told.status)]
    if (schema := _content(response)) is not None and told.status < 300:
        _validate(told.body, schema)
    return template


@pytest.fixture(params=["production", "preview"])
def asked(request) -> list[tuple[Asked, Told]]:
    """All that a deploy, a second one, a way back and forth, and a lost variable make the harness ask."""
    stand: VercelStand = request.getfixturevalue(request.param)
    stand.double.variables.pop()
    stand.deploy()
    stand.deploy()
    rollback.web_reverted(stand.stack)
    rollback.web_taken_back(stand.stack)
    assert stand.provider.api.deployment("there-is-none") is None
    return stand.double.pairs


def _by_the_cli(asked: Asked) -> bool:
    by_it = asked.path in ("/v13/deployments", "/v2/files") and asked.method == "POST"
    return by_it or any(_matches(template, asked.path) for template in ONLY_THE_CLI)


def test_every_request_and_every_answer_is_as_documented(asked: list[tuple[Asked, Told]]) -> None:
    held = {_hold(*pair) for pair in asked if not _by_the_cli(pair[0])}
    assert len(held) >= 6, held


def test_what_is_created_is_answered_as_documented(production: VercelStand) -> None:
    production.deploy()
    [(_, told)] = [p for p in production.double.pairs if (p[0].method, p[0].path) == CREATE]
    schema = _content(_document()["paths"][CREATE[1]]["post"]["responses"]["200"])
    assert schema is not None
    _validate(told.body, schema)


CREATE = ("POST", "/v13/deployments")


def test_the_documents_would_say_no(production: VercelStand) -> None:
    """What holds of nothing proves nothing: a wrong path, parameter, request and answer are refused."""
    production.double.variables.pop()
    production.deploy()
    pairs = {(a.method, a.path): (a, t) for a, t in production.double.pairs}
    asked, told = pairs["POST", "/v10/projects/chat-web/env"]
    wrong = {**asked.json(), "type": "hidden"}
    with pytest.raises(jsonschema.ValidationError):
        _hold(Asked("POST", asked.path, {}, {}, json.dumps(wrong).encode()), told)
    with pytest.raises(AssertionError):
        _hold(Asked("POST", asked.path, {"upsrt": "true"}, {}, asked.body), told)
    with pytest.raises(ValueError, match="not enough values"):
        _hold(Asked("POST", "/v11/projects/chat-web/env", {}, {}, asked.body), told)
    asked, told = pairs["GET", "/v9/projects/chat-web"]
    with pytest.raises(jsonschema.ValidationError):
        _hold(asked, Told(200, {**told.body, "accountId": 7}))


def test_the_states_that_are_told_apart_are_those_of_the_document() -> None:
    schema = _content(_document()["paths"]["/v6/deployments"]["get"]["responses"]["200"])
    assert schema is not None
    one = schema["properties"]["deployments"]["items"]["properties"]
    known = {"QUEUED", "BUILDING", "INITIALIZING", "READY", "ERROR", "CANCELED", "DELETED"}
    assert set(one["state"]["enum"]) == known
    assert set(vercel._UNDER_WAY) < known
    assert "PROMOTED" in one["readySubstate"]["enum"]
    assert {"failed", "canceled"} < set(one["checksConclusion"]["enum"])
