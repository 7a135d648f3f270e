"""Programs on machines: systemd units and containers, controlled and read over ssh as local ones here."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from harness.errors import DeployError, HarnessError
from harness.hosts.place import Place, There
from harness.hosts.ssh import Remote
from harness.providers.base import Process
from harness.waiting import wait_until

__all__ = ["MachineProgram", "MachinePrograms"]

_MOST_LINES = 200_000
T = TypeVar("T")


@dataclass(frozen=True)
class MachineProgram:
    """A program on a machine: a systemd ``unit``, or a ``container`` of its Docker engine.

    Several may have one name: the same program on several machines. ``ready`` returns true once it serves,
    within ``ready_seconds`` of its start.
    """

    name: str
    component: str
    machine: str
    unit: str = ""
    container: str = ""
    ready: Callable[[], bool] | None = None
    ready_seconds: float = 30.0

    @property
    def journal(self) -> list[str]:
        """What selects its lines in the machine's journal."""
        return ["-u", self.unit] if self.unit else [f"CONTAINER_TAG={self.container}"]

    @property
    def seen_by(self) -> str:
        """A shell command that prints `pid`, `state` and `since` (seconds of uptime) on one line."""
        if self.unit:
            asked = (
                f"systemctl show {self.unit} -p MainPID -p ActiveState -p ExecMainStartTimestampMonotonic"
            )
            return f"{asked} -p Restart | tr '\\n' ' '; cut -d' ' -f1 /proc/uptime"
        shown = (
            "'MainPID={{.State.Pid}} ActiveState={{.State.Status}} "
            "Restart={{.HostConfig.RestartPolicy.Name}}'"
        )
        return f"docker inspect -f {shown} {self.container} 2>/dev/null || echo"

    def crash(self, pid: int) -> list[str]:
        """Ends its main process as a crash would (`docker kill` would count as a person's wish)."""
        if self.unit:
            return ["systemctl", "kill", "--signal=SIGKILL", "--kill-whom=main", self.unit]
        return ["kill", "-9", str(pid)]

    def hang(self, *, end: bool = False) -> list[str]:
        """Stops everything that it has started from running, or (``end``) lets it run again."""
        if self.unit:
            return ["systemctl", "kill", f"--signal={'SIGCONT' if end else 'SIGSTOP'}", self.unit]
        return ["docker", "unpause" if end else "pause", self.container]

    def command(self, verb: str) -> list[str]:
        """Starts or stops it (``verb``)."""
        return ["systemctl", verb, self.unit] if self.unit else ["docker", verb, self.container]


