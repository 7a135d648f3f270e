"""Who should reach what: every vantage point, every port of every server, over both networks; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from harness.environment.machines import ANYONE, OPERATOR, Machine, Machines
from harness.hosts.facts import HostFacts
from harness.hosts.policy import Resolve, resolved

__all__ = ["Probe", "Seen", "matrix"]


@dataclass(frozen=True)
class Probe:
    """A connection to try.

    ``over`` is the network of ``address``; ``joined``: the vantage point is on that network. ``allowed``
    is what the environment says; ``declared``: it says it of somebody, so a service must listen.
    ``own``: the machine tries itself, which no firewall is asked about.
    """

    vantage: str
    target: str
    address: str
    port: int
    over: str
    joined: bool
    allowed: bool
    declared: bool
    own: bool

    def __str__(self) -> str:
        return f"{self.vantage} to {self.target}, {self.address}:{self.port}"


@dataclass(frozen=True)
class Seen:
    """How a probe ended.

    ``outcome``: open; refused (the machine answered, and nothing listens); rejected (a router or a firewall
    said no); silent; or the name of another error. ``denied``: the target's own firewall has it among what
    it refused; None when the target could not say. ``ms``: milliseconds until the answer.
    """

    probe: Probe
    outcome: str
    ms: float
    denied: bool | None


def matrix(machines: Machines, facts: Mapping[str, HostFacts], resolve: Resolve = resolved) -> list[Probe]:
    """Every probe of an environment: what is declared anywhere, what listens, what Docker publishes.

    Raises:
        HarnessError: when a machine's name does not resolve; UnknownFact: when one could not say.
    """
    everywhere = {allow.port for machine in machines.hosts for allow in machine.allows}
    found = []
    for target in machines.hosts:
        if target.role == "server" and target.name in facts:
            ports = sorted(everywhere | _exposed(facts[target.name]))
            for over, addresses in _addresses(target, resolve).items():
                for address in addresses:
                    found += list(_probes(machines, target, over, address, ports))
    return found


def _exposed(facts: HostFacts) -> set[int]:
    listening = {s.port for s in facts.listeners if s.protocol == "tcp" and not s.local}
    return listening | {p.port for container in facts.containers for p in container.published}


def _addresses(machine: Machine, resolve: Resolve) -> dict[str, tuple[str, ...]]:
    private = (machine.private_address,) if machine.private_address else ()
    return {"public": resolve(machine.address), "private": private}


def _probes(
    machines: Machines, target: Machine, over: str, address: str, ports: list[int]
) -> Iterator[Probe]:
    for port in ports:
        here = [allow for allow in target.allows if allow.port == port and allow.over == over]
        named = {source for allow in here for source in allow.sources}
        for vantage, joined in _vantages(machines, over):
            own = vantage == target.name
            if own and not here:
                continue  # nothing need listen there
            allowed = own or ANYONE in named or vantage in named
            yield Probe(
                vantage, target.name, address, port, over, joined, allowed and joined, bool(here), own
            )


def _vantages(machines: Machines, over: str) -> Iterator[tuple[str, bool]]:
    for machine in machines.hosts:
        yield machine.name, over == "public" or machine.private_address is not None
    yield OPERATOR, over == "public" or machines.operator_private_address is not None
