"""Texts that a pattern takes, made up from it: regular expressions as PostgreSQL writes them, and LIKE.

Whether a text really satisfies a check is for the database to say; here it is only made likely, and
different each time: two users' rows of a table with a unique code must not become one.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["from_like", "from_regex", "patterns_in"]

_LETTERS = string.ascii_lowercase
_WORD = string.ascii_lowercase + string.digits
_ANY = _WORD + string.ascii_uppercase
_PRINTABLE = _ANY + "-_.@/ :#+"
_ESCAPES = {"d": string.digits, "w": _WORD, "s": " ", "D": _LETTERS, "W": "-", "S": _WORD}
_POSIX = {
    "alpha": _LETTERS + string.ascii_uppercase,
    "digit": string.digits,
    "alnum": _ANY,
    "upper": string.ascii_uppercase,
    "lower": _LETTERS,
    "space": " ",
    "punct": "-_.",
    "xdigit": "0123456789abcdef",
}
_MORE = 6
"""How many times an open repetition is repeated beyond its least."""
_OPERATOR = re.compile(r"(!?~~?\*?)\s*'((?:[^']|'')*)'")


def patterns_in(text: str) -> list[tuple[str, str]]:
    """The patterns that an expression matches something with: (``regex`` or ``like``, the pattern)."""
    return [
        ("like" if operator.startswith("~~") else "regex", pattern.replace("''", "'"))
        for operator, pattern in _OPERATOR.findall(text)
        if not operator.startswith("!")
    ]


def _chance() -> random.Random:
    """Another text each time, since one may be taken already; a planted row holds it."""
    return random.Random()  # noqa: S311 - no secret is made of it


def from_like(pattern: str) -> str:
    """A text that LIKE ``pattern`` takes."""
    chance = _chance()
    some = {"%": lambda: "".join(chance.choices(_WORD, k=6)), "_": lambda: chance.choice(_LETTERS)}
    return "".join(some[sign]() if sign in some else sign for sign in pattern.replace("\\", ""))


def from_regex(pattern: str) -> str:
    """A text that the regular expression takes; empty when it cannot be read."""
    maker = _Maker(re.sub(r"^(\(\?[a-z]+\)|\*\*\*[:=])", "", pattern), _chance())
    try:
        return maker.alternatives()
    except (IndexError, ValueError):
        return ""


@dataclass
class _Maker:
    """Reads ``pattern`` from ``at`` on, and makes up a text as it goes."""

    pattern: str
    chance: random.Random
    at: int = 0

    def alternatives(self) -> str:
        """One of the branches, up to the end or a closing parenthesis."""
        branches = [self._branch()]
        while self._next() == "|":
            self.at += 1
            branches.append(self._branch())
        return self.chance.choice(branches)

    def _next(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def _branch(self) -> str:
        made = ""
        while (sign := self._next()) and sign not in "|)":
            start = self.at
            unit = self._unit()
            end = self.at
            for count in range(self._times()):
                made += unit if count == 0 else self._again(start, end)
        return made

    def _again(self, start: int, end: int) -> str:
        """The same unit, made up anew."""
        return _Maker(self.pattern[start:end], self.chance)._unit()

    def _unit(self) -> str:
        sign = self._next()
        self.at += 1
        special: dict[str, Callable[[], str]] = {"(": self._group, "[": self._class, "\\": self._escape}
        if sign in special:
            return special[sign]()
        if sign in "^$":
            return ""
        return self.chance.choice(_LETTERS) if sign == "." else sign

    def _group(self) -> str:
        silent = False
        for opening in ("?:", "?=", "?!", "?<=", "?<!"):
            if self.pattern.startswith(opening, self.at):
                self.at += len(opening)
                silent = opening != "?:"  # looked at, not taken
                break
        made = self.alternatives()
        if self._next() != ")":
            raise ValueError("a parenthesis is not closed")
        self.at += 1
        return "" if silent else made

    def _escape(self) -> str:
        sign = self.pattern[self.at]
        self.at += 1
        if sign in _ESCAPES:
            return self.chance.choice(_ESCAPES[sign])
        return "" if sign in "AZmMyYbB" else {"t": "\t", "n": "\n"}.get(sign, sign)

    def _class(self) -> str:
        negated = self._next() == "^"
        self.at += negated
        signs = ""
        first = True
        while first or self._next() != "]":
            first = False
            signs += self._member()
        self.at += 1
        if negated:
            signs = "".join(sign for sign in _PRINTABLE if sign not in signs)
        return self.chance.choice(signs)

    def _member(self) -> str:
        if found := re.compile(r"\[:(\w+):\]").match(self.pattern, self.at):
            self.at = found.end()
            return _POSIX.get(found[1], _LETTERS)
        sign = self.pattern[self.at]
        self.at += 1
        if sign == "\\":
            escaped = self.pattern[self.at]
            self.at += 1
            return _ESCAPES.get(escaped, escaped)
        following = self.pattern[self.at : self.at + 2]
        if len(following) == 2 and following[0] == "-" and following[1] != "]":
            self.at += 2
            return "".join(chr(code) for code in range(ord(sign), ord(following[1]) + 1))
        return sign

    def _times(self) -> int:
        """How often the unit before is to be repeated."""
        least, most = 1, 1
        if (sign := self._next()) and sign in "*+?":
            self.at += 1
            least, most = {"*": (0, _MORE), "+": (1, 1 + _MORE), "?": (0, 1)}[sign]
        elif found := re.compile(r"\{(\d+)(,?)(\d*)\}").match(self.pattern, self.at):
            self.at = found.end()
            least = int(found[1])
            most = int(found[3]) if found[3] else least + _MORE if found[2] else least
        if self._next() == "?":
            self.at += 1
        return self.chance.randint(least, min(most, least + _MORE))
