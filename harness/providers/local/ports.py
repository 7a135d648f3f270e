"""Who has a loopback port."""

from __future__ import annotations

import contextlib
import errno
import socket
from pathlib import Path

import psutil

from harness.errors import DeadlineExceeded, DeployError
from harness.providers.local.supervisor import MARKER
from harness.waiting import wait_until

__all__ = ["holder", "require_free"]


_ENDED = {psutil.CONN_TIME_WAIT, psutil.CONN_FIN_WAIT2}
_PASSING_SECONDS = 5.0
# Linux keeps the end that closed first for 60 s (TCP_TIMEWAIT_LEN), which no setting shortens.
_ENDED_SECONDS = 62.0


def is_taken(port: int) -> bool:
    """Whether a server cannot listen on the loopback ``port``: another does, or a connection uses it."""
    return _listens(port) or not _can_bind(port)


def _listens(port: int) -> bool:
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as probe:
            probe.settimeout(0.5)
            if probe.connect_ex((host, port)) == 0:
                return True
    return False


def _can_bind(port: int) -> bool:
    """As servers bind: what an earlier server's connections have left (TIME_WAIT) is not in their way.

    What a client's has left is, since Linux asks that both ends of the dispute have SO_REUSEADDR.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True


def holder(port: int) -> str:
    """The process that has ``port``, as far as this user may know."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return "a process of another user"
    mine = [one for one in connections if one.laddr and one.laddr[1:2] == (port,)]
    for connection in sorted(mine, key=lambda one: (not one.pid, one.status != psutil.CONN_LISTEN)):
        if connection.pid:
            return _of_process(connection.pid, connection.status)
        if connection.status in _ENDED:
            return "a connection that has ended, whose port the system keeps for a minute"
    return "a process of another user"


def _of_process(pid: int, status: str) -> str:
    try:
        process = psutil.Process(pid)
        who = f"pid {pid} ({process.name()}, user {process.username()}){_stack_of(process)}"
    except psutil.Error:
        who = f"pid {pid}, which has just ended"
    return who if status == psutil.CONN_LISTEN else f"a connection of {who}"


def _has_ended(port: int) -> bool:
    """Whether only connections that nobody has any more use ``port``: it becomes free by itself."""
    with contextlib.suppress(psutil.AccessDenied):
        found = [one for one in psutil.net_connections("tcp") if one.laddr and one.laddr[1:2] == (port,)]
        return bool(found) and all(one.status in _ENDED and not one.pid for one in found)
    return False


def _stack_of(process: psutil.Process) -> str:
    """Which checkout's stack ``process`` belongs to, if to one: `python3` alone tells nobody."""
    with contextlib.suppress(psutil.Error, OSError):
        if state := process.environ().get(MARKER):
            return f" of the stack {Path(state).name} in {Path(state).parent.parent}"
    return ""


def require_free(component: str, port: int, program: str) -> None:
    """Refuse to start on a port that somebody else holds.

    Systems give connections any port above 32768 (Linux), which includes those that Supabase has by custom:
    one that merely passes is waited for, 5 s; the rest of one that has ended, until the system frees it.

    Raises:
        DeployError: names the process that holds it, and what to do.
    """
    if not _becomes_free(port, _PASSING_SECONDS) and _has_ended(port):
        _becomes_free(port, _ENDED_SECONDS)
    if is_taken(port):
        todo = "try again in a minute" if _has_ended(port) else "stop that process"
        raise DeployError(
            component,
            f"port {port} is taken by {holder(port)}",
            f"{todo}, or give {program} another port (`{component}:` in the environment file)",
        )


def _becomes_free(port: int, seconds: float) -> bool:
    """Whether ``port`` is free within ``seconds``; a server on it is not waited for."""
    with contextlib.suppress(DeadlineExceeded):
        wait_until(f"port {port} to be free", lambda: _listens(port) or not is_taken(port), seconds=seconds)
        return not is_taken(port)
    return False
