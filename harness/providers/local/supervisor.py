"""The process manager (supervisord) of one local stack: its own instance, its own socket, its own files."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import xmlrpc.client
from pathlib import Path
from typing import Any

import psutil
from supervisor.xmlrpc import SupervisorTransport

from harness.errors import DeployError
from harness.waiting import wait_until

__all__ = ["MARKER", "Supervisor", "inherited"]

MARKER = "HARNESS_STATE"
"""Environment variable that every process of a stack carries; its value is the state directory."""

_LONGEST_SOCKET_PATH = 100  # sun_path holds 108 bytes, and supervisord appends a suffix while it binds

_CONFIGURATION = """\
[unix_http_server]
file={socket}
chmod=0700

[supervisord]
logfile={state}/logs/supervisord.log
logfile_maxbytes=5MB
logfile_backups=1
loglevel=info
pidfile={state}/supervisord.pid
childlogdir={state}/logs
nocleanup=true
silent=true

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[include]
files={programs}/*.conf
"""


class Supervisor:
    """Starts, finds and stops the supervisord of the state directory ``state``."""

    def __init__(self, state: Path) -> None:
        self.state = state.resolve()
        self.socket = self._socket_path()

    def call(self, method: str, *arguments: Any) -> Any:
        """Call ``method`` of supervisord's XML-RPC interface (a connection of its own: thread-safe).

        Raises:
            xmlrpc.client.Fault: when it refuses; OSError: when it does not answer.
        """
        transport = SupervisorTransport(serverurl=f"unix://{self.socket}")
        server = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        try:
            return getattr(server.supervisor, method)(*arguments)
        finally:
            transport.close()

    def running(self) -> bool:
        """Whether it answers."""
        try:
            return bool(self.call("getState")["statename"] == "RUNNING")
        except (OSError, xmlrpc.client.Error, xmlrpc.client.ProtocolError):
            return False

    def pid(self) -> int:
        """Its pid; 0 when it does not run."""
        return int(self.call("getPID")) if self.running() else 0

    def ensure(self) -> None:
        """Start it unless it runs.

        Raises:
            DeployError: when it does not come up; the message ends with its last log lines.
        """
        if self.running():
            return
        self.sweep()
        for name in ("logs", "programs"):
            (self.state / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        configuration = self.state / "supervisord.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                socket=_escape(self.socket),
                state=_escape(self.state),
                programs=_pattern(self.state / "programs"),
            )
        )
        self.socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.socket.unlink(missing_ok=True)
        started = subprocess.run(  # it leaves for the background by itself
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            cwd=self.state,
            env={**inherited(), MARKER: str(self.state)},
        )
        if started.returncode:
            said = (started.stdout + started.stderr).strip()[-500:]
            raise DeployError("local", f"supervisord ended with {started.returncode}: {said}")
        wait_until("the process manager", self.running, seconds=15)

    def shutdown(self, seconds: float = 30.0) -> list[str]:
        """Stop every program, then the process manager, then whatever still carries the marker.

        Returns the names of stray processes that had to be killed.
        """
        pid = self.pid()
        members = _session_of(pid)  # some servers overwrite their environment, and with it the marker
        if pid:
            process = psutil.Process(pid)
            self.call("shutdown")
            try:
                process.wait(timeout=seconds)
            except psutil.TimeoutExpired:
                process.kill()
                process.wait(timeout=5)
        strays = self.sweep()
        left = [member for member in members if member.is_running()]
        for member in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                strays.append(f"{member.name()} (pid {member.pid})")
                member.kill()
        psutil.wait_procs(left, timeout=5)
        self.socket.unlink(missing_ok=True)
        return strays

    def strays(self) -> list[psutil.Process]:
        """Processes of this stack that no living process manager looks after."""
        own = psutil.Process()
        keepers = {own.pid, self.pid()}  # this run and the process manager look after their descendants
        starters = {process.pid for process in own.parents()}
        return [
            process
            for process in psutil.process_iter()
            if process.pid not in starters and self._is_ours(process) and not _descends(process, keepers)
        ]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(MARKER) == str(self.state)
        except (psutil.Error, OSError):
            return False  # another user's, or gone: not one that we started

    def sweep(self) -> list[str]:
        """Stop strays (left behind by a ``kill -9``): politely, then for good. Returns their names."""
        strays = self.strays()
        names = []
        for process in strays:
            try:
                names.append(f"{process.name()} (pid {process.pid})")
                process.resume()
                process.send_signal(2)  # SIGINT: PostgreSQL's fast shutdown; the others end as well
            except psutil.NoSuchProcess:
                continue
        _, alive = psutil.wait_procs(strays, timeout=5)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):  # it has ended by itself
                process.kill()
        psutil.wait_procs(alive, timeout=5)
        return names

    def _socket_path(self) -> Path:
        """In the state directory, or in a private directory under /tmp when that path is too long."""
        direct = self.state / "supervisor.sock"
        if len(str(direct)) <= _LONGEST_SOCKET_PATH:
            return direct
        name = hashlib.sha256(str(self.state).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"harness-{os.getuid()}" / f"{name}.sock"


def _session_of(pid: int) -> list[psutil.Process]:
    """Everything in the session that supervisord, at ``pid``, leads; none when it shares ours."""
    if not pid or os.getsid(pid) == os.getsid(0):
        return []
    session, found = os.getsid(pid), []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError):
            if process.pid != pid and os.getsid(process.pid) == session:
                found.append(process)
    return found


def _descends(process: psutil.Process, keepers: set[int]) -> bool:
    """Whether ``process`` is one of ``keepers`` or below one; asked of itself: none comes too late."""
    try:
        return bool({process.pid, *(parent.pid for parent in process.parents())} & keepers)
    except psutil.Error:
        return True  # gone


def _escape(path: Path) -> str:
    return str(path).replace("%", "%%")


def _pattern(path: Path) -> str:
    """``path`` as a pattern of supervisord's, which ends at a blank: one is told by what it is not."""
    return re.sub(r"\s", "[!!-~]", glob.escape(_escape(path)))


def inherited() -> dict[str, str]:
    """What programs may inherit: enough to run, nothing that could carry a secret."""
    names = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")
    return {name: os.environ[name] for name in names if name in os.environ}
