"""Files that are read as what they are: regular, of a known size, and reached through no symbolic link.

A link may point elsewhere tomorrow, and so may any directory on the way that is one. Every component is
opened from the one before it, so that nothing can be swapped between the look and the use.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from harness.errors import HarnessError

__all__ = ["NotPlain", "read_plain", "refuse_links"]

_DIRECTORY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class NotPlain(HarnessError):
    """What stands there is no file to rely on; says why, and what to do."""

    def __init__(self, path: Path, reason: str, hint: str = "") -> None:
        super().__init__(f"{path}: {reason}" + (f"; {hint}" if hint else ""))
        self.reason, self.hint = reason, hint


def read_plain(path: Path, largest: int, below: Path | None = None) -> bytes | None:
    """The bytes of a regular file; None when there is none.

    No component of ``path`` may be a symbolic link: none below ``below``, which is wherever its owner has
    put it; without ``below``, none at all.

    Raises:
        NotPlain: when one is, when it is no file, cannot be read, or is larger than ``largest`` bytes.
    """
    try:
        descriptor = _opened(path, below)
    except FileNotFoundError:
        return None
    except OSError as error:
        refuse_links(path, below)
        raise NotPlain(path, f"cannot be read: {error.strerror or type(error).__name__}") from None
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise NotPlain(path, "is a directory", "name a file")
        if not stat.S_ISREG(status.st_mode):
            raise NotPlain(path, "is not a file", "name a file")
        if status.st_size > largest:
            raise NotPlain(path, f"is larger than {_size(largest)}")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(largest + 1)
    finally:
        os.close(descriptor)


def refuse_links(path: Path, below: Path | None = None) -> None:
    """Look at every component of ``path``, below ``below``; what is not there is no link.

    Raises:
        NotPlain: naming the first that is a symbolic link.
    """
    start, parts = _parts(path, below)
    for number, part in enumerate(parts, 1):
        start /= part
        if start.is_symlink() and number == len(parts):
            raise NotPlain(path, "is a symbolic link", "name a file")
        if start.is_symlink():
            hint = "name the path without it (realpath shows it)"
            raise NotPlain(path, f"is reached through {start}, which is a symbolic link", hint)


def _parts(path: Path, below: Path | None) -> tuple[Path, tuple[str, ...]]:
    if below is not None:
        return below, path.relative_to(below).parts
    return Path(path.anchor or "."), path.parts[1:] if path.anchor else path.parts


def _opened(path: Path, below: Path | None) -> int:
    """The descriptor of ``path``, each component opened in the directory before it."""
    start, parts = _parts(path, below)
    directory = os.open(start, _DIRECTORY)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
            os.close(directory)
            directory = inner
        return os.open(parts[-1] if parts else ".", _FILE, dir_fd=directory)
    finally:
        os.close(directory)


def _size(count: int) -> str:
    mebi = 1024 * 1024
    return f"{count // mebi} MiB" if count >= mebi else f"{count // 1024} KiB"
