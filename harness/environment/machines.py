"""The machines of an environment: how they are reached, and who may reach what on them."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from harness.environment.base import Host, Port, SecretReference, Strict

__all__ = ["ANYONE", "OPERATOR", "Allow", "Machine", "MachineName", "Machines", "PrivateNetwork", "Ssh"]

ANYONE = "anyone"
OPERATOR = "operator"
"""The machine that the harness runs on."""


def _address(text: str) -> str:
    ipaddress.ip_address(text)
    return text


def _network(text: str) -> str:
    ipaddress.ip_network(text)
    return text


MachineName = Annotated[str, Field(pattern="^[a-z][a-z0-9-]{0,30}$")]
Address = Annotated[str, AfterValidator(_address)]
Cidr = Annotated[str, AfterValidator(_network)]


class Ssh(Strict):
    """How the harness logs in. Every machine takes the same user and key."""

    user: str
    """May use sudo without a password, and talk to the Docker engine where there is one."""
    key: SecretReference
    """Private key of that user."""
    known_hosts: str
    """File with the host keys of all machines, relative to the repository; no other key is accepted."""


class PrivateNetwork(Strict):
    """The network between the machines that nobody else is on."""

    kind: Literal["tailscale", "wireguard"]
    """What makes it."""
    range: Cidr
    """Its addresses."""
    interface: Annotated[str, Field(pattern="^[a-z][a-z0-9_.-]{0,14}$")]
    """Name of its interface on every machine."""
    port: Port | None = None
    """UDP port on which the machines reach each other to make it (WireGuard: 51820, Tailscale: 41641)."""


class Allow(Strict):
    """A port that may be reached, by whom, over which network. What is not allowed is refused."""

    port: Port
    """TCP port."""
    sources: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of machines; `operator`, which runs the harness; `anyone`."""
    over: Literal["public", "private"] = "public"
    """By which of the machine's addresses: `address`, or `private_address`."""


class Machine(Strict):
    """One machine, reached over ssh."""

    name: MachineName
    """What the rest of the file calls it."""
    address: Host
    """Name or address for ssh, and for everybody else."""
    ssh_port: Port = 22
    """Port of its ssh server."""
    private_address: Address | None = None
    """Its address on the private network, if it is on it."""
    role: Literal["server", "vantage"] = "server"
    """vantage: runs nothing of the stack; checks look at the others from there."""
    allows: tuple[Allow, ...] = ()
    """Everything that may be reached on it (ssh included)."""


class Machines(Strict):
    """All machines of an environment."""

    ssh: Ssh
    """How the harness logs in."""
    private_network: PrivateNetwork
    """The network between them."""
    operator: Host
    """The address from which the harness comes, for the firewalls of the machines."""
    operator_private_address: Address | None = None
    """Its address on the private network, if it is on it."""
    hosts: Annotated[tuple[Machine, ...], Field(min_length=1)]
    """Every machine."""

    def host(self, name: str) -> Machine:
        """The machine called ``name``.

        Raises:
            KeyError: when there is none.
        """
        for machine in self.hosts:
            if machine.name == name:
                return machine
        raise KeyError(name)
