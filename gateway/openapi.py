"""The OpenAPI document: FastAPI's own, plus the hot path, which FastAPI does not see."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from gateway.bodies import Answer, ChatRequest

__all__ = ["BEARER", "document"]

BEARER: dict[str, Any] = {
    "security": [{"bearer": []}],
    "responses": {"401": {"description": "Not authorised"}},
}
_ERRORS = {
    "400": "Not a chat request, too many tokens, or refused by the model",
    "401": "No valid access token",
    "403": "Origin not allowed",
    "408": "The body did not arrive in time",
    "413": "The body is too large",
    "415": "Not JSON",
    "421": "Not this host",
    "429": "A limit stands against it; Retry-After says until when",
    "431": "Headers too large",
    "500": "The gateway failed",
    "502": "The model's server failed",
    "503": "Paused, draining, or the ledger is down",
    "504": "The model did not answer in time",
}
_ERROR_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "code", "request_id"],
            "properties": {name: {"type": "string"} for name in ("message", "type", "code", "request_id")},
        }
    },
}


def document(app: FastAPI) -> dict[str, Any]:
    """The whole document, made once."""
    if app.openapi_schema:
        return app.openapi_schema
    made = get_openapi(title=app.title, version=app.version, routes=app.routes)
    (_, _), schemas = msgspec.json.schema_components(
        [ChatRequest, Answer], ref_template="#/components/schemas/{name}"
    )
    components = made.setdefault("components", {})
    components.setdefault("schemas", {}).update({**schemas, "Error": _ERROR_SCHEMA})
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
    made["paths"]["/v1/chat/completions"] = {"post": _chat()}
    app.openapi_schema = made
    return made


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _chat() -> dict[str, Any]:
    answer = {
        "description": "The answer, or its stream",
        "content": {**_json("Answer"), "text/event-stream": {}},
    }
    refused = {status: {"description": text, "content": _json("Error")} for status, text in _ERRORS.items()}
    return {
        "operationId": "chat",
        "tags": ["chat"],
        "summary": "Chat with the instant or the thinking model",
        "security": [{"bearer": []}],
        "requestBody": {"required": True, "content": _json("ChatRequest")},
        "responses": {"200": answer, **refused},
    }
