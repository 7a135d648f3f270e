"""The one network of a rehearsal: an internal bridge, and routes that keep its addresses on this machine.

Every machine sits on the same bridge, so it is their own firewalls that keep them apart, and not Docker.
The bridge is internal: nothing is routed into it or out of it. Should it be missing while something still
asks for its addresses, the `unreachable` routes answer, and no packet goes to the default gateway.
"""

from __future__ import annotations

import ipaddress
import json
import subprocess

import docker
from docker.errors import NotFound
from docker.models.networks import Network as DockerNetwork
from docker.types import IPAMConfig, IPAMPool

from harness.errors import HarnessError
from harness.rehearsal.engine import find_program
from harness.rehearsal.topology import STATE_LABEL, Network, Topology

__all__ = ["contain", "ensure_network", "foreign_routes", "release", "routes"]

_METRIC = "4278198272"
"""As the kernel gives a last resort: any real route to the same range is preferred."""


def routes() -> list[dict[str, object]]:
    """This machine's IPv4 routes, as `ip -json route` shows them."""
    found: list[dict[str, object]] = json.loads(_ip("-json", "-details", "route", "show", "table", "all"))
    return found


def foreign_routes(topology: Topology, known: list[dict[str, object]]) -> list[str]:
    """Routes of this machine that lead to the rehearsal's addresses and do not belong to it; pure."""
    own = {topology.bridge, topology.operator_interface, ""}
    found = []
    for route in known:
        destination = str(route.get("dst", "default"))
        if destination == "default" or route.get("type") in ("local", "broadcast", "multicast"):
            continue
        device = str(route.get("dev", ""))
        try:
            network = ipaddress.ip_network(destination)
        except ValueError:
            continue
        if device not in own and any(network.overlaps(mine) for mine in _ranges(topology)):
            found.append(f"{destination} on {device}")
    return found


def contain(topology: Topology) -> None:
    """See that packets to the rehearsal's addresses never leave this machine; idempotent.

    Raises:
        HarnessError: when this machine already uses one of those addresses for something else.
    """
    if found := foreign_routes(topology, routes()):
        raise HarnessError(
            f"{topology.name}: this machine has other networks there: {', '.join(found)}; give the "
            "environment file other addresses"
        )
    for network in _ranges(topology):
        _ip("route", "replace", "unreachable", str(network), "metric", _METRIC)


def release(topology: Topology) -> bool:
    """Take those routes away; whether there were any."""
    found = False
    for route in routes():
        destination = str(route.get("dst", ""))
        if route.get("type") == "unreachable" and destination in map(str, _ranges(topology)):
            _ip("route", "del", "unreachable", destination)
            found = True
    return found


def ensure_network(client: docker.DockerClient, topology: Topology) -> DockerNetwork:
    """The rehearsal's bridge; made when it is not there, made anew when it is not as declared.

    Raises:
        HarnessError: when another checkout has raised this rehearsal.
    """
    try:
        network = client.networks.get(topology.name)
    except NotFound:
        return _create(client, topology)
    owner = network.attrs["Labels"].get(STATE_LABEL)
    if owner != str(topology.state):
        raise HarnessError(
            f"a network {topology.name} is there already, and belongs to {owner or 'somebody else'}; "
            "take it down there, or copy the environment file under another name with other addresses"
        )
    pools = network.attrs["IPAM"]["Config"]
    if network.attrs["Internal"] and pools and pools[0].get("Subnet") == str(topology.network):
        return network
    network.remove()
    return _create(client, topology)


def _create(client: docker.DockerClient, topology: Topology) -> DockerNetwork:
    pool = IPAMPool(subnet=str(topology.network), gateway=topology.machines.operator)
    return client.networks.create(
        topology.name,
        driver="bridge",
        check_duplicate=True,
        internal=True,
        ipam=IPAMConfig(pool_configs=[pool]),
        labels=topology.labels,
        options={
            "com.docker.network.bridge.name": topology.bridge,
            "com.docker.network.bridge.enable_ip_masquerade": "false",
        },
    )


def _ranges(topology: Topology) -> tuple[Network, Network]:
    return topology.network, topology.private


def _ip(*arguments: str) -> str:
    program = find_program("ip")
    if program is None:
        raise HarnessError("there is no `ip` on this machine (Debian: apt install iproute2)")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=10, check=False)
    if done.returncode:
        raise HarnessError(f"`ip {' '.join(arguments)}`: {done.stderr.strip()}")
    return done.stdout
