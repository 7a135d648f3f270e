"""The web app's API routes on the real server: what they pass on, what they refuse, whom they stop."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from harness.waiting import wait_until
from tests.web_gateway import Behaviour
from tests.web_stack import WebStand

ASK = {"mode": "thinking", "messages": [{"role": "user", "content": "Hello"}]}


def post(stand: WebStand, body: object = ASK, **headers: str) -> httpx.Response:
    token = stand.stack.identities.token("proxy").reveal()
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return stand.stack.http(stand.stack.environment.web.url).post(
        "/api/chat", content=content, headers={"authorization": f"Bearer {token}", **headers}
    )


def test_a_question_is_passed_on_as_the_gateway_wants_it(web_stand: WebStand) -> None:
    answer = post(web_stand, {**ASK, "max_tokens": 7, "stream": False, "user": "x"}, cookie="private=1")
    (seen,) = web_stand.gateway.seen
    assert seen["body"] == {
        "model": "thinking",
        "messages": ASK["messages"],
        "max_tokens": 7,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert seen["headers"]["authorization"].startswith("Bearer ey")
    assert "cookie" not in seen["headers"]
    assert seen["headers"]["x-request-id"] == answer.headers["x-request-id"]
    assert answer.headers["x-gateway-environment"] == "local"
    assert "no-store" in answer.headers["cache-control"]


@pytest.mark.parametrize(
    ("given", "kept"), [("a-sane-id-1", True), ("sh", False), ("x" * 200, False), ("a b!c-d-e", False)]
)
def test_a_request_id_is_kept_if_it_is_sane(web_stand: WebStand, given: str, kept: bool) -> None:
    answer = post(web_stand, **{"x-request-id": given})
    assert (answer.headers["x-request-id"] == given) is kept
    assert len(answer.headers["x-request-id"]) >= 8


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"null", 400),
        (b"[]", 400),
        ({**ASK, "mode": "other"}, 400),
        ({**ASK, "messages": []}, 400),
        ({**ASK, "messages": [{"role": "tool", "content": "x"}]}, 400),
        ({**ASK, "messages": [None]}, 400),
        ({**ASK, "max_tokens": -1}, 400),
        ({**ASK, "max_tokens": 1.5}, 400),
        ({**ASK, "messages": [{"role": "user", "content": "x" * 300_000}]}, 413),
    ],
)
def test_what_makes_no_sense_never_reaches_the_gateway(web_stand: WebStand, body: Any, status: int) -> None:
    answer = post(web_stand, body)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "code", "request_id"}
    assert web_stand.gateway.seen == []


def test_the_gateways_refusal_arrives_whole(web_stand: WebStand) -> None:
    web_stand.gateway.behaviour = Behaviour(
        status=429,
        error={"message": "used up", "code": "user_tokens_exceeded"},
        headers={"retry-after": "42"},
    )
    answer = post(web_stand)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "42"
    assert answer.json()["error"]["code"] == "user_tokens_exceeded"


def test_a_reader_who_leaves_stops_the_gateways_work(web_stand: WebStand) -> None:
    web_stand.gateway.behaviour = Behaviour(words="on and on " * 2000, pause=0.01)
    url = web_stand.stack.environment.web.url
    headers = {"authorization": f"Bearer {web_stand.stack.identities.token('proxy').reveal()}"}
    with httpx.stream(
        "POST", f"{url}/api/chat", json=ASK, headers=headers, timeout=10, trust_env=False
    ) as answer:
        next(answer.iter_raw())
    wait_until("the gateway hears of it", web_stand.gateway.cancelled.is_set, seconds=30)


def test_a_reader_who_leaves_before_the_first_word_stops_it_too(web_stand: WebStand) -> None:
    web_stand.gateway.behaviour = Behaviour(words="on and on " * 2000, first_pause=1.0)
    with pytest.raises(httpx.ReadTimeout):
        url, token = web_stand.stack.environment.web.url, web_stand.stack.identities.token("proxy").reveal()
        headers = {"authorization": f"Bearer {token}"}
        with httpx.stream(
            "POST", f"{url}/api/chat", json=ASK, headers=headers, timeout=0.4, trust_env=False
        ) as answer:
            answer.read()
    wait_until("the gateway hears of it", web_stand.gateway.cancelled.is_set, seconds=6)


def test_only_the_routes_that_exist_answer_to_their_methods(web_stand: WebStand) -> None:
    client = web_stand.stack.http(web_stand.stack.environment.web.url)
    assert client.get("/api/chat").status_code == 405
    assert client.get("/api/nothing").status_code == 404
    assert client.get("/api/errors/test").status_code in (404, 405)
    assert client.post("/api/errors/test").status_code == 404
    assert client.post("/api/errors/test", headers={"x-probe-token": "guess"}).status_code == 404


def test_health_tells_of_a_gateway_without_waiting_for_it(web_stand: WebStand) -> None:
    told = web_stand.stack.http(web_stand.stack.environment.web.url).get("/api/health").json()
    assert told["status"] == "ok"
    assert told["gateway"]["state"] == "up"
    assert told["gateway"]["environment"] == "local"
    assert told["gateway"]["release"] == "gateway@stand-in"
