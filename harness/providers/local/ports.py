"""Who has a loopback port."""

from __future__ import annotations

import contextlib
import errno
import socket

import psutil

from harness.errors import DeadlineExceeded, DeployError
from harness.waiting import wait_until

__all__ = ["holder", "require_free"]


_PASSING_SECONDS = 5.0


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
    """As servers bind, so a connection that has ended (TIME_WAIT) is not in their way."""
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
    mine = [one for one in connections if one.laddr and one.laddr[1:2] == (port,) and one.pid]
    for connection in sorted(mine, key=lambda one: one.status != psutil.CONN_LISTEN):
        process = psutil.Process(connection.pid)
        who = f"pid {process.pid} ({process.name()}, user {process.username()})"
        return who if connection.status == psutil.CONN_LISTEN else f"a connection of {who}"
    return "a process of another user"


def require_free(component: str, port: int, program: str) -> None:
    """Refuse to start on a port that somebody else holds.

    Systems give connections any port above 32768 (Linux), which includes those that Supabase has by custom:
    one that merely passes is waited for, 5 s.

    Raises:
        DeployError: names the process that holds it, and what to do.
    """
    with contextlib.suppress(DeadlineExceeded):
        wait_until(
            f"port {port} to be free",
            lambda: _listens(port) or not is_taken(port),
            seconds=_PASSING_SECONDS,
        )
    if is_taken(port):
        raise DeployError(
            component,
            f"port {port} is taken by {holder(port)}",
            f"stop that process, or give {program} another port (`{component}:` in the environment file)",
        )
