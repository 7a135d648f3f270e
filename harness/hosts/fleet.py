"""The machines of one environment as one thing: how they are reached, what they say, one writer each."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from harness.environment.machines import Machine, Machines
from harness.hosts import firewall_files
from harness.hosts.facts import Facts
from harness.hosts.ssh import Remote

__all__ = ["Fleet"]


class Fleet:
    """``machines`` over ``remote``. ``units``: those that facts name even where systemd knows none."""

    def __init__(self, machines: Machines, remote: Remote, units: Iterable[str] = ()) -> None:
        self.machines, self.remote = machines, remote
        self.facts = Facts(
            remote,
            units=(firewall_files.UNIT_NAME, *units),
            files=(firewall_files.RULES, firewall_files.UNIT),
        )
        self._writers = {machine.name: threading.Lock() for machine in machines.hosts}

    @property
    def servers(self) -> tuple[Machine, ...]:
        """The machines that run something of the stack."""
        return tuple(machine for machine in self.machines.hosts if machine.role == "server")

    @property
    def names(self) -> Sequence[str]:
        """The names of all machines."""
        return [machine.name for machine in self.machines.hosts]

    @contextmanager
    def writing(self, machine: str) -> Iterator[None]:
        """Nobody else of this run changes ``machine`` inside; after it, its facts are forgotten."""
        with self._writers[machine]:
            try:
                yield
            finally:
                self.facts.refresh([machine])
