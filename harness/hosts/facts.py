"""What one machine said of itself, typed. ``harness.hosts.facts_of_machines`` asks them all.

What could not be read is an error for whoever needs it (its check ends ``blocked``), never a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.errors import HarnessError

__all__ = [
    "Container",
    "Disk",
    "Gpu",
    "HostFacts",
    "Listener",
    "Peer",
    "Program",
    "Unit",
    "UnknownFact",
]


class UnknownFact(HarnessError):
    """A machine could not say something of itself; no check may assume what it would have been."""

    def __init__(self, machine: str, part: str, why: str) -> None:
        self.machine, self.part, self.why = machine, part, why
        super().__init__(f"{machine}: its {part} are unknown: {why}")


@dataclass(frozen=True)
class Unit:
    """A unit as systemd sees it. ``since``: when it became active, in systemd's words; empty: never.

    ``restart``: what systemd does when it ends; empty for one that is installed and was not loaded.
    """

    name: str
    found: bool
    state: str
    enabled: bool
    restart: str
    pid: int
    restarts: int
    since: str


@dataclass(frozen=True)
class Listener:
    """A socket that waits for others. ``holders``: names of the processes that have it open."""

    protocol: str
    address: str
    port: int
    holders: tuple[str, ...]

    @property
    def local(self) -> bool:
        """Whether only the machine itself can reach it."""
        return self.address == "::1" or self.address.removeprefix("::ffff:").startswith("127.")


@dataclass(frozen=True)
class Published:
    """A port of a container on its machine: Docker leads it there before INPUT is asked."""

    address: str
    port: int


@dataclass(frozen=True)
class Container:
    """A container of a machine's Docker engine. ``digests``: of its image, as REPOSITORY@sha256:…"""

    id: str
    name: str
    state: str
    health: str
    pid: int
    image: str
    digests: tuple[str, ...]
    user: str
    read_only: bool
    privileged: bool
    restart: str
    log_driver: str
    network: str
    published: tuple[Published, ...]


@dataclass(frozen=True)
class Peer:
    """A peer on the private network. ``handshake``: seconds since the epoch; 0: there has been none."""

    interface: str
    public_key: str
    endpoint: str
    addresses: tuple[str, ...]
    handshake: int


@dataclass(frozen=True)
class Disk:
    """A mounted file system: bytes in all, and free for ordinary users."""

    path: str
    bytes: int
    free: int


@dataclass(frozen=True)
class Program:
    """A running process."""

    pid: int
    parent: int
    command: str
    argv: tuple[str, ...]


@dataclass(frozen=True)
class Gpu:
    """A GPU as its driver sees it; memory in MiB."""

    name: str
    mib: int


@dataclass(frozen=True)
class HostFacts:
    """What one machine said. Each property raises :class:`UnknownFact` where it could not.

    ``asked`` and ``answered`` are seconds since the epoch on this machine, around the read.
    """

    machine: str
    parts: Mapping[str, Mapping[str, Any]]
    asked: float
    answered: float

    def part(self, name: str) -> Any:
        """The raw value of a part.

        Raises:
            UnknownFact: the machine could not say, or was not asked.
        """
        said = self.parts.get(name, {"error": "it was not asked"})
        if "error" in said:
            raise UnknownFact(self.machine, name, str(said["error"]))
        return said["value"]

    @property
    def units(self) -> dict[str, Unit]:
        """The units that were asked for, by name."""
        return {unit["Id"]: _unit(unit) for unit in self.part("units")}

    def unit(self, name: str) -> Unit:
        """The unit ``name``; where systemd does not know it, one that is not ``found``.

        Raises:
            UnknownFact: when nobody asked for it.
        """
        if name not in self.units:
            raise UnknownFact(self.machine, "units", f"{name} was not asked for")
        return self.units[name]

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """Every socket that waits for others."""
        return tuple(
            Listener(s["protocol"], s["address"], s["port"], tuple(name for name, _ in s["holders"]))
            for s in self.part("sockets")
        )

    @property
    def ruleset(self) -> list[dict[str, Any]]:
        """`nft -j list ruleset`, with counters."""
        return list(self.part("ruleset"))

    @property
    def addresses(self) -> dict[str, tuple[str, ...]]:
        """Interface: its addresses."""
        return {
            link["ifname"]: tuple(a["local"] for a in link["addr_info"] if "local" in a)
            for link in self.part("addresses")
        }

    @property
    def up(self) -> frozenset[str]:
        """The interfaces that are up."""
        return frozenset(link["ifname"] for link in self.part("addresses") if "UP" in link["flags"])

    @property
    def containers(self) -> tuple[Container, ...]:
        """Every container, running or not."""
        return tuple(_container(seen) for seen in self.part("containers"))

    @property
    def peers(self) -> tuple[Peer, ...]:
        """The peers on WireGuard interfaces."""
        return tuple(Peer(**{**p, "addresses": tuple(p["addresses"])}) for p in self.part("peers"))

    @property
    def clock_offset(self) -> tuple[float, float]:
        """Between how many and how many seconds the machine's clock is ahead of ours (negative: behind).

        What it read while it answered lies between when it was asked and when its answer was here.
        """
        clock = self.part("clock")
        return clock["now"] - self.answered, clock["began"] - self.asked

    @property
    def disks(self) -> tuple[Disk, ...]:
        """Every file system that can become full."""
        return tuple(Disk(**disk) for disk in self.part("disks"))

    @property
    def booted(self) -> float:
        """When the machine began, in seconds since the epoch on its own clock."""
        return float(self.part("booted"))

    @property
    def processes(self) -> tuple[Program, ...]:
        """Every process. Arguments may hold what they must not: never put them into evidence whole."""
        return tuple(Program(**{**p, "argv": tuple(p["argv"])}) for p in self.part("processes"))

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        """Every GPU."""
        return tuple(Gpu(**gpu) for gpu in self.part("gpus"))

    @property
    def files(self) -> dict[str, str]:
        """sha256 of each file that was asked for; empty where there is none."""
        return dict(self.part("files"))


def _unit(seen: Mapping[str, str]) -> Unit:
    return Unit(
        name=seen["Id"],
        found=seen.get("LoadState") == "loaded",
        state=seen.get("ActiveState", ""),
        enabled=seen.get("UnitFileState", "").startswith("enabled"),
        restart=seen.get("Restart", ""),
        pid=int(seen.get("MainPID") or 0),
        restarts=int(seen.get("NRestarts") or 0),
        since=seen.get("ActiveEnterTimestamp", ""),
    )


def _container(seen: Mapping[str, Any]) -> Container:
    published = tuple(Published(p["address"], p["port"]) for p in seen["published"])
    return Container(**{**seen, "digests": tuple(seen["digests"]), "published": published})
