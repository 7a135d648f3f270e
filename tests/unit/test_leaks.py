"""A secret is found wherever it lies and whatever it is encoded as; nothing else is."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.checks import leaks
from harness.checks.http import Answer
from harness.checks.leaks import Needles

ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda raw: raw,
    "base64": base64.b64encode,
    "base64url": base64.urlsafe_b64encode,
    "hex": lambda raw: raw.hex().encode(),
    "url": lambda raw: quote(raw, safe="").encode(),
    "form": lambda raw: quote_plus(raw).encode(),
}
SECRETS = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=12, max_size=60)


@given(SECRETS, st.sampled_from(sorted(ENCODINGS)), st.binary(max_size=80), st.binary(max_size=80))
def test_it_is_found_wherever_it_lies(secret: str, encoding: str, before: bytes, after: bytes) -> None:
    written = before + ENCODINGS[encoding](secret.encode()) + after
    needles = Needles({"it": secret})
    assert {hit.name for hit in needles.in_bytes(written)} == {"it"}


@given(SECRETS, st.binary(max_size=2), st.binary(max_size=2))
def test_it_is_found_inside_something_in_base64(secret: str, before: bytes, after: bytes) -> None:
    assert Needles({"it": secret}).in_bytes(base64.b64encode(before + secret.encode() + after))


@given(SECRETS, st.integers(0, 100), st.integers(1, 40))
def test_a_stream_read_in_pieces_is_searched_as_a_whole(secret: str, before: int, piece: int) -> None:
    data = b"#" * before + secret.encode() + b"#" * 50
    needles = Needles({"it": secret})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leaks, "_CHUNK", piece)
        found = [hit.offset for hit in needles.in_stream(io.BytesIO(data))]
    assert min(found) == needles.in_bytes(data)[0].offset


def test_short_values_and_no_values_are_not_looked_for() -> None:
    assert Needles({"pin": "1234"}).in_bytes(b"1234 1234") == []
    assert Needles({}).in_text("anything") == []
    assert list(Needles({}).in_stream(io.BytesIO(b"anything"))) == []


def test_a_hit_never_shows_the_value() -> None:
    (hit,) = Needles({"the key": "s3ntinel-value"}).in_text("x s3ntinel-value y")
    assert str(hit) == "the key (plain)"
    assert "s3ntinel" not in repr(hit)


def test_answers_are_read_streamed_or_not() -> None:
    whole = '{"choices": [{"message": {"content": "Hi you"}}], "usage": {"total_tokens": 3}}'
    events = [
        '{"choices": [{"delta": {"role": "assistant"}}]}',
        '{"choices": [{"delta": {"content": "Hi"}}]}',
        '{"choices": [{"delta": {"content": " you"}}]}',
        '{"choices": [], "usage": {"total_tokens": 3}}',
    ]
    stream = ": waiting\n\n" + "".join(f"data: {event}\n\n" for event in events) + "data: [DONE]\n\n"
    for body in (whole, stream):
        answer = Answer(200, {}, body, "r")
        assert (answer.content, answer.usage) == ("Hi you", {"total_tokens": 3})
    assert Answer(503, {}, '{"error": {"code": "draining"}}', "r").error_code == "draining"
    assert Answer(502, {}, "<html>", "r").error_code == ""
