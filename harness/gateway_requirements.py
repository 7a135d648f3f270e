"""requirements-gateway.txt: what the gateway's image installs, out of requirements.txt.

The group `gateway` of pyproject.toml names the packages that the gateway uses; they and all that they need
on Linux are taken from requirements.txt with their hashes, so the image runs what the tests ran with.
"""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from harness.errors import HarnessError

__all__ = ["closure", "gateway_requirements", "locked"]

_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)
_IMAGE: dict[str, str] = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.11.0",
    "python_version": "3.11",
    "sys_platform": "linux",
}
"""The image, for environment markers."""


def gateway_requirements(root: Path) -> str:
    """The text of requirements-gateway.txt.

    Raises:
        HarnessError: when a package of the group is not locked or not installed.
    """
    wanted = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    names = wanted["dependency-groups"]["gateway"]
    blocks = locked((root / "requirements.txt").read_text(encoding="utf-8"))
    found = closure(names)
    if missing := sorted(found - blocks.keys()):
        raise HarnessError(f"requirements.txt does not lock {', '.join(missing)}, which the gateway needs")
    return "".join(blocks[name] for name in blocks if name in found)


def locked(text: str) -> dict[NormalizedName, str]:
    """Package: its lines, of a requirements file with hashes."""
    starts = [*_PINNED.finditer(text)]
    ends = [match.start() for match in starts[1:]] + [len(text)]
    return {canonicalize_name(m[1]): text[m.start() : end] for m, end in zip(starts, ends, strict=True)}


def closure(names: Iterable[str]) -> set[NormalizedName]:
    """``names`` and everything that they need in the image, as the installed packages say.

    Raises:
        HarnessError: when one of them is not installed here.
    """
    found: dict[NormalizedName, set[str]] = {}
    queue = [Requirement(name) for name in names]
    while queue:
        wanted = queue.pop()
        name = canonicalize_name(wanted.name)
        new = {"", *wanted.extras} - found.get(name, set())
        found.setdefault(name, set()).update(new)
        queue += [need for extra in new for need in _needs(name, {**_IMAGE, "extra": extra})]
    return set(found)


def _needs(name: str, environment: Mapping[str, str]) -> Iterator[Requirement]:
    try:
        declared = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        raise HarnessError(f"{name} is not installed: run `make setup`") from None
    for text in declared:
        need = Requirement(text)
        if need.marker is None or need.marker.evaluate(dict(environment)):
            yield need
