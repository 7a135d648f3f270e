"""The programs of a local stack: started, replaced, observed, stopped, and hurt on purpose."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import signal
import sys
import threading
import time
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from harness.errors import DeployError
from harness.hosts.place import Place
from harness.providers.base import Process, Program, Progress
from harness.providers.local import launch
from harness.providers.local.here import Here
from harness.providers.local.ports import require_free
from harness.providers.local.supervisor import MARKER, Supervisor, inherited
from harness.waiting import wait_until

__all__ = ["LocalProcesses"]

_PROGRAM = """\
[program:{name}]
command={command}
autostart=false
autorestart=true
startsecs=1
startretries=3
stopsignal={stop_signal}
stopwaitsecs={stop_seconds:.0f}
stopasgroup=true
killasgroup=true
redirect_stderr=true
stdout_logfile={log}
stdout_logfile_maxbytes=50MB
stdout_logfile_backups=1
"""
_DEAD = ("FATAL", "EXITED", "BACKOFF", "STOPPED")


class LocalProcesses:
    """Implements :class:`harness.stack.Processes` with supervisord; the files are under ``state``."""

    def __init__(self, state: Path) -> None:
        self.state = state.resolve()
        self.supervisor = Supervisor(self.state)
        self._lock = threading.RLock()
        self._programs: dict[str, Program] = {}

    # --- deploying -------------------------------------------------------------------------------

    def apply(self, program: Program, progress: Progress = lambda phase: None) -> bool:
        """Start ``program``, or replace it when its digest changed; wait until it is ready.

        ``progress`` hears of it only when there is something to start. Returns whether there was.

        Raises:
            DeployError: when its port is taken, or it does not become ready in ``ready_seconds``.
        """
        self._programs[program.name] = program
        if self.is_current(program):
            return False
        progress(f"starting {program.name}")
        with self._lock:
            self.supervisor.ensure()
            self._drop(program.name)
            self._write(program)
            for port in program.ports:
                require_free(program.component, port, program.name)
            self.supervisor.call("reloadConfig")
            self.supervisor.call("addProcessGroup", program.name)
            self.supervisor.call("startProcess", program.name, False)
        self._await_ready(program)
        return True

    def is_current(self, program: Program) -> bool:
        """Whether exactly this program runs and is ready."""
        return self.in_use(program.name) == digest_of(program) and program.ready()

    def in_use(self, name: str) -> str:
        """What identifies the program ``name`` as it was started; empty when it does not run."""
        try:
            started = str(json.loads(self._spec(name).read_text())["digest"])
        except (OSError, ValueError, KeyError):
            return ""
        return started if self.pid(name) > 0 else ""

    def remove(self, name: str) -> None:
        """Stop the program ``name`` and forget it; nothing happens when there is none."""
        with self._lock:
            if self.supervisor.running():
                self._drop(name)
            self._spec(name).unlink(missing_ok=True)
            (self.state / "programs" / f"{name}.conf").unlink(missing_ok=True)

    def shutdown(self) -> list[str]:
        """Stop everything; returns the stray processes that had to be killed."""
        for process in self.programs():
            self._signal_tree(process.pid, signal.SIGCONT)
        return self.supervisor.shutdown()

    # --- observing -------------------------------------------------------------------------------

    def programs(self) -> list[Process]:
        """Every program under the process manager."""
        if not self.supervisor.running():
            return []
        return [
            Process(
                info["name"],
                info["statename"],
                info["pid"],
                float(info["now"] - info["start"]) if info["pid"] else 0.0,
                restarts=True,
            )
            for info in self.supervisor.call("getAllProcessInfo")
        ]

    def pid(self, program: str) -> int:
        """The pid of ``program``; 0 when it is not running."""
        info = self._info(program)
        return int(info["pid"]) if info and info["statename"] in ("RUNNING", "STARTING") else 0

    def place(self, program: str) -> Place:
        """This machine: every local program runs on it."""
        return Here()

    def instances(self, program: str) -> list[tuple[Place, int]]:
        """This machine alone, with the program's pid."""
        return [(Here(), self.pid(program))]

    def log_path(self, program: str) -> Path:
        """The file to which ``program`` logs."""
        return self.state / "logs" / f"{program}.log"

    def lines(self, component: str, since: float = 0.0) -> list[str]:
        """Lines that the program ``component`` has logged after the mark ``since``."""
        path = self.log_path(component)
        if not path.exists():
            return []
        start = int(since) if since <= path.stat().st_size else 0  # smaller: the log was rotated
        with path.open("rb") as log:
            log.seek(start)
            return log.read().decode("utf-8", "replace").splitlines()

    def mark(self, component: str) -> float:
        """The present end of the log of ``component``."""
        path = self.log_path(component)
        return float(path.stat().st_size) if path.exists() else 0.0

    # --- hurting and healing ---------------------------------------------------------------------

    def stop(self, program: str) -> None:
        """Stop ``program``; it stays stopped."""
        self._signal_tree(self.pid(program), signal.SIGCONT)
        with contextlib.suppress(xmlrpc.client.Fault):  # NOT_RUNNING
            self.supervisor.call("stopProcess", program)

    def start(self, program: str) -> None:
        """Start ``program`` and wait until it is ready."""
        if self.pid(program) == 0:
            with contextlib.suppress(xmlrpc.client.Fault):  # ALREADY_STARTED: autorestart was faster
                self.supervisor.call("startProcess", program, False)
        if program in self._programs:
            self._await_ready(self._programs[program])

    def restart(self, program: str) -> None:
        """Stop, then start."""
        self.stop(program)
        self.start(program)

    def kill(self, program: str) -> int:
        """SIGKILL the main process of ``program``; returns the pid it had."""
        pid = self.pid(program)
        if pid:
            os.kill(pid, signal.SIGKILL)
        return pid

    @contextlib.contextmanager
    def stopped(self, program: str) -> Iterator[None]:
        """Stopped inside the block; started and ready again after it, whatever happens in it."""
        self.stop(program)
        try:
            yield
        finally:
            self.start(program)

    @contextlib.contextmanager
    def paused(self, program: str) -> Iterator[None]:
        """Its whole process tree under SIGSTOP inside the block, continued after it."""
        pid = self.pid(program)
        self._signal_tree(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal_tree(pid, signal.SIGCONT)

    # --- inside ----------------------------------------------------------------------------------

    def _info(self, program: str) -> dict[str, Any] | None:
        try:
            info: dict[str, Any] = self.supervisor.call("getProcessInfo", program)
        except (OSError, xmlrpc.client.Error):
            return None
        return info

    def _drop(self, name: str) -> None:
        if self._info(name) is None:
            return
        self.stop(name)
        with contextlib.suppress(xmlrpc.client.Fault):  # BAD_NAME: it was never added
            self.supervisor.call("removeProcessGroup", name)

    def _spec(self, name: str) -> Path:
        return self.state / "programs" / f"{name}.json"

    def _write(self, program: Program) -> None:
        """The specification (secrets inside: readable by its owner alone) and supervisord's section."""
        spec = self._spec(program.name)
        private = os.open(spec, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(private, "w") as file:
            json.dump(_specification(program, self.state), file)
        command = [sys.executable, "-I", "-S", launch.__file__, str(spec)]
        section = _PROGRAM.format(
            name=program.name,
            command=shlex.join(command).replace("%", "%%"),
            log=str(self.log_path(program.name)).replace("%", "%%"),
            stop_signal=program.stop_signal,
            stop_seconds=program.stop_seconds,
        )
        (self.state / "programs" / f"{program.name}.conf").write_text(section)

    def _await_ready(self, program: Program) -> None:
        started = time.monotonic()

        def probe() -> bool:
            info = self._info(program.name)
            state = info["statename"] if info else "UNKNOWN"
            if state == "FATAL" or (state in _DEAD and time.monotonic() - started > 10):
                what = f"{program.name} does not stay up ({state})"
                raise DeployError(program.component, what, self._tail(program))
            return self.pid(program.name) > 0 and program.ready()

        try:
            wait_until(f"{program.name} ready", probe, seconds=program.ready_seconds, longest_pause=0.1)
        except Exception as error:
            if isinstance(error, DeployError):
                raise
            raise DeployError(program.component, str(error), self._tail(program)) from error

    def _tail(self, program: Program) -> str:
        lines = [line for line in self.lines(program.name)[-8:] if line.strip()]
        return f"read {self.log_path(program.name)}" + "".join(f"\n    | {line}" for line in lines)

    @staticmethod
    def _signal_tree(pid: int, number: signal.Signals) -> None:
        if not pid:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            for member in [process, *process.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.send_signal(number)


def _specification(program: Program, state: Path) -> dict[str, Any]:
    return {
        "argv": [str(part) for part in program.argv],
        "env": {**inherited(), **program.env, MARKER: str(state)},
        "cwd": str(program.cwd) if program.cwd else "",
        "user": program.user or "",
        "stop_signal": program.stop_signal,
        "digest": digest_of(program),
    }


def digest_of(program: Program) -> str:
    """What identifies a program: its own digest, arguments, environment, user and directory."""
    parts = [program.digest, *map(str, program.argv), str(program.cwd), str(program.user)]
    parts += [f"{key}={value}" for key, value in sorted(program.env.items())]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
