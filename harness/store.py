"""Where evidence is kept: a directory, or (harness.store_s3) a bucket. Objects are written once."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Protocol

from harness.attestation.strict_json import LARGEST
from harness.environment import Environment
from harness.errors import HarnessError
from harness.plain_files import NotPlain, read_plain, refuse_links
from harness.secrets import SecretStore

__all__ = ["LARGEST_REPORT", "AlreadyThere", "DirectoryStore", "Store", "open_store"]

LARGEST_REPORT = 16 * LARGEST
"""Bytes of a report."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]*(/[A-Za-z0-9][A-Za-z0-9._@-]*)*")


class AlreadyThere(HarnessError):
    """An object of this name exists; it is never replaced."""


class Store(Protocol):
    """Named objects, each written once. Names are paths such as ``runs/staging/X.intoto.json``."""

    def put(self, name: str, content: bytes) -> None:
        """Write an object, whole or not at all. Raises AlreadyThere; of two at once, one succeeds."""
        ...

    def get(self, name: str) -> bytes | None:
        """The content of an object; None when there is none. Raises HarnessError when out of reach."""
        ...

    def names(self, prefix: str) -> list[str]:
        """The names that begin with ``prefix``, sorted."""
        ...

    def delete(self, name: str) -> None:
        """Remove an object, if it is there."""
        ...

    def where(self, name: str) -> str:
        """How a person finds the object."""
        ...


def open_store(environment: Environment, root: Path, secrets: SecretStore) -> Store:
    """The store of ``environment``; contacts nothing yet.

    Raises:
        HarnessError: when the extra that it needs is not installed, or a key is missing.
    """
    gate = environment.gate
    if gate.s3 is None:
        return DirectoryStore(root / gate.evidence)
    from harness.store_s3 import S3Bucket  # noqa: PLC0415 - an optional extra

    return S3Bucket(gate.s3, secrets.resolve(gate.s3.access_key), secrets.resolve(gate.s3.secret_key))


class DirectoryStore:
    """Implements :class:`Store`: one file an object."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, name: str, content: bytes) -> None:
        """Write a file that does not exist yet."""
        path = self._path(name)
        refuse_links(path.parent, self._directory)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
        part.write_bytes(content)
        try:
            os.link(part, path)  # never replaces: of two that race, one gets an error
        except FileExistsError:
            raise AlreadyThere(f"{path} exists already; evidence is never replaced") from None
        finally:
            part.unlink()

    def get(self, name: str) -> bytes | None:
        """The content of a file."""
        return read_plain(self._path(name), LARGEST_REPORT, below=self._directory)

    def names(self, prefix: str) -> list[str]:
        """The names of the files. A directory that is a link could hide some: it is refused."""
        base = self._directory / prefix.rpartition("/")[0]
        refuse_links(base, self._directory)
        found = []
        for path in base.rglob("*"):
            if not path.is_dir():
                found.append(path.relative_to(self._directory).as_posix())
            elif path.is_symlink():
                raise NotPlain(path, "is a symbolic link", "evidence is kept in one directory")
        return sorted(name for name in found if name.startswith(prefix) and _NAME.fullmatch(name))

    def delete(self, name: str) -> None:
        """Remove a file."""
        path = self._path(name)
        refuse_links(path.parent, self._directory)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()

    def where(self, name: str) -> str:
        """Its path, as short as it can be said from here."""
        path = self._path(name)
        return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise HarnessError(f"{name!r} is no name of an object")
        return self._directory / name
