"""From a client's request to the engine's answer and the ledger's entry."""

from __future__ import annotations

import json

from tests.gateway.stand import INSTANT_KEY, bearer, body


def test_an_answer_and_its_booking(gateway, engine, user, booked):
    response = gateway.chat("hello", user=user)
    assert response.status_code == 200, response.text
    seen = response.json()
    assert seen["model"] == "instant"
    assert seen["choices"][0]["message"]["content"] == "four"
    assert booked(user) == (7, 3, "done")
    asked = engine.asked[-1]
    assert asked.body["model"] == "engine-instant"
    assert asked.headers["Authorization"] == f"Bearer {INSTANT_KEY}"
    assert asked.headers["X-Request-ID"] == response.headers["x-request-id"]
    line = gateway.logged(response.headers["x-request-id"])
    assert {"user": user, "route": "chat", "model": "instant", "status": 200}.items() <= line.items()
    assert (line["prompt_tokens"], line["completion_tokens"]) == (7, 3)


def test_a_stream_hides_the_usage_chunk_unless_asked(gateway, engine, user, booked):
    for options, shown in (({}, False), ({"stream_options": {"include_usage": True}}, True)):
        events = stream(gateway, user, **options)
        assert events[-1] == "[DONE]"
        chunks = [json.loads(one) for one in events[:-1]]
        assert any(chunk.get("usage") for chunk in chunks) is shown
        text = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
        assert text == "w0 w1 w2 "
        assert engine.asked[-1].body["stream_options"] == {"include_usage": True}
        assert booked(user) == (7, 3, "done")


def stream(gateway, user, content="hello", **more):
    wanted = body(content, stream=True, **more)
    with gateway.http.stream("POST", "/v1/chat/completions", json=wanted, headers=bearer(user)) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        return [line[6:] for line in response.iter_lines() if line.startswith("data: ")]


def test_health_models_docs(gateway):
    assert gateway.http.get("/health/live").json() == {"status": "live"}
    ready = gateway.http.get("/health/ready")
    assert ready.status_code == 200, ready.text
    report = ready.json()
    assert report["status"] == "ready" and report["environment"] == "local"
    assert {name: one["state"] for name, one in report["dependencies"].items()} == {
        "database": "up",
        "instant": "up",
        "thinking": "up",
    }
    assert report["dependencies"]["thinking"]["workers"] == 1
    assert gateway.http.get("/v1/models").status_code == 401
    models = gateway.http.get("/v1/models", headers=bearer()).json()
    assert [one["id"] for one in models["data"]] == ["instant", "thinking"]
    document = gateway.http.get("/openapi.json").json()
    assert "/v1/chat/completions" in document["paths"]
    for response in (ready, gateway.http.get("/nowhere"), gateway.chat(user="0" * 8)):
        assert response.headers["x-gateway-environment"] == "local"
        assert response.headers["x-gateway-release"] == "gateway@test"
        assert response.headers["x-request-id"]
