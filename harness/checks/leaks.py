"""Finding secrets where they must not be: in logs, metrics, images, commits; in any encoding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO

import ahocorasick_rs

from harness.environment.explain import dotted, secret_fields
from harness.secrets import Secret, encodings
from harness.stack import Stack

__all__ = ["Hit", "Needles", "declared_secrets"]

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Hit:
    """Something that must not be there: its name (never its value), the form it has, where it begins."""

    name: str
    form: str
    offset: int

    def __str__(self) -> str:
        return f"{self.name} ({self.form})"


class Needles:
    """Values to look for, by name, in every encoding: plain, URL-encoded, hexadecimal, base64.

    Values of fewer than six characters are left out: they turn up by chance.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self._forms: dict[bytes, tuple[str, str]] = {}
        for name, value in values.items():
            for form in encodings(value):
                kind = "plain" if form == value else "encoded"
                self._forms.setdefault(form.encode(), (name, kind))
        self._names = tuple(self._forms.values())
        self._longest = max(map(len, self._forms), default=1)
        longest = ahocorasick_rs.MatchKind.LeftmostLongest
        self._search = ahocorasick_rs.BytesAhoCorasick(list(self._forms), matchkind=longest)

    def in_bytes(self, data: bytes) -> list[Hit]:
        """Every hit in ``data``, which is read once however many values are looked for."""
        found = self._search.find_matches_as_indexes(data) if self._forms else ()
        return [Hit(*self._names[form], start) for form, start, _ in found]

    def in_text(self, text: str) -> list[Hit]:
        """Every hit in ``text``."""
        return self.in_bytes(text.encode())

    def in_stream(self, stream: IO[bytes]) -> Iterator[Hit]:
        """Every hit in ``stream``, read piece by piece; the pieces overlap, so nothing falls between."""
        kept, start = b"", 0
        while piece := stream.read(_CHUNK):
            data = kept + piece
            overlap = min(self._longest - 1, len(data))
            final = len(data) - overlap
            for hit in self.in_bytes(data):
                if hit.offset < final:
                    yield Hit(hit.name, hit.form, start + hit.offset)
            kept, start = data[final:], start + final
        yield from (Hit(hit.name, hit.form, start + hit.offset) for hit in self.in_bytes(kept))


def declared_secrets(stack: Stack, without: Iterable[str] = ("supabase.anon_key",)) -> dict[str, str]:
    """Place in the environment file: value, of every secret of the environment; the public key is none.

    Raises:
        ConfigurationError: when one cannot be resolved.
    """
    found: dict[str, Secret] = {
        dotted(path): stack.secret(reference)
        for path, reference in secret_fields(stack.environment)
        if dotted(path) not in without
    }
    if stack.identities_source is not None:
        found["the service role key"] = stack.identities.service_role_key()
    return {name: secret.reveal() for name, secret in found.items()}
