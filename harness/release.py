"""A release: everything that is deployed, each artefact by its digest, and the source that it came from."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.artefacts import IMAGE, TREE, Absent
from harness.attestation import strict_json
from harness.attestation.strict_json import Malformed
from harness.errors import HarnessError
from harness.migrations import migrations_in
from harness.provenance import Source, source

__all__ = ["Release", "schema_text"]

_DIGEST = "^sha256:[0-9a-f]{64}$"
_IMAGE = re.compile(r"(?:[^\s@]+@)?(sha256:[0-9a-f]{64})")
_NOT_BUILT = "no digest was given: harness release build --publish-for ENV, or --image NAME@sha256:…"


@dataclass(frozen=True)
class Release:
    """Two releases with the same artefacts and the same commit are one, whoever built them, when.

    ``artefacts`` is name: ``sha256:...``; ``missing`` is name: why it has no digest; ``migrations`` is the
    order in which they are applied (file name: ``sha256:...``).
    """

    artefacts: Mapping[str, str]
    source: Source = field(default_factory=Source)
    missing: Mapping[str, str] = field(default_factory=dict)
    migrations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def build(cls, root: Path, image: str = "") -> Release:
        """The release that the tree at ``root`` makes, with the gateway image ``image`` (NAME@sha256:...).

        The same tree gives the same release. Takes about 50 ms.

        Raises:
            HarnessError: when ``image`` names no digest.
        """
        artefacts, missing = {}, {}
        for name, digest in TREE.items():
            try:
                artefacts[name] = f"sha256:{digest(root)}"
            except Absent as absent:
                missing[name] = str(absent)
        if image:
            artefacts[IMAGE] = image_digest(image)
        else:
            missing[IMAGE] = _NOT_BUILT
        ordered = {
            m.path.name: f"sha256:{hashlib.sha256(m.path.read_bytes()).hexdigest()}"
            for m in migrations_in(root / "supabase" / "migrations")
            if m.path
        }
        return cls(dict(sorted(artefacts.items())), source(root), dict(sorted(missing.items())), ordered)

    @property
    def subjects(self) -> dict[str, str]:
        """What evidence about this release is about: every artefact, and the commit; name: digest."""
        commit = {"source": f"gitCommit:{self.source.commit}"} if self.source.commit else {}
        return {**self.artefacts, **commit}

    @property
    def digest(self) -> str:
        """sha256 over its subjects, its migrations in their order, what is missing, and a dirty tree."""
        lines = "".join(f"{name} {digest}\n" for name, digest in sorted(self.subjects.items()))
        lines += "".join(f"migration {file} {digest}\n" for file, digest in self.migrations.items())
        lines += "".join(f"missing {name} {reason}\n" for name, reason in sorted(self.missing.items()))
        lines += "dirty\n" if self.source.dirty else ""
        return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"

    @property
    def name(self) -> str:
        """A short name for people."""
        return f"release-{self.digest.removeprefix('sha256:')[:12]}"

    @property
    def image(self) -> str:
        """The digest of the gateway image; empty when the release has none."""
        return self.artefacts.get(IMAGE, "")

    def as_dict(self) -> dict[str, Any]:
        """The shape of release.json."""
        return {
            "schema": 3,
            "name": self.name,
            "digest": self.digest,
            "source": {
                "commit": self.source.commit,
                "dirty": self.source.dirty,
                "changed": list(self.source.changed),
            },
            "artefacts": dict(sorted(self.artefacts.items())),
            "missing": dict(sorted(self.missing.items())),
            "migrations": [{"file": file, "digest": digest} for file, digest in self.migrations.items()],
        }

    def write(self, path: Path) -> None:
        """Write release.json."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.as_dict(), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Release:
        """Read release.json.

        Raises:
            HarnessError: when it is none, or does not say what it is.
        """
        try:
            return cls.parse(path.read_bytes())
        except OSError as error:
            hint = "make it with: harness release build"
            raise HarnessError(f"{path}: cannot be read: {error.strerror} ({hint})") from None
        except Malformed as malformed:
            raise HarnessError(f"{path}: {malformed}") from None

    @classmethod
    def parse(cls, raw: bytes) -> Release:
        """The release that the text of a release.json describes.

        Raises:
            Malformed: when it is none, or its digest is not that of its artefacts.
        """
        found = strict_json.loads(raw)
        try:
            file = _File.model_validate_json(strict_json.dumps(found))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise Malformed(f"not a release: {where}: {first['msg'].lower()}") from None
        release = cls(
            file.artefacts,
            Source(file.source.commit, file.source.dirty, file.source.changed),
            file.missing,
            {entry.file: entry.digest for entry in file.migrations},
        )
        if release.as_dict() != found:
            raise Malformed(f"not the release that it says it is: its artefacts make {release.name}")
        return release

    def differences(self, other: Release) -> list[str]:
        """How ``other`` differs from this one; a line for each artefact."""
        names = sorted({*self.subjects, *other.subjects})
        lines = []
        for name in names:
            mine, theirs = self.subjects.get(name, "none"), other.subjects.get(name, "none")
            if mine != theirs:
                lines.append(f"{name} is {_short(theirs)} instead of {_short(mine)}")
        lines += self._other_lists(other)
        if self.source.dirty != other.source.dirty:
            changed = ", ".join((other if other.source.dirty else self).source.changed[:3])
            lines.append(
                f"the tree {'has' if other.source.dirty else 'had'} uncommitted changes: {changed}"
            )
        return lines

    def _other_lists(self, other: Release) -> list[str]:
        """How the lists beside the artefacts differ; they are what people are shown."""
        lines = []
        for file in sorted({*self.migrations, *other.migrations}):
            mine, theirs = self.migrations.get(file, "none"), other.migrations.get(file, "none")
            if mine != theirs:
                lines.append(f"migration {file} is {_short(theirs)} instead of {_short(mine)}")
        if not lines and list(self.migrations) != list(other.migrations):
            lines.append("the migrations are in another order")
        for name in sorted(self.missing.keys() & other.missing.keys()):
            if self.missing[name] != other.missing[name]:
                lines.append(f"{name} is missing: {other.missing[name]}, instead of {self.missing[name]}")
        return lines


