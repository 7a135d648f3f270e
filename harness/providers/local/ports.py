"""Who holds a loopback port."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import psutil

from harness.errors import DeployError
from harness.providers.local.supervisor import MARKER

__all__ = ["holder", "require_free"]


def is_taken(port: int) -> bool:
    """Whether something listens on the loopback ``port``."""
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as probe:
            probe.settimeout(0.5)
            if probe.connect_ex((host, port)) == 0:
                return True
    return False


def holder(port: int) -> str:
    """The process that listens on ``port``, as far as this user may know."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return "a process of another user"
    for connection in connections:
        listens = connection.status == psutil.CONN_LISTEN and connection.laddr
        if listens and connection.laddr[1:2] == (port,) and connection.pid:
            process = psutil.Process(connection.pid)
            return f"pid {process.pid} ({process.name()}, user {process.username()}){_stack_of(process)}"
    return "a process of another user"


def _stack_of(process: psutil.Process) -> str:
    """Which checkout's stack ``process`` belongs to, if to one: `python3` alone tells nobody."""
    with contextlib.suppress(psutil.Error, OSError):
        if state := process.environ().get(MARKER):
            return f" of the stack {Path(state).name} in {Path(state).parent.parent}"
    return ""


def require_free(component: str, port: int, program: str) -> None:
    """Refuse to start on a port that somebody else holds.

    Raises:
        DeployError: names the process that holds it, and what to do.
    """
    if is_taken(port):
        raise DeployError(
            component,
            f"port {port} is taken by {holder(port)}",
            f"stop that process, or give {program} another port (`{component}:` in the environment file)",
        )
