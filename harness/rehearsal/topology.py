"""What a rehearsal raises, read from its environment file; no I/O."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from harness.environment import Environment
from harness.environment.machines import Machine, Machines
from harness.errors import ConfigurationError, Problem

__all__ = ["LABEL", "STATE_LABEL", "USER", "Host", "Topology", "can_be_raised", "topology_of"]

LABEL = "harness.rehearsal"
"""Label of every container, network and volume of a rehearsal; its value is the environment's name."""
STATE_LABEL = "harness.rehearsal.state"
"""The state directory of whoever raised it: two checkouts do not tear each other's down."""
USER = "deploy"
"""The machines' one user; may use sudo without a password, and talk to the machine's Docker engine."""
_PREFIX = 24
"""All addresses of a rehearsal are in one IPv4 network of this prefix length."""

Network = ipaddress.IPv4Network


@dataclass(frozen=True)
class Host:
    """One machine to raise. ``runs_engine``: it has a Docker engine of its own."""

    name: str
    container: str
    address: str
    private_address: str | None
    runs_engine: bool
    balances: bool


@dataclass(frozen=True)
class Topology:
    """Everything that a rehearsal consists of; names and addresses follow from the environment file."""

    name: str
    root: Path
    state: Path
    machines: Machines
    network: Network
    hosts: tuple[Host, ...]
    registry_port: int
    certificate: str
    """File on the load balancer that the certificate is put into."""
    tls_names: tuple[str, ...]

    @property
    def labels(self) -> dict[str, str]:
        """What everything of this rehearsal is labelled with."""
        return {LABEL: self.name, STATE_LABEL: str(self.state)}

    @property
    def bridge(self) -> str:
        """Name of the bridge's interface on this machine (15 characters at most)."""
        return f"rh-{hashlib.sha256(self.name.encode()).hexdigest()[:8]}"

    @property
    def operator_interface(self) -> str:
        """Name of this machine's own interface on the private network."""
        return f"rhp{self.bridge[2:]}"

    @property
    def operator_container(self) -> str:
        """Container that keeps this machine on the private network."""
        return f"{self.name}-operator"

    @property
    def private(self) -> Network:
        """The private network's range."""
        return Network(self.machines.private_network.range)

    @property
    def known_hosts(self) -> Path:
        """The file that pins the machines' host keys."""
        return self.root / self.machines.ssh.known_hosts

    @property
    def deploy_key(self) -> Path:
        """The private key of the user that the harness logs in as."""
        return self.root / self.machines.ssh.key.removeprefix("file:")


def topology_of(environment: Environment, root: Path) -> Topology:
    """The topology that ``environment`` declares.

    Raises:
        ConfigurationError: with everything in it that cannot be raised on this machine.
    """
    machines = environment.machines
    if machines is None:
        problem = Problem("machines", "is missing", "a rehearsal raises machines: declare them")
        raise ConfigurationError([problem], title=f"environment {environment.environment}")
    state = (root / ".harness" / environment.environment).resolve()
    problems = [*_addresses(machines), *_files(environment, machines), *_registry(environment)]
    if problems:
        raise ConfigurationError(problems, title=f"{environment.environment} cannot be rehearsed")
    gateway = environment.gateway
    engines = gateway.hosts if gateway.provider == "docker" else ()
    balancer = gateway.balancer if gateway.provider == "docker" else ""
    return Topology(
        name=environment.environment,
        root=root,
        state=state,
        machines=machines,
        network=_network(machines.operator),
        hosts=tuple(
            Host(
                machine.name,
                f"{environment.environment}-{machine.name}",
                machine.address,
                machine.private_address,
                machine.name in engines,
                machine.name == balancer,
            )
            for machine in machines.hosts
        ),
        registry_port=_loopback_port(environment) or 0,
        certificate=gateway.tls.certificate if gateway.provider == "docker" else "",
        tls_names=_tls_names(environment, machines, balancer),
    )


def can_be_raised(environment: Environment, root: Path) -> bool:
    """Whether it declares machines that are to be raised on this one: others are somewhere else."""
    try:
        topology_of(environment, root)
    except ConfigurationError:
        return False
    return True


def _network(address: str) -> Network:
    return Network((address, _PREFIX), strict=False)


def _ipv4(text: str) -> ipaddress.IPv4Address | None:
    try:
        return ipaddress.IPv4Address(text)
    except ValueError:
        return None


def _addresses(machines: Machines) -> Iterator[Problem]:
    operator = _ipv4(machines.operator)
    if operator is None or not operator.is_private:
        hint = "for example 10.86.1.1"
        yield Problem("machines.operator", "must be a private IPv4 address in a rehearsal", hint)
        return
    network, taken = _network(machines.operator), {operator: "operator"}
    if operator != network[1]:
        yield Problem("machines.operator", f"must be {network[1]}: this machine is the network's first", "")
    private = ipaddress.ip_network(machines.private_network.range)
    if private.version != 4 or private.overlaps(network):
        where = "machines.private_network.range"
        yield Problem(where, f"must be an IPv4 network beside {network}", "for example 10.87.1.0/24")
    if machines.ssh.user != USER:
        yield Problem("machines.ssh.user", f"must be {USER}: the machines' image has that user", "")
    if machines.private_network.kind != "wireguard":
        what = f"is {machines.private_network.kind}, which needs an account"
        yield Problem("machines.private_network.kind", what, "write wireguard")
    for machine in machines.hosts:
        yield from _address(machine, network, taken)


def _address(
    machine: Machine, network: Network, taken: dict[ipaddress.IPv4Address, str]
) -> Iterator[Problem]:
    where = f"machines.{machine.name}.address"
    address = _ipv4(machine.address)
    if address is None or address not in network or address in (network[0], network[-1]):
        yield Problem(where, f"must be an address in {network}, the operator's network", "")
    elif address in taken:
        yield Problem(where, f"{address} is that of {taken[address]}", "give each an address of its own")
    else:
        taken[address] = machine.name
    if machine.ssh_port != 22:
        yield Problem(f"machines.{machine.name}.ssh_port", "must be 22 in a rehearsal", "")


def _files(environment: Environment, machines: Machines) -> Iterator[Problem]:
    """What is made anew with every rehearsal must not be a file that somebody keeps."""
    folder = f".harness/{environment.environment}/"
    files = {
        "machines.ssh.key": machines.ssh.key.removeprefix("file:"),
        "machines.ssh.known_hosts": machines.ssh.known_hosts,
    }
    gateway = environment.gateway
    if gateway.provider == "docker":
        files["gateway.tls.ca"] = gateway.tls.ca or "(the system's)"
    for where, path in files.items():
        if not path.startswith(folder) or ".." in Path(path).parts:
            yield Problem(where, f"must be a file in {folder}: the rehearsal makes it", "")


def _loopback_port(environment: Environment) -> int | None:
    gateway = environment.gateway
    if gateway.provider != "docker":
        return None
    host, _, port = gateway.registry.partition(":")
    return int(port) if host == "127.0.0.1" and port else None


def _registry(environment: Environment) -> Iterator[Problem]:
    if environment.gateway.provider == "docker" and _loopback_port(environment) is None:
        yield Problem("gateway.registry", "must be on this machine in a rehearsal", "127.0.0.1:5086")


def _tls_names(environment: Environment, machines: Machines, balancer: str) -> tuple[str, ...]:
    """Host names and addresses that the load balancer answers to."""
    names = {machines.host(balancer).address} if balancer else set()
    for url in (environment.gateway.url, environment.supabase.api_url):
        if url.startswith("https://"):
            names.add(urlsplit(url).hostname or "")
    return tuple(sorted(names))