class MachinePrograms:
    """Implements :class:`harness.stack.Processes` and :class:`harness.providers.base.LogReader`."""

    def __init__(self, remote: Callable[[], Remote], programs: Sequence[MachineProgram]) -> None:
        self._remote, self._programs = remote, tuple(programs)
        self._marks: dict[float, dict[str, str]] = {}
        self._tickets = itertools.count(1)
        self._lock = threading.Lock()

    def knows(self, name: str) -> bool:
        """Whether a program on a machine has this name."""
        return any(program.name == name for program in self._programs)

    # --- observing -------------------------------------------------------------------------------

    def programs(self) -> list[Process]:
        """Every program on a machine; one round trip to each machine."""
        found: list[Process] = []
        for machine in dict.fromkeys(program.machine for program in self._programs):
            here = [program for program in self._programs if program.machine == machine]
            found += self._seen(machine, here)
        return found

    def pid(self, program: str) -> int:
        """The pid of ``program`` on the first of its machines; 0 when it is not running."""
        first = self._named(program)[0]
        return self._seen(first.machine, [first])[0].pid

    def place(self, program: str) -> Place:
        """The first machine that ``program`` runs on."""
        return There(self._remote(), self._named(program)[0].machine)

    def instances(self, program: str) -> list[tuple[Place, int]]:
        """Every machine that ``program`` runs on, with its pid there (0: it does not run)."""
        everywhere = self._named(program)
        return [(There(self._remote(), one.machine), self._pid(one)) for one in everywhere]

    def lines(self, component: str, since: float = 0.0) -> list[str]:
        """Lines that the program ``component`` has logged after the mark ``since``, machine by machine."""
        cursors = self._marks.get(since, {})

        def of(program: MachineProgram) -> list[str]:
            after = cursors.get(program.machine, "")
            argv = ["journalctl", "-q", "-o", "cat", "--no-pager", "-n", str(_MOST_LINES)]
            argv += [*([f"--after-cursor={after}"] if after else []), *program.journal]
            done = self._remote().run(program.machine, argv, sudo=True, seconds=60.0).require()
            return done.text.splitlines()

        return [line for lines in self._on_each(of, component) for line in lines]

    def mark(self, component: str) -> float:
        """The present end of the journal on every machine of ``component``: by cursor, not by clock."""

        def of(program: MachineProgram) -> tuple[str, str]:
            argv = ["journalctl", "-q", "-n", "1", "-o", "json", "--output-fields=_PID", "--no-pager"]
            argv += (
                program.journal
            )  # --after-cursor skips a line when the filter does not match the cursor's
            done = self._remote().run(program.machine, argv, sudo=True).require()
            cursor = json.loads(done.stdout)["__CURSOR"] if done.stdout.strip() else ""
            return program.machine, cursor

        cursors = dict(self._on_each(of, component))
        with self._lock:
            ticket = float(next(self._tickets))
            self._marks[ticket] = cursors
        return ticket

    # --- hurting and healing ---------------------------------------------------------------------

    def stop(self, program: str) -> None:
        """Stop ``program`` on every machine of its; it stays stopped."""
        for one in self._named(program):
            self._remote().run(one.machine, one.hang(end=True), sudo=True)  # it may not hang at all
            self._run(one, one.command("stop"), seconds=60.0)

    def start(self, program: str) -> None:
        """Start ``program`` on every machine of its, and wait until it is ready."""
        with contextlib.ExitStack() as everywhere:  # one machine that is away keeps no other from its start
            for one in reversed(self._named(program)):
                everywhere.callback(self._run, one, one.command("start"), seconds=60.0)
        for one in self._named(program):
            wait_until(
                f"{program} on {one.machine}",
                one.ready or functools.partial(self._runs, one),
                seconds=one.ready_seconds,
            )

    def restart(self, program: str) -> None:
        """Stop, then start."""
        self.stop(program)
        self.start(program)

    def kill(self, program: str) -> int:
        """SIGKILL the main process of ``program`` on the first of its machines; the pid it had."""
        first = self._named(program)[0]
        pid = self._pid(first)
        if pid:
            self._run(first, first.crash(pid))
        return pid

    @contextlib.contextmanager
    def stopped(self, program: str) -> Iterator[None]:
        """Stopped inside the block; started and ready again after it, whatever happens in it."""
        try:  # the stop too: it may fail on the second machine, with the first one stopped
            self.stop(program)
            yield
        finally:
            self.start(program)

    @contextlib.contextmanager
    def paused(self, program: str) -> Iterator[None]:
        """Its whole process tree under SIGSTOP inside the block, continued after it."""
        with contextlib.ExitStack() as everywhere:
            for one in self._named(program):
                everywhere.enter_context(self._hung(one))
            yield

    # --- inside ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _hung(self, program: MachineProgram) -> Iterator[None]:
        try:
            self._run(program, program.hang())
        except HarnessError:  # whether it hangs is not known: an answer may have been lost
            self._remote().run(program.machine, program.hang(end=True), sudo=True)
            raise
        try:
            yield
        finally:
            self._run(program, program.hang(end=True))

    def _named(self, name: str) -> list[MachineProgram]:
        found = [program for program in self._programs if program.name == name]
        if not found:
            known = ", ".join(sorted({program.name for program in self._programs}))
            raise DeployError(name, f"no machine runs a program {name!r}", f"there are: {known or 'none'}")
        return found

    def _on_each(self, ask: Callable[[MachineProgram], T], name: str) -> list[T]:
        """Ask every machine of the program ``name``, all at once."""
        everywhere = self._named(name)
        with ThreadPoolExecutor(len(everywhere)) as pool:
            return list(pool.map(ask, everywhere))

    def _runs(self, program: MachineProgram) -> bool:
        return self._pid(program) > 0

    def _pid(self, program: MachineProgram) -> int:
        return self._seen(program.machine, [program])[0].pid

    def _seen(self, machine: str, programs: Sequence[MachineProgram]) -> list[Process]:
        text = "\n".join(program.seen_by for program in programs)
        lines = self._remote().script(machine, text, sudo=True).require().text.splitlines()
        return [_process(program, line) for program, line in zip(programs, lines, strict=True)]

    def _run(self, program: MachineProgram, argv: Sequence[str], seconds: float = 30.0) -> None:
        self._remote().run(program.machine, argv, sudo=True, seconds=seconds).require()


def _process(program: MachineProgram, line: str) -> Process:
    """From what :attr:`MachineProgram.seen_by` printed."""
    words = dict(word.partition("=")[::2] for word in line.split() if "=" in word)
    pid = int(words.get("MainPID") or 0)
    started = int(words.get("ExecMainStartTimestampMonotonic") or 0) / 1e6
    uptime = float(line.rsplit(maxsplit=1)[-1]) - started if pid and started else 0.0
    restarts = words.get("Restart", "no") not in ("no", "")
    return Process(program.name, words.get("ActiveState", "absent"), pid, uptime, restarts)
