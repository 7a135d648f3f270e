"""The machines of one environment as one thing: how they are reached, what they say, one writer each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from harness.environment.machines import Machine, Machines, PrivateNetwork
from harness.hosts import firewall_files
from harness.hosts.facts_of_machines import Facts
from harness.hosts.ssh import Remote

__all__ = ["Fleet", "network_unit"]

T = TypeVar("T")


_UNITS = (firewall_files.UNIT_NAME, "docker.service", "haproxy.service")
_NETWORK_UNITS = {"wireguard": "wg-quick@{}.service", "tailscale": "tailscaled.service"}


def network_unit(network: PrivateNetwork) -> str:
    """The systemd unit that makes the private network on a machine."""
    return _NETWORK_UNITS[network.kind].format(network.interface)


class Fleet:
    """``machines`` over ``remote``. ``units``: of programs that the environment runs there."""

    def __init__(self, machines: Machines, remote: Remote, units: Iterable[str] = ()) -> None:
        self.machines, self.remote = machines, remote
        self.facts = Facts(
            remote,
            units=(*_UNITS, network_unit(machines.private_network), *units),
            files=(firewall_files.RULES, firewall_files.UNIT),
        )
        self._kept: dict[str, Any] = {}
        self._keeping: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._writers = {machine.name: threading.Lock() for machine in machines.hosts}

    @property
    def servers(self) -> tuple[Machine, ...]:
        """The machines that run something of the stack."""
        return tuple(machine for machine in self.machines.hosts if machine.role == "server")

    @property
    def names(self) -> Sequence[str]:
        """The names of all machines."""
        return [machine.name for machine in self.machines.hosts]

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What ``make`` returns, made once; whoever asks for ``name`` meanwhile waits for it."""
        with self._lock:
            lock = self._keeping.setdefault(name, threading.Lock())
        with lock:
            if name not in self._kept:
                self._kept[name] = make()
            kept: T = self._kept[name]
            return kept

    def refresh(self, machines: Iterable[str] | None = None) -> None:
        """Forget what is known (of ``machines``, or of all): whoever asks next looks again."""
        self.facts.refresh(machines)
        self._kept.clear()

    @contextmanager
    def writing(self, machine: str) -> Iterator[None]:
        """Nobody else of this run changes ``machine`` inside; after it, its facts are forgotten."""
        with self._writers[machine]:
            try:
                yield
            finally:
                self.refresh([machine])
