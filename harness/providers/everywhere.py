"""Every program of a stack, wherever it runs: on machines, or under this machine's process manager."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from harness.hosts.place import Place
from harness.providers.base import Process
from harness.providers.local.processes import LocalProcesses
from harness.providers.machine_programs import MachinePrograms

__all__ = ["Everywhere"]


class _Controls(Protocol):
    """What both kinds can do; see :class:`harness.stack.Processes` and LogReader."""

    def pid(self, program: str) -> int: ...
    def place(self, program: str) -> Place: ...
    def instances(self, program: str) -> list[tuple[Place, int]]: ...
    def stop(self, program: str) -> None: ...
    def start(self, program: str) -> None: ...
    def restart(self, program: str) -> None: ...
    def kill(self, program: str) -> int: ...
    def stopped(self, program: str) -> AbstractContextManager[None]: ...
    def paused(self, program: str) -> AbstractContextManager[None]: ...
    def lines(self, component: str, since: float = 0.0) -> list[str]: ...
    def mark(self, component: str) -> float: ...


class Everywhere:
    """Implements :class:`harness.stack.Processes` and :class:`harness.providers.base.LogReader`.

    A name that a program on a machine has means that one; any other means a local program.
    """

    def __init__(self, here: LocalProcesses | None, there: MachinePrograms) -> None:
        self._here, self._there = here, there

    def _of(self, program: str) -> _Controls:
        if self._here is None or self._there.knows(program):
            return self._there
        return self._here

    def programs(self) -> list[Process]:
        """Every program, wherever it runs."""
        return [*(self._here.programs() if self._here else ()), *self._there.programs()]

    def pid(self, program: str) -> int:
        """The pid of ``program``; 0 when it is not running."""
        return self._of(program).pid(program)

    def place(self, program: str) -> Place:
        """The machine that ``program`` runs on."""
        return self._of(program).place(program)

    def instances(self, program: str) -> list[tuple[Place, int]]:
        """Every machine that ``program`` runs on, with its pid there."""
        return self._of(program).instances(program)

    def stop(self, program: str) -> None:
        """Stop ``program``; it stays stopped."""
        self._of(program).stop(program)

    def start(self, program: str) -> None:
        """Start ``program`` and wait until it is ready."""
        self._of(program).start(program)

    def restart(self, program: str) -> None:
        """Stop, then start."""
        self._of(program).restart(program)

    def kill(self, program: str) -> int:
        """SIGKILL the main process of ``program``; the pid it had."""
        return self._of(program).kill(program)

    def stopped(self, program: str) -> AbstractContextManager[None]:
        """Stopped inside the block, started and ready again after it."""
        return self._of(program).stopped(program)

    def paused(self, program: str) -> AbstractContextManager[None]:
        """Its whole process tree under SIGSTOP inside the block, continued after it."""
        return self._of(program).paused(program)

    def lines(self, component: str, since: float = 0.0) -> list[str]:
        """Lines that ``component`` has logged after the mark ``since``."""
        return self._of(component).lines(component, since)

    def mark(self, component: str) -> float:
        """The present end of the log of ``component``."""
        return self._of(component).mark(component)
