"""What is deployed: every component by the digest of what was declared, and the commit it came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.provenance import revision
from harness.providers.base import Plan

__all__ = ["Release"]

SCHEMA = 1


@dataclass(frozen=True)
class Release:
    """A release is its components. Two with the same digests are the same, whoever built them, when.

    ``commit`` is empty outside a repository; ``dirty`` says that files differed from it.
    """

    components: Mapping[str, str]
    commit: str = ""
    dirty: bool = False

    @classmethod
    def of(cls, plans: Iterable[Plan], root: Path) -> Release:
        """The release that deploying ``plans`` from the repository at ``root`` would make."""
        commit, changed, _ = revision(root).partition("+")
        components = {plan.component: plan.digest for plan in plans}
        return cls(dict(sorted(components.items())), commit, bool(changed))

    @property
    def digest(self) -> str:
        """sha256 over the components and their digests: what an approval and an attestation name."""
        lines = "".join(f"{name} {digest}\n" for name, digest in sorted(self.components.items()))
        return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"

    @property
    def name(self) -> str:
        """A short name for people."""
        return f"release-{self.digest.removeprefix('sha256:')[:12]}"

    def as_dict(self) -> dict[str, Any]:
        """The shape of release.json."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "digest": self.digest,
            "commit": self.commit,
            "dirty": self.dirty,
            "components": dict(sorted(self.components.items())),
        }

    def write(self, path: Path) -> None:
        """Write release.json."""
        path.write_text(json.dumps(self.as_dict(), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Release:
        """Read release.json.

        Raises:
            HarnessError: when it is none, or its digest is not that of its components.
        """
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            release = cls(dict(found["components"]), str(found["commit"]), found["dirty"] is True)
            known = found["schema"] == SCHEMA
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise HarnessError(f"{path}: not a release: {type(error).__name__}: {error}") from error
        if not known or release.as_dict() != found:
            raise HarnessError(f"{path}: not the release that it says it is")
        return release
