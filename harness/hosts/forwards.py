"""Ways to ports of machines that stay open for a whole run, and are opened again when they broke."""

from __future__ import annotations

import socket
import threading

from harness.hosts.ssh import Remote

__all__ = ["Forwards"]


class Forwards:
    """Ports of machines on this machine's loopback. They end with the connections of ``remote``."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self._open: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()

    def to(self, machine: str, there: str) -> tuple[str, int]:
        """Where ``there`` (HOST:PORT as ``machine`` sees it) can be reached here: host and port.

        Raises:
            Unreachable, HarnessError: when no way can be opened.
        """
        with self._lock:
            local = self._open.get((machine, there), "")
            if not local or not _listens(local):  # the connection ended: the machine restarted, perhaps
                if local:
                    self.remote.drop(machine)
                local = self._open[machine, there] = self.remote.lead(machine, there)
        host, _, port = local.rpartition(":")
        return host, int(port)


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((host, int(port))) == 0
