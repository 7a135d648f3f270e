"""JSON from somebody who may wish us ill: no duplicate keys, no floats, no depth, no megabytes.

Two parsers that disagree about one text are how a signed statement comes to mean two things, so everything
that they are known to disagree about is refused.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

__all__ = ["DEEPEST", "LARGEST", "Malformed", "dumps", "loads"]

LARGEST = 4 * 1024 * 1024
"""Bytes; evidence of 500 checks has about 100 KB."""
DEEPEST = 16
"""Levels of objects and lists; a statement has seven."""
_LARGEST_INT = 2**53
"""Beyond it, parsers that keep numbers as doubles disagree with ours."""
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
"""Only an escape can write one: UTF-8 has none."""


class Malformed(ValueError):
    """The text is not what it should be; says what and, where that is known, where."""


def loads(raw: bytes) -> Any:
    """The value of the JSON text ``raw``.

    Raises:
        Malformed: when it is no JSON, or JSON that another parser may read differently.
    """
    if len(raw) > LARGEST:
        raise Malformed(f"is larger than {LARGEST // 1024 // 1024} MiB")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"is not UTF-8 at byte {error.start}") from None
    _refuse_depth(text)
    try:
        found = json.loads(
            text, object_pairs_hook=_object, parse_float=_float, parse_int=_int, parse_constant=_float
        )
    except json.JSONDecodeError as error:
        raise Malformed(f"is not JSON: {error.msg}, line {error.lineno} column {error.colno}") from None
    if _SURROGATE.search(text):
        _refuse_half_characters(found)
    return found


def dumps(value: Any) -> bytes:
    """``value`` as text that is the same for the same value: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _refuse_depth(text: str) -> None:
    """Before the parser, which would recurse: brackets outside of strings, counted."""
    depth, in_string, escaped = 0, False, False
    for character in text:
        if in_string:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                in_string = False
        elif character == '"':
            in_string = True
        elif character in "[{":
            depth += 1
            if depth > DEEPEST:
                raise Malformed(f"is nested more than {DEEPEST} levels deep")
        elif character in "]}":
            depth -= 1


def _refuse_half_characters(value: Any) -> None:
    """Half of a pair of surrogates is no character: no other text could ever say the same."""
    try:
        dumps(value)
    except UnicodeEncodeError:
        raise Malformed("has half of a pair of surrogates, which is no character") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise Malformed(f"has the key {key[:80]!r} twice")
        found[key] = value
    return found


def _float(text: str) -> NoReturn:
    raise Malformed(f"has the number {text[:40]}: only whole numbers are known here")


def _int(text: str) -> int:
    if len(text) > len(str(_LARGEST_INT)) + 1 or abs(int(text)) > _LARGEST_INT:
        raise Malformed(f"has the number {text[:40]}, which parsers read differently")
    return int(text)
