"""`next build`: run once for a digest, kept as a directory that serves by itself."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import DeployError
from harness.providers.base import Progress
from harness.providers.local.node import Node
from harness.providers.local.supervisor import MARKER
from harness.waiting import wait_until

__all__ = ["Build", "make_build", "prune"]

_BUILD_SECONDS = 300.0
_NOISE = re.compile(r"^\s*(at |▲|✓|npm |\[|$)|telemetry|Network:", re.IGNORECASE)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")  # the compiler colours its errors whatever it is told
_TROUBLE = re.compile(r"error|failed|cannot|can't|not found|unexpected|ENOSPC", re.IGNORECASE)
_PHASES = (
    ("Creating an optimized", "compiling"),
    ("Compiled success", "compiled; collecting pages"),
    ("Generating static", "generating pages"),
    ("Finalizing", "finishing"),
)


@dataclass(frozen=True)
class Build:
    """A finished build: ``directory`` holds server.js and all that it needs."""

    directory: Path

    @property
    def complete(self) -> bool:
        """Whether it was finished; one that was interrupted never appears under this name."""
        return (self.directory / "build.json").is_file() and (self.directory / "server.js").is_file()


def make_build(
    web: Path, build: Build, node: Node, inlined: Mapping[str, str], *, log: Path, progress: Progress
) -> None:
    """Compile ``web`` with the variables ``inlined``, and put the result in place, whole or not at all.

    Builds of one checkout wait for each other: Next writes into web/.next.

    Raises:
        DeployError: when the compiler fails (shows its first errors) or the disk does.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    build.directory.parent.mkdir(parents=True, exist_ok=True)
    with _turn(web, progress) as lock:
        if build.complete:  # somebody else has made it while we waited
            return
        _compile(web, node, inlined, log, progress, lock=lock)
        try:
            _keep(web / ".next", web / "public", build, dict(inlined))
        except OSError as error:
            raise DeployError(
                "web", f"the build cannot be kept: {error}", "free some disk space"
            ) from error


@contextlib.contextmanager
def _turn(web: Path, progress: Progress) -> Iterator[int]:
    """Hold the lock of ``web``: the directory itself, since Next empties .next; yields its descriptor."""
    lock = os.open(web, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:

        def take() -> bool:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress("waiting for another build")
                return False
            return True

        wait_until("another build of the web app ends", take, seconds=_BUILD_SECONDS)
        yield lock
    finally:
        os.close(lock)


def _compile(
    web: Path, node: Node, inlined: Mapping[str, str], log: Path, progress: Progress, *, lock: int
) -> None:
    """Run the compiler. It inherits the lock: if this process is killed, the next one waits for it."""
    argv = [node.path, str(web / "node_modules/next/dist/bin/next"), "build"]
    names = ("PATH", "HOME", "LANG", "TMPDIR", MARKER)
    kept = {name: os.environ[name] for name in names if name in os.environ}
    env = {
        **kept,
        "NEXT_TELEMETRY_DISABLED": "1",
        "CI": "1",
        "NO_COLOR": "1",
        "NODE_ENV": "production",
        **inlined,
    }
    progress("compiling")
    with subprocess.Popen(
        argv,
        cwd=web,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        pass_fds=(lock,),
    ) as process:
        try:
            lines = _follow(process, log, progress)
            code = process.wait(timeout=_BUILD_SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):  # the usual case: all of it has ended
                os.killpg(process.pid, signal.SIGKILL)
    if code:
        shown = "".join(f"\n    | {line}" for line in first_errors(lines))
        raise DeployError("web", f"next build failed ({code}){shown}", f"read {log}")


def _follow(process: subprocess.Popen[str], log: Path, progress: Progress) -> list[str]:
    lines: list[str] = []
    with log.open("w", encoding="utf-8") as file:
        for line in process.stdout or ():
            file.write(line)
            lines.append(_COLOUR.sub("", line.rstrip()))
            for begins, phrase in _PHASES:
                if begins in line:
                    progress(phrase)
    return lines


def first_errors(lines: list[str], count: int = 8) -> list[str]:
    """The first lines of a build's output that say what is wrong."""
    telling = [line for line in lines if line.strip() and not _NOISE.search(line)]
    start = next((at for at, line in enumerate(telling) if _TROUBLE.search(line)), None)
    return telling[start : start + count] if start is not None else telling[-count:]


def _keep(made: Path, public: Path, build: Build, inlined: dict[str, str]) -> None:
    part = build.directory.with_name(f".{build.directory.name}.{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    shutil.move(made / "standalone", part)
    shutil.copytree(made / "static", part / ".next/static")
    if public.is_dir():
        shutil.copytree(public, part / "public")
    release = inlined.get("NEXT_PUBLIC_RELEASE", "")
    (part / "build.json").write_text(json.dumps({"release": release}), encoding="utf-8")
    shutil.rmtree(build.directory, ignore_errors=True)
    part.rename(build.directory)


def prune(folder: Path, keep: Path, most: int = 3) -> None:
    """Remove all but the newest ``most`` builds in ``folder``; never ``keep``."""
    builds = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in builds[most:]:
        if old != keep:
            shutil.rmtree(old, ignore_errors=True)
