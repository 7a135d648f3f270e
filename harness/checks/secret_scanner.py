"""Secrets that nobody told us about, by their form: private keys, access tokens, passwords in addresses.

MongoDB's Kingfisher does it, in process and offline; docs/adr/0017 says why this one. What is published
with the base system and with packages from PyPI, and only looks like a secret, is listed here with the
reason.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import kingfisher_sdk

__all__ = ["PUBLISHED", "Scanner", "Suspicion"]

PUBLISHED: tuple[tuple[str, re.Pattern[str], str], ...] = (
    (
        "private-key",
        re.compile(r"usr/lib/[^/]+/libgnutls\.so\.30[0-9.]*"),
        "the keys of GnuTLS's own self-tests",
    ),
    (
        "generic-credential-uri",
        re.compile(
            r"opt/gateway/lib/python3\.\d+/site-packages/pydantic/(__pycache__/)?networks\.[a-z0-9.-]+"
        ),
        "examples of addresses in pydantic's documentation",
    ),
)
"""Rule, file and reason. Values of our own secrets are looked for in these files all the same."""

_CERTAIN = ("medium", "high")


@dataclass(frozen=True)
class Suspicion:
    """Something that has the form of a secret: the rule that it matches, and the line (never its value)."""

    rule: str
    line: int

    @property
    def name(self) -> str:
        """What it looks like."""
        return f"what looks like a secret ({self.rule})"

    def __str__(self) -> str:
        return f"{self.rule} in line {self.line}"


class Scanner:
    """Kingfisher's rules of at least medium confidence; compiled, they are kept in ``cache``."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache

    def in_text(self, text: str) -> Iterable[Suspicion]:
        """Every suspicion in ``text``."""
        return self._found(text.encode())

    def in_file(self, content: IO[bytes], name: str) -> Iterable[Suspicion]:
        """Every suspicion in the file ``name`` that is not known to be published."""
        known = tuple(rule for rule, path, _ in PUBLISHED if path.fullmatch(name.removeprefix("./")))
        return [seen for seen in self._found(content.read()) if seen.rule.partition(".")[2] not in known]

    def _found(self, data: bytes) -> Iterator[Suspicion]:
        if not data:
            return
        for finding in _engine(self._cache).scan(data):
            if finding.visible and str(finding.confidence) in _CERTAIN:
                yield Suspicion(str(finding.rule_id), int(finding.location["line"]))


@functools.cache
def _engine(directory: Path) -> kingfisher_sdk.Scanner:
    """Compiled when it is first needed, which takes seconds."""
    rules = kingfisher_sdk.Rules(confidence="medium", cache=True, cache_dir=directory)
    return kingfisher_sdk.Scanner(rules, redact=True)
