"""Whether a function runs SQL that a text from outside becomes part of, read without a parser."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["runs_text"]

_QUOTES = re.compile(r"\b(?:quote_(?:literal|ident|nullable))\s*\((?:[^()]|\([^()]*\))*\)", re.I)
_CASTS = re.compile(r"\b\w+\s*::\s*(?:uuid|int\w*|bigint|smallint|numeric|date|boolean|regclass)\b", re.I)
_ASSIGNED = re.compile(r"(?<![\w.])(?:(\w+)\s+)?(\w+)\s*:=\s*([^;]*);", re.S)
_INTO = re.compile(r"\bselect\b([^;]*?)\binto\s+(?:strict\s+)?(\w+)\b", re.I | re.S)
_RUN = re.compile(r"\bexecute\b([^;]*);", re.I | re.S)


def runs_text(body: str, arguments: Sequence[str]) -> bool:
    """Whether EXECUTE runs something that an argument became part of without being quoted.

    Variables are followed: what is assigned from an argument is as foreign as the argument.
    """
    text = re.sub(r"--[^\n]*|/\*.*?\*/", " ", body, flags=re.S)
    foreign = {name for name in arguments if name} | {f"${n + 1}" for n in range(len(arguments))}
    sql: set[str] = set()
    for _ in range(4):  # what is built in steps
        for name, expression in _assignments(text):
            if _built(expression, foreign, sql):
                sql.add(name)
            elif _plain(expression, foreign):
                foreign.add(name)
    return any(_built(_head(run), foreign, sql, alone=True) for run in _RUN.findall(text))


def _assignments(text: str) -> list[tuple[str, str]]:
    # `name := …`, and in a declaration `name type := …`: either word may be the name
    found = [(name, given) for *names, given in _ASSIGNED.findall(text) for name in names if name]
    return found + [(name, expression) for expression, name in _INTO.findall(text)]


def _head(statement: str) -> str:
    """The statement without what follows USING: those are values, never SQL."""
    masked = re.sub(r"'(?:[^']|'')*'", lambda literal: "'" + "." * (len(literal[0]) - 2) + "'", statement)
    found = re.search(r"\busing\b", masked, re.I)
    return statement[: found.start()] if found else statement


def _plain(expression: str, foreign: set[str]) -> bool:
    """Whether an expression hands an argument on: trimmed, lowered, coalesced."""
    return bool(_outside(expression) & foreign) and "select" not in expression.lower()


def _outside(expression: str) -> set[str]:
    """The words of an expression that stand in no literal, and are neither quoted nor cast."""
    cleaned = _CASTS.sub(" ", _QUOTES.sub(" ", expression))
    return set(re.findall(r"\$\d+|\w+", re.sub(r"'(?:[^']|'')*'", " ' ", cleaned)))


def _built(expression: str, foreign: set[str], sql: set[str], *, alone: bool = False) -> bool:
    """Whether an expression joins a foreign text to SQL, or hands such SQL on."""
    words = _outside(expression)
    if words & sql:
        return True
    cleaned = _CASTS.sub(" ", _QUOTES.sub(" ", expression))
    formats = re.findall(r"\bformat\s*\(\s*'((?:[^']|'')*)'([^;]*)", cleaned, re.I | re.S)
    if formats:
        return any(_unquoted(shape, rest, foreign) for shape, rest in formats)
    if not words & foreign:
        return False
    joined = "||" in cleaned or re.search(
        r"\b(concat|concat_ws|replace|overlay|string_agg)\s*\(", cleaned, re.I
    )
    literal = re.search(
        r"'(?:[^']|'')*\b(select|insert|update|delete|where|order|from|call|set)\b", cleaned, re.I
    )
    if alone:
        return bool(joined) or len(words) <= 2
    return bool(joined and literal)


def _unquoted(shape: str, rest: str, foreign: set[str]) -> bool:
    """Whether a %s of a format takes a foreign text."""
    given = [part.strip() for part in rest.lstrip(" ,").split(",")]
    kinds = re.findall(r"%(?:(\d+)\$)?-?\d*([sIL])", shape)
    for index, (place, kind) in enumerate(kinds):
        at = int(place) - 1 if place else index
        if kind == "s" and at < len(given) and _outside(given[at]) & foreign:
            return True
    return False
