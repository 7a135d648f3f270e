"""This machine, as checks look at it: :class:`harness.hosts.place.Place` by psutil."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import psutil

from harness.hosts.place import DELETED, SeenProcess

__all__ = ["Here"]

_GONE = (psutil.NoSuchProcess, psutil.ZombieProcess)


class Here:
    """The machine that the harness runs on."""

    machine = ""

    def processes(self) -> list[SeenProcess]:
        """Every process of the machine."""
        return [
            SeenProcess(
                process.info["pid"],
                process.info["ppid"] or 0,
                process.info["name"] or "",
                tuple(process.info["cmdline"] or ()),
            )
            for process in psutil.process_iter(["pid", "ppid", "name", "cmdline"])
        ]

    def environments(self, pids: Iterable[int]) -> Mapping[int, str]:
        """The environment of each process that still exists."""
        found: dict[int, str] = {}
        for pid in pids:
            try:
                variables = psutil.Process(pid).environ()
            except _GONE:
                continue
            found[pid] = "\0".join(f"{name}={value}" for name, value in variables.items())
        return found

    def mapped(self, pids: Iterable[int], endings: Sequence[str]) -> Mapping[str, str]:
        """sha256 of every file with one of ``endings`` mapped into the processes."""
        paths: set[str] = set()
        for pid in pids:
            try:
                paths |= {region.path for region in psutil.Process(pid).memory_maps()}
            except _GONE:
                continue
        wanted = {path for path in paths if path.removesuffix(" (deleted)").endswith(tuple(endings))}
        return {path: DELETED if path.endswith(" (deleted)") else _sha256(path) for path in wanted}

    def sha256(self, paths: Iterable[str]) -> Mapping[str, str]:
        """sha256 of each file; those that cannot be read are left out."""
        return {path: _sha256(path) for path in paths if Path(path).is_file()}

    def read(self, path: str) -> bytes:
        """The content of a file."""
        return Path(path).read_bytes()


def _sha256(path: str) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
