"""Whether what an environment says of its machines fits together."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from harness.environment.explain import Found, nearest
from harness.environment.machines import ANYONE, OPERATOR, Machine, Machines
from harness.environment.model import COMPONENTS, Environment
from harness.environment.yaml_tree import Path

__all__ = ["machine_names"]

_REFERENCES = ("host", "hosts", "balancer")
"""Fields of components that name machines."""


def machine_names(environment: Environment) -> Iterator[Found]:
    """Every machine that is named and does not exist, exists twice, or contradicts the network it is on."""
    machines = environment.machines
    known = [machine.name for machine in machines.hosts if machine.role == "server"] if machines else []
    for path, name in _named(environment):
        if machines is None:
            yield path, f"names the machine {name}, but there is no `machines:`", "declare it there"
        elif name not in known:
            yield path, f"there is no machine {name}", nearest(name, known)
    if machines is not None:
        yield from _operator(machines)
        for index, machine in enumerate(machines.hosts):
            yield from _machine(machines, machine, ("machines", "hosts", index))


def _named(environment: Environment) -> Iterator[tuple[Path, str]]:
    for component in COMPONENTS:
        part = getattr(environment, component)
        for field in _REFERENCES:
            value = getattr(part, field, None)
            if isinstance(value, str):
                yield (component, field), value
            for index, name in enumerate(value if isinstance(value, tuple) else ()):
                yield (component, field, index), name


def _operator(machines: Machines) -> Iterator[Found]:
    private, network = machines.operator_private_address, machines.private_network.range
    if private is not None and ipaddress.ip_address(private) not in ipaddress.ip_network(network):
        where: Path = ("machines", "operator_private_address")
        yield where, f"{private} is not in {network}", "see machines.private_network"


def _machine(machines: Machines, machine: Machine, path: Path) -> Iterator[Found]:
    if [other.name for other in machines.hosts].index(machine.name) != path[-1]:
        yield (*path, "name"), f"{machine.name} is declared twice", "give each machine a name of its own"
    private, network = machine.private_address, machines.private_network.range
    if private is not None and ipaddress.ip_address(private) not in ipaddress.ip_network(network):
        yield (*path, "private_address"), f"{private} is not in {network}", "see machines.private_network"
    names = [ANYONE, OPERATOR, *(other.name for other in machines.hosts)]
    for index, allow in enumerate(machine.allows):
        here: Path = (*path, "allows", index)
        for number, source in enumerate(allow.sources):
            if source not in names:
                yield (*here, "sources", number), f"there is no machine {source}", nearest(source, names)
        if allow.over == "private" and private is None:
            yield (*here, "over"), f"{machine.name} has no private_address", "give it one"