def image_digest(image: str) -> str:
    """The digest in ``image``, which is ``NAME@sha256:...`` or the digest alone.

    Raises:
        HarnessError: when it names none: a tag may mean something else tomorrow.
    """
    match = _IMAGE.fullmatch(image)
    if not match:
        raise HarnessError(
            f"--image {image}: names no digest (NAME@sha256:… and 64 digits; a tag can move)"
        )
    return match[1]


def _short(digest: str) -> str:
    kind, separator, value = digest.partition(":")
    return f"{kind}:{value[:12]}" if separator else digest


Name = Annotated[str, Field(pattern="^[a-z][a-z0-9-]{0,60}$")]
Line = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]{0,1000}$")]
"""Text that people are shown: one line, which moves no cursor."""


_ONLY_THESE = Field(json_schema_extra={"additionalProperties": False})


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class _Source(_Strict):
    commit: Annotated[str, Field(pattern="^([0-9a-f]{40}|[0-9a-f]{64})?$")]
    """Commit of the gateway, the web app and everything else; empty outside a repository."""
    dirty: bool
    """Whether files differed from the commit."""
    changed: tuple[Line, ...]
    """Which."""


class _Migration(_Strict):
    file: Annotated[str, Field(pattern=r"^[0-9]{14}_[a-z0-9_]+\.sql$")]
    """Name of the file."""
    digest: Annotated[str, Field(pattern=_DIGEST)]
    """sha256 of its content."""


class _File(_Strict):
    """A release: what is deployed, each artefact by digest."""

    schema_version: Annotated[Literal[3], Field(alias="schema")]
    """Version of this format."""
    name: Annotated[str, Field(pattern="^release-[0-9a-f]{12}$")]
    """Its name for people: the start of its digest."""
    digest: Annotated[str, Field(pattern=_DIGEST)]
    """sha256 over its artefacts, its commit, its migrations and what is missing."""
    source: _Source
    """Where it came from."""
    artefacts: Annotated[dict[Name, Annotated[str, Field(pattern=_DIGEST)]], _ONLY_THESE]
    """Name: digest of every artefact."""
    missing: Annotated[dict[Name, Line], _ONLY_THESE]
    """Name of every artefact that has no digest, and why."""
    migrations: tuple[_Migration, ...]
    """The migrations, in the order in which they are applied."""


def schema_text() -> str:
    """The JSON schema of release.json, as it stands in docs/release.schema.json."""
    schema = _File.model_json_schema(by_alias=True)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "release.json"}
    return json.dumps({**schema, **head}, indent=1, sort_keys=True) + "\n"
