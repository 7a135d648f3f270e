"""Where evidence is kept: a directory, or (harness.store_s3) a bucket. Objects are written once."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path
from typing import Protocol

from harness.attestation.strict_json import LARGEST
from harness.environment import Environment
from harness.errors import HarnessError
from harness.secrets import SecretStore

__all__ = ["LARGEST_REPORT", "AlreadyThere", "DirectoryStore", "Store", "open_store", "read_plain"]

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


def read_plain(path: Path, largest: int = LARGEST) -> bytes | None:
    """The bytes of a regular file; None when there is none.

    Raises:
        HarnessError: when it is a link (which may point elsewhere tomorrow), no file, or too large.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        link = path.is_symlink()
        raise HarnessError(
            f"{path}: {'is a symbolic link' if link else error.strerror}; name a file"
        ) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise HarnessError(f"{path}: is not a file")
        if status.st_size > largest:
            raise HarnessError(f"{path}: is larger than {largest // 1024 // 1024} MiB")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(largest + 1)
    finally:
        os.close(descriptor)


class DirectoryStore:
    """Implements :class:`Store`: one file an object."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, name: str, content: bytes) -> None:
        """Write a file that does not exist yet."""
        path = self._path(name)
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
        return read_plain(self._path(name), LARGEST_REPORT)

    def names(self, prefix: str) -> list[str]:
        """The names of the files."""
        base = self._directory / prefix.rpartition("/")[0]
        found = (
            path.relative_to(self._directory).as_posix() for path in base.rglob("*") if not path.is_dir()
        )
        return sorted(name for name in found if name.startswith(prefix) and _NAME.fullmatch(name))

    def delete(self, name: str) -> None:
        """Remove a file."""
        with contextlib.suppress(FileNotFoundError):
            self._path(name).unlink()

    def where(self, name: str) -> str:
        """Its path, as short as it can be said from here."""
        path = self._path(name)
        return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise HarnessError(f"{name!r} is no name of an object")
        return self._directory / name
