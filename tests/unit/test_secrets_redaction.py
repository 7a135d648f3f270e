"""A sentinel secret, in every shape in which it has ever been seen in a report, is masked."""

from __future__ import annotations

import base64
import html
import json
import secrets
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import redaction
from harness.secrets import MASK, Secret, encodings, redact, redact_tree, register

SENTINEL = 'S3ntinel/"ünïcode"+<tag>&it\'s=100%\\slash~end'


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test knows its own secrets only."""
    monkeypatch.setattr(redaction, "_known", set())
    monkeypatch.setattr(redaction, "_long", redaction._Index(8))
    monkeypatch.setattr(redaction, "_short", redaction._Index(3))


def lower_escapes(text: str) -> str:
    return redaction._ESCAPED_BYTE.sub(lambda match: match[0].lower(), text)


SHAPES = {
    "plain": SENTINEL,
    "url": quote(SENTINEL, safe=""),
    "url with slashes": quote(SENTINEL),
    "url lower case": lower_escapes(quote(SENTINEL, safe="")),
    "form": quote_plus(SENTINEL),
    "form lower case": lower_escapes(quote_plus(SENTINEL)),
    "url in a url": quote(quote(SENTINEL, safe=""), safe=""),
    "hex": SENTINEL.encode().hex(),
    "HEX": SENTINEL.encode().hex().upper(),
    "json ascii": json.dumps(SENTINEL),
    "json": json.dumps(SENTINEL, ensure_ascii=False),
    "json with escaped slashes": json.dumps(SENTINEL).replace("/", "\\/"),
    "json in json": json.dumps(json.dumps({"key": SENTINEL})),
    "html": html.escape(SENTINEL),
    "html numeric": html.escape(SENTINEL).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),
    "html text": html.escape(SENTINEL, quote=False),
    "repr": repr(SENTINEL),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_masked(shape: str) -> None:
    register(SENTINEL)
    assert "S3ntinel" in SHAPES[shape] or shape.lower() == "hex"
    result = redact(f"before {SHAPES[shape]} after")
    assert MASK in result
    assert "ntinel" not in result
    assert SENTINEL.encode().hex()[:12] not in result.lower()
    assert result.startswith("before ")
    assert result.endswith(" after")


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("prefix", ["", "u", "us", "user:", "Aa1!é"])
@pytest.mark.parametrize("suffix", ["", "x", "xy", "xyz"])
def test_base64_of_anything_around_it_is_masked(encode, prefix: str, suffix: str) -> None:
    register(SENTINEL)
    coded = encode((prefix + SENTINEL + suffix).encode()).decode()
    result = redact(f"Authorization: Basic {coded}")
    assert MASK in result
    middle = coded[8:-8]
    assert not any(middle[i : i + 8] in result for i in range(len(middle) - 8))


def test_each_line_of_a_secret_with_several_lines_is_masked() -> None:
    key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n"
    register(key)
    assert redact("    hkiG9w0BAQEFAASC") == f"    {MASK}"
    assert "MIIEvQ" not in redact(json.dumps(key))
    assert "MIIEvQ" not in redact(key.replace("\n", "\r\n"))
    assert redact("-----BEGIN PRIVATE KEY-----") == "-----BEGIN PRIVATE KEY-----"


def test_a_value_that_is_part_of_another_does_not_uncover_it() -> None:
    register("abcdefgh12345678")
    register("5678ijklmnop")
    register("abcdefgh12345678ZZZZ")
    assert redact("<abcdefgh12345678>") == f"<{MASK}>"
    assert redact("<abcdefgh12345678ijklmnop>") == f"<{MASK}>"
    assert redact("<abcdefgh12345678ZZZZ>") == f"<{MASK}>"


def test_short_values_are_left_alone_and_never_registered() -> None:
    register("abc")
    register("")
    assert redact("abc abcdef") == "abc abcdef"
    assert not redaction._known


@settings(deadline=None, database=None, max_examples=150)
@given(
    secret=st.text(min_size=6, max_size=60),
    before=st.text(max_size=40),
    after=st.text(max_size=40),
)
def test_any_secret_at_any_position(secret: str, before: str, after: str) -> None:
    register(secret)
    assert secret not in redact(before + secret + after).replace(MASK, "\0" * len(MASK))
    for form in encodings(secret):
        assert form not in redact(before + form + after).replace(MASK, "\0" * len(MASK))


def test_nested_values_keys_and_bytes() -> None:
    register("the-sentinel-value")
    tree = {
        "the-sentinel-value": ["x the-sentinel-value", {"n": 1, "b": b"the-sentinel-value"}],
        "ok": (True, None),
    }
    assert redact_tree(tree) == {MASK: [f"x {MASK}", {"n": 1, "b": MASK}], "ok": [True, None]}
    assert redact_tree(Secret("the-sentinel-value", "env:X")) == "Secret(env:X)"
    assert redact_tree(ValueError("the-sentinel-value")) == MASK


def test_a_megabyte_and_fifty_secrets_take_less_than_50_ms() -> None:
    values = [secrets.token_urlsafe(32) for _ in range(50)]
    for value in values:
        register(value)
    line = '{"ts":"2026-11-23T00:00:00Z","level":"info","event":"request","path":"/v1/chat/completions"}\n'
    half = line * (500_000 // len(line))
    text = half + values[7] + half
    best = 1.0
    for _ in range(5):
        started = time.process_time()
        result = redact(text)
        best = min(best, time.process_time() - started)
    assert result == half + MASK + half
    assert best < 0.05


def test_a_thousand_secrets_are_registered_in_a_moment() -> None:
    started = time.process_time()
    for _ in range(1000):
        register(secrets.token_urlsafe(32))
    assert time.process_time() - started < 1.0
