"""Bodies: only an exact chat request gets through, and the engine sees what was understood."""

from __future__ import annotations

import json
import random
import string

import pytest

from tests.gateway.stand import bearer, body

MESSAGE = '"messages":[{"role":"user","content":"hi"}]'


def raw(rest):
    return ('{"model":"instant",' + MESSAGE + "," + rest + "}").encode()


def tokens(value):
    return raw(f'"max_tokens":{value}')


def nested(depth):
    return b'{"model":"instant","messages":' + b"[" * depth + b"]" * depth + b"}"


REFUSED = {
    "negative": tokens("-1"),
    "zero": tokens("0"),
    "huge": tokens("99999999999999999999999999"),
    "over the limit": tokens("5000"),
    "fractional": tokens("1.5"),
    "integral float": tokens("5.0"),
    "string": tokens('"5"'),
    "boolean": tokens("true"),
    "NaN": tokens("NaN"),
    "Infinity": tokens("Infinity"),
    "-Infinity": tokens("-Infinity"),
    "1e400": tokens("1e400"),
    "temperature NaN": raw('"temperature":NaN'),
    "temperature 3": raw('"temperature":3'),
    "n": raw('"n":100'),
    "n zero": raw('"n":0'),
    "last duplicate counts": raw('"max_tokens":5,"max_tokens":100000'),
    "both caps": raw('"max_tokens":5,"max_completion_tokens":5'),
    "unknown field": raw('"logit_bias":{}'),
    "unknown model": b'{"model":"gpt-4",' + MESSAGE.encode() + b"}",
    "engine's own model": b'{"model":"engine-instant",' + MESSAGE.encode() + b"}",
    "no messages": b'{"model":"instant"}',
    "empty messages": b'{"model":"instant","messages":[]}',
    "tool role": b'{"model":"instant","messages":[{"role":"tool","content":"x"}]}',
    "image part": b'{"model":"instant","messages":[{"role":"user","content":[{"type":"image_url"}]}]}',
    "null content": b'{"model":"instant","messages":[{"role":"user","content":null}]}',
    "NUL escaped": b'{"model":"instant","messages":[{"role":"user","content":"a\\u0000b"}]}',
    "NUL raw": b'{"model":"instant","messages":[{"role":"user","content":"a\x00b"}]}',
    "bad UTF-8": b'{"model":"instant","messages":[{"role":"user","content":"\xff\xfe"}]}',
    "lone surrogate": b'{"model":"instant","messages":[{"role":"user","content":"\\ud800"}]}',
    "UTF-16": json.dumps(body()).encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + json.dumps(body()).encode(),
    "nesting": nested(100_000),
    "list": b"[]",
    "string body": b'"hello"',
    "number": b"7",
    "null": b"null",
    "empty": b"",
    "truncated": json.dumps(body()).encode()[:-1],
    "trailing": json.dumps(body()).encode() + b"{}",
    "stop list": raw('"stop":["a","b","c","d","e"]'),
    "stream text": raw('"stream":"yes"'),
    "stream option": raw('"stream":true,"stream_options":{"continuous_usage_stats":true}'),
}


def send(gateway, content, **headers):
    headers = {"Content-Type": "application/json", **bearer(), **headers}
    return gateway.http.post("/v1/chat/completions", content=content, headers=headers)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(gateway, engine, name):
    before = len(engine.asked)
    response = send(gateway, REFUSED[name])
    assert response.status_code == 400, (name, response.text)
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert len(engine.asked) == before


def test_a_megabyte_is_too_large(gateway):
    response = send(gateway, json.dumps(body("x" * 1_000_000)).encode())
    assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")


def test_a_long_prompt_exceeds_the_request_limit(gateway):
    response = send(gateway, json.dumps(body("word " * 5000)).encode())
    assert (response.status_code, response.json()["error"]["code"]) == (400, "request_tokens_exceeded")


def test_only_json(gateway):
    sent = json.dumps(body()).encode()
    assert send(gateway, sent, **{"Content-Type": "text/plain"}).status_code == 415
    assert send(gateway, sent, **{"Content-Type": "application/json; charset=utf-8"}).status_code == 200
    assert send(gateway, sent, **{"Content-Encoding": "gzip"}).status_code in (400, 415)


def test_the_engine_sees_one_reading(gateway, engine):
    assert send(gateway, raw('"max_tokens":100000,"max_tokens":5')).status_code == 200
    assert engine.asked[-1].body == {
        "model": "engine-instant",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 5,
    }


def test_every_allowed_field_arrives(gateway, engine):
    given = {
        "temperature": 0.5,
        "top_p": 0.9,
        "presence_penalty": 0.1,
        "frequency_penalty": -0.1,
        "seed": 7,
        "stop": ["x"],
        "max_tokens": None,
        "max_completion_tokens": 9,
        "user": "dropped",
        "n": 1,
    }
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    sent = body(**given) | {"messages": [{"role": "system", "content": parts}]}
    assert send(gateway, json.dumps(sent).encode()).status_code == 200
    seen = engine.asked[-1].body
    assert seen["messages"] == [{"role": "system", "content": "ab"}]
    assert seen["max_tokens"] == 9
    assert "user" not in seen and "n" not in seen
    assert seen["temperature"] == 0.5 and seen["stop"] == ["x"] and seen["seed"] == 7


def test_an_open_length_is_capped(gateway, engine):
    assert send(gateway, json.dumps(body(max_tokens=None)).encode()).status_code == 200
    assert 1 <= engine.asked[-1].body["max_tokens"] <= 512


def test_noise_never_breaks_it(gateway):
    rng = random.Random(7)  # noqa: S311
    alphabet = string.printable + '{}[]":,\\\x00é'
    valid = json.dumps(body())
    for _ in range(150):
        at = rng.randrange(len(valid))
        noise = "".join(rng.choice(alphabet) for _ in range(rng.randrange(1, 5)))
        changed = (valid[:at] + noise + valid[at + rng.randrange(3) :]).encode()
        assert send(gateway, changed).status_code in (200, 400), changed


def test_what_the_engine_adds_is_dropped(gateway):
    response = gateway.chat()
    assert "internal" not in response.text and "engine" not in response.text
    assert not [name for name in response.headers if "engine" in name or name == "server"]
