"""The private network of a rehearsal: WireGuard between all servers and this machine.

wireguard-go, in user space, so that no kernel module is needed. Every pair of peers has its tunnel; who
is on the network is exactly who has a `private_address`. This machine is on it by a container that
shares its network: when that container goes, so does the interface.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.rehearsal.keys import WireguardKey, wireguard_key
from harness.rehearsal.topology import Topology

__all__ = ["OPERATOR", "Peer", "operator_script", "peers_of", "wg_quick", "wg_setconf"]

OPERATOR = "operator"
_DEFAULT_PORT = 51820
_KEEPALIVE_SECONDS = 15
"""The first one is sent at once: a machine that restarts has new keys with everybody before it is asked."""
_OPERATOR_PORTS = range(61000, 65000)
"""This machine may be on several private networks; no program gets one of these by chance."""


@dataclass(frozen=True)
class Peer:
    """One end of the private network; ``endpoint`` is where the others reach it over the public one."""

    name: str
    address: str
    endpoint: tuple[str, int]
    key: WireguardKey


def peers_of(topology: Topology, keys: Path) -> dict[str, Peer]:
    """Everybody on the private network, by name; their keys are kept in ``keys``."""
    port = topology.machines.private_network.port or _DEFAULT_PORT
    found = {}
    for host in topology.hosts:
        if host.private_address is not None:
            key = wireguard_key(keys / f"{host.name}.wg")
            found[host.name] = Peer(host.name, host.private_address, (host.address, port), key)
    if (address := topology.machines.operator_private_address) is not None:
        endpoint = (topology.machines.operator, _operator_port(topology))
        found[OPERATOR] = Peer(OPERATOR, address, endpoint, wireguard_key(keys / f"{OPERATOR}.wg"))
    return found


def wg_quick(me: Peer, everybody: Mapping[str, Peer], topology: Topology) -> str:
    """The configuration of ``me`` for wg-quick; contains its private key."""
    length = topology.private.prefixlen
    lines = ["[Interface]", f"Address = {me.address}/{length}", *_interface(me)]
    return "\n".join([*lines, *_others(me, everybody)]) + "\n"


def wg_setconf(me: Peer, everybody: Mapping[str, Peer]) -> str:
    """The same for `wg setconf`, which knows no addresses."""
    return "\n".join(["[Interface]", *_interface(me), *_others(me, everybody)]) + "\n"


def operator_script(topology: Topology, address: str) -> str:
    """What this machine's container runs: the interface stays for as long as it does."""
    name = topology.operator_interface
    return f"""\
set -eu
if ip link show {name} >/dev/null 2>&1; then ip link del {name}; fi  # of one that is just ending
wireguard-go --foreground {name} &
until wg show {name} >/dev/null 2>&1; do kill -0 $!; sleep 0.05; done
wg setconf {name} /etc/wireguard/{name}.conf
ip address add {address}/{topology.private.prefixlen} dev {name}
ip link set {name} mtu 1420 up
wait $!
"""


def _operator_port(topology: Topology) -> int:
    return _OPERATOR_PORTS[(int(topology.network.network_address) >> 8) % len(_OPERATOR_PORTS)]


def _interface(me: Peer) -> list[str]:
    return [f"PrivateKey = {me.key.private}", f"ListenPort = {me.endpoint[1]}"]


def _others(me: Peer, everybody: Mapping[str, Peer]) -> list[str]:
    lines = []
    for peer in everybody.values():
        if peer.name == me.name:
            continue
        lines += ["", "[Peer]", f"PublicKey = {peer.key.public}", f"AllowedIPs = {peer.address}/32"]
        address, port = peer.endpoint
        lines += [f"Endpoint = {address}:{port}", f"PersistentKeepalive = {_KEEPALIVE_SECONDS}"]
    return lines
