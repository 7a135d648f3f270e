"""The machine that a program runs on, as checks look at it: its processes, and the files that they use.

One protocol, so that a check asks the same question of a program under this machine's process manager and
of one under systemd on the other side of an ssh connection.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from harness.hosts.ssh import Remote

__all__ = ["DELETED", "Place", "SeenProcess", "There", "descendants"]

DELETED = "a file that was replaced or deleted after it was loaded"
"""What stands for the sha256 of a file that is mapped and no longer there."""


@dataclass(frozen=True)
class SeenProcess:
    """One process. ``arguments`` is empty for one of the kernel's."""

    pid: int
    parent: int
    name: str
    arguments: tuple[str, ...]


class Place(Protocol):
    """A machine that can be looked into."""

    @property
    def machine(self) -> str:
        """What people call it; empty: this machine."""
        ...

    def processes(self) -> list[SeenProcess]:
        """Every process of the machine."""
        ...

    def environments(self, pids: Iterable[int]) -> Mapping[int, str]:
        """The environment of each process that still exists: NAME=VALUE, parted by NUL."""
        ...

    def mapped(self, pids: Iterable[int], endings: Sequence[str]) -> Mapping[str, str]:
        """sha256 (or :data:`DELETED`) of every file with one of ``endings`` mapped into the processes."""
        ...

    def sha256(self, paths: Iterable[str]) -> Mapping[str, str]:
        """sha256 of each file; those that cannot be read are left out."""
        ...

    def read(self, path: str) -> bytes:
        """The content of a file.

        Raises:
            OSError, CommandFailed: when it cannot be read.
        """
        ...


def descendants(processes: Iterable[SeenProcess], pid: int) -> list[SeenProcess]:
    """The process ``pid`` and everything that it has started, if it exists."""
    found: list[SeenProcess] = []
    listed = sorted(processes, key=lambda process: process.pid)
    waiting = [process for process in listed if pid and process.pid == pid]
    while waiting:
        process = waiting.pop(0)
        found.append(process)
        waiting += [child for child in listed if child.parent == process.pid and child not in found]
    return found


# Read by the machine's own python3: one round trip, whatever is asked. Nothing is written there.
_PRELUDE = r"""
import hashlib, json, os, sys
def text(data): return data.decode("utf-8", "backslashreplace")
def read(path):
    try:
        with open(path, "rb") as file: return file.read()
    except OSError: return b""
def digest(path):
    sum = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20): sum.update(block)
    return sum.hexdigest()
"""
_PROCESSES = r"""
def one(pid):
    status = read(f"/proc/{pid}/stat")
    if not status: return None
    name, _, rest = text(status).partition("(")[2].rpartition(")")
    return [int(pid), int(rest.split()[1]), name, text(read(f"/proc/{pid}/cmdline")).split("\0")[:-1]]
found = [one(pid) for pid in os.listdir("/proc") if pid.isdigit() and int(pid) != os.getpid()]
print(json.dumps([process for process in found if process]))
"""
_ENVIRONMENTS = r"""
there = [pid for pid in asked if os.path.isdir(f"/proc/{pid}")]
print(json.dumps({pid: text(read(f"/proc/{pid}/environ")) for pid in there}))
"""
_MAPPED = r"""
paths = set()
for pid in asked["pids"]:
    for line in text(read(f"/proc/{pid}/maps")).splitlines():
        path = " ".join(line.split(" ")[5:]).strip()
        if path.removesuffix(" (deleted)").endswith(tuple(asked["endings"])): paths.add(path)
gone = [path for path in paths if path.endswith(" (deleted)")]
print(json.dumps({path: asked["deleted"] if path in gone else digest(path) for path in paths}))
"""
_SHA256 = r"""
print(json.dumps({path: digest(path) for path in asked if os.path.isfile(path)}))
"""


@dataclass(frozen=True)
class There:
    """A machine on the other side of an ssh connection. Each question is one round trip."""

    remote: Remote
    machine: str

    def processes(self) -> list[SeenProcess]:
        """Every process of the machine."""
        return [
            SeenProcess(pid, parent, name, tuple(arguments))
            for pid, parent, name, arguments in self._ask(_PROCESSES, None)
        ]

    def environments(self, pids: Iterable[int]) -> Mapping[int, str]:
        """The environment of each process that still exists."""
        return {int(pid): text for pid, text in self._ask(_ENVIRONMENTS, sorted(pids)).items()}

    def mapped(self, pids: Iterable[int], endings: Sequence[str]) -> Mapping[str, str]:
        """sha256 of every file with one of ``endings`` mapped into the processes."""
        found: dict[str, str] = self._ask(
            _MAPPED, {"pids": sorted(pids), "endings": list(endings), "deleted": DELETED}
        )
        return found

    def sha256(self, paths: Iterable[str]) -> Mapping[str, str]:
        """sha256 of each file; those that cannot be read are left out."""
        found: dict[str, str] = self._ask(_SHA256, sorted(paths))
        return found

    def read(self, path: str) -> bytes:
        """The content of a file."""
        return self.remote.run(self.machine, ["cat", "--", path], sudo=True).require().stdout

    def _ask(self, question: str, asked: Any) -> Any:
        program = f"{_PRELUDE}asked = json.loads({json.dumps(json.dumps(asked))})\n{question}"
        argv = ["python3", "-I", "-"]
        done = self.remote.run(self.machine, argv, stdin=program.encode(), sudo=True, seconds=60.0)
        return json.loads(done.require().stdout)
