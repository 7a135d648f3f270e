"""What the machines of an environment say of themselves: one batched read each, all at once, kept.

facts = stack.fleet.facts.of("instant")     # the machine is asked when it is first wanted
facts.unit("instant.service").enabled       # typed; UnknownFact when the machine could not say
stack.fleet.facts.refresh()                 # forget: whoever asks next reads again
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import resources

from harness.errors import Unreachable
from harness.hosts.facts import HostFacts, UnknownFact
from harness.hosts.ssh import Remote

__all__ = ["Facts"]

_PROGRAM = resources.files("harness.hosts").joinpath("gather.py").read_text(encoding="utf-8")
_SIDE_BY_SIDE = 50


class Facts:
    """The facts of all machines. Thread-safe: whoever asks while a read goes on waits for it.

    ``units`` and ``files`` are asked for on every machine, also where they do not exist.
    """

    def __init__(self, remote: Remote, *, units: Iterable[str] = (), files: Iterable[str] = ()) -> None:
        self._remote = remote
        self._asked = {"units": sorted(set(units)), "files": sorted(set(files))}
        self._kept: dict[str, HostFacts | Unreachable] = {}
        self._reading: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def of(self, machine: str) -> HostFacts:
        """The facts of ``machine``.

        Raises:
            Unreachable: when it could not be asked.
            UnknownFact: when its answer makes no sense.
        """
        known = self.all([machine])[machine]
        if isinstance(known, Unreachable):
            raise known
        return known

    def all(self, machines: Sequence[str]) -> dict[str, HostFacts | Unreachable]:
        """The facts of each of ``machines``, read side by side where they are not known yet."""
        with ThreadPoolExecutor(max(1, min(_SIDE_BY_SIDE, len(machines)))) as pool:
            return dict(zip(machines, pool.map(self._one, machines), strict=True))

    def every(self, machines: Sequence[str]) -> dict[str, HostFacts]:
        """The facts of each of ``machines``.

        Raises:
            Unreachable: naming the first that could not be asked.
        """
        found: dict[str, HostFacts] = {}
        for name, known in self.all(machines).items():
            if isinstance(known, Unreachable):
                raise known
            found[name] = known
        return found

    def refresh(self, machines: Iterable[str] | None = None) -> None:
        """Forget what is known (of ``machines``, or of all): whoever asks next reads again."""
        with self._lock:
            for name in list(self._kept) if machines is None else machines:
                self._kept.pop(name, None)

    def read(self, machine: str, parts: Sequence[str] = ()) -> HostFacts:
        """Ask ``machine`` now for ``parts`` (empty: all), whatever is known; keeps nothing.

        Raises:
            Unreachable: when it could not be asked.
            UnknownFact: when its answer makes no sense.
        """
        program = f"{_PROGRAM}\nmain({ {**self._asked, 'parts': list(parts)}!r})\n"
        asked = time.time()
        done = self._remote.run(machine, ["python3", "-I", "-S", "-"], stdin=program.encode(), sudo=True)
        answered = time.time()
        if done.status:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise UnknownFact(machine, "facts", said[-1] if said else f"python3 ended with {done.status}")
        try:
            return HostFacts(machine, json.loads(done.stdout), asked, answered)
        except ValueError:
            raise UnknownFact(machine, "facts", f"its answer is no JSON: {done.text[:80]!r}") from None

    def _one(self, machine: str) -> HostFacts | Unreachable:
        with self._lock:
            lock = self._reading.setdefault(machine, threading.Lock())
        with lock:
            with self._lock:
                known = self._kept.get(machine)
            if known is None:
                try:
                    known = self.read(machine)
                except Unreachable as error:
                    known = error
                with self._lock:
                    self._kept[machine] = known
            return known
