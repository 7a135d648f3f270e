"""Python packages for a machine without a package index: taken from this environment, as pip verified them.

What the harness runs with was installed by hash from requirements.txt; a machine of the same Python version
and architecture can run the very same files. So nothing is downloaded there, and nothing else can come.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import platform
import sys
import tarfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

__all__ = ["MISFIT", "archive", "closure", "digest", "runtime"]

MISFIT = "the packages are taken from here: they need the same Python version and architecture there"
RUNTIME_PROBE = (
    "import platform, sys; print(f'{sys.version_info.major}.{sys.version_info.minor}', platform.machine())"
)
"""Run by a machine's python3, this prints what :func:`runtime` says of the Python here."""


def runtime() -> str:
    """Version and architecture that packages are made for, such as `3.11 x86_64`."""
    return f"{sys.version_info.major}.{sys.version_info.minor} {platform.machine()}"


def closure(names: Sequence[str]) -> list[metadata.Distribution]:
    """The installed distributions ``names`` and everything that they require, by name.

    Raises:
        importlib.metadata.PackageNotFoundError: when one is not installed here.
    """
    found: dict[str, metadata.Distribution] = {}
    waiting = list(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in found:
            found[name] = metadata.distribution(name)
            waiting += [
                requirement.name
                for requirement in map(Requirement, found[name].requires or ())
                if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            ]
    return [found[name] for name in sorted(found)]


def digest(names: Sequence[str]) -> str:
    """What identifies the packages: names, versions and the Python that they are for; 16 digits."""
    lines = [f"{item.name} {item.version}" for item in closure(names)]
    return hashlib.sha256("\n".join([runtime(), *lines]).encode()).hexdigest()[:16]


def archive(names: Sequence[str], root: Path) -> bytes:
    """A gzipped tar of the packages' files, to be unpacked into one directory of PYTHONPATH.

    Kept in the cache of the repository at ``root``: to pack a hundred megabytes takes seconds.
    """
    kept = root / ".harness" / "cache" / "packages" / f"{digest(names)}.tar.gz"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_name(f".{kept.name}.{os.getpid()}")
        part.write_bytes(_packed(names))
        part.replace(kept)
    return kept.read_bytes()


def _packed(names: Sequence[str]) -> bytes:
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for name, path in _files(names):
            member = tarfile.TarInfo(name)
            member.size, member.mode = path.stat().st_size, 0o644
            with path.open("rb") as file:
                tar.addfile(member, file)
    return buffer.getvalue()


def _files(names: Sequence[str]) -> Iterator[tuple[str, Path]]:
    for item in closure(names):
        for file in sorted(item.files or ()):
            outside = file.is_absolute() or ".." in file.parts  # programs in bin/
            if not outside and "__pycache__" not in file.parts:
                yield str(file), Path(str(item.locate_file(file)))
