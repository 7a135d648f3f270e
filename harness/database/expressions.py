"""SQL expressions as PostgreSQL prints them back, read without a parser."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["bare", "calls", "closing", "outside", "split"]

_LITERAL = re.compile(r"'(?:[^']|'')*'")


def calls(text: str, name: str) -> Iterator[str]:
    """The calls of the function ``name`` in an expression, with their arguments."""
    for match in re.finditer(rf"(?:[\w\"]+\.)?\"?\b{re.escape(name)}\"?\(", text):
        depth = 0
        for index in range(match.end() - 1, len(text)):
            depth += (text[index] == "(") - (text[index] == ")")
            if depth == 0:
                yield text[match.start() : index + 1]
                break


def bare(text: str) -> str:
    """Without the parentheses around the whole."""
    while text.startswith("(") and closing(text) == len(text) - 1:
        text = text[1:-1].strip()
    return text


def outside(text: str) -> str:
    """What stands outside of quoted literals."""
    return _LITERAL.sub("''", text)


def closing(text: str) -> int:
    """Where the parenthesis is closed with which ``text`` begins; behind the text, when it is not."""
    depth, quoted = 0, False
    for index, sign in enumerate(text):
        if sign == "'":
            quoted = not quoted
        elif not quoted:
            depth += (sign in "([") - (sign in ")]")
            if depth == 0:
                return index
    return len(text)


def split(text: str, word: str) -> list[str]:
    """At ``word``, outside of parentheses and quotes."""
    parts, depth, quoted, start = [], 0, False, 0
    for index, sign in enumerate(text):
        if sign == "'":
            quoted = not quoted
        elif not quoted:
            depth += (sign in "([") - (sign in ")]")
            if depth == 0 and text.startswith(word, index):
                parts.append(text[start:index])
                start = index + len(word)
    return [*parts, text[start:]]
