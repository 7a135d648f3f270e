"""The private network as a machine on it sees it, whatever makes it: WireGuard or Tailscale.

    status = status_of(machines.private_network, facts)
    status.problem          # "" or why the machine is not on it
    status.peer("10.87.1.31")

Pure: what the machine said is read by :mod:`harness.hosts.facts` in the one batch of a run.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from harness.environment.machines import PrivateNetwork
from harness.hosts.facts import HostFacts, UnknownFact

__all__ = ["PrivatePeer", "PrivateReader", "PrivateStatus", "Tailscale", "Wireguard", "status_of"]

_ALIVE_SECONDS = 180
"""WireGuard makes new keys after 120 s of use, and forgets them after 180 (Reject-After-Time)."""


@dataclass(frozen=True)
class PrivatePeer:
    """Another end. ``handshake``: seconds since the epoch, 0: never; ``online`` None: nobody can say."""

    name: str
    public_key: str
    addresses: tuple[str, ...]
    endpoint: str
    handshake: float
    online: bool | None

    def alive(self, now: float) -> bool:
        """Whether the two hold keys that still count at ``now`` (epoch seconds).

        Not alive may only mean that nothing was sent for a while: WireGuard is silent then.
        """
        return self.handshake > 0 and now - self.handshake < _ALIVE_SECONDS


@dataclass(frozen=True)
class PrivateStatus:
    """One machine's view. ``problem``: why it is not on the network; empty when it is."""

    problem: str
    addresses: tuple[str, ...]
    peers: tuple[PrivatePeer, ...]

    def peer(self, address: str) -> PrivatePeer | None:
        """The peer that has ``address``."""
        return next((peer for peer in self.peers if address in peer.addresses), None)


class PrivateReader(Protocol):
    """Reads one kind of private network out of what a machine says of itself."""

    def read(self, network: PrivateNetwork, facts: HostFacts) -> PrivateStatus:
        """The machine's view of ``network``.

        Raises:
            UnknownFact: when the machine could not say.
        """
        ...


class Wireguard:
    """Reads `wg show all dump`, as gathered: peers without any key but their public one."""

    def read(self, network: PrivateNetwork, facts: HostFacts) -> PrivateStatus:
        """The peers of the declared interface, and its addresses."""
        addresses = facts.addresses.get(network.interface, ())
        if not addresses:
            return PrivateStatus(f"there is no interface {network.interface} with an address", (), ())
        peers = tuple(
            PrivatePeer(
                name="",
                public_key=peer.public_key,
                addresses=tuple(_host(address) for address in peer.addresses),
                endpoint="" if peer.endpoint == "(none)" else peer.endpoint,
                handshake=float(peer.handshake),
                online=None,
            )
            for peer in facts.peers
            if peer.interface == network.interface
        )
        problem = "" if network.interface in facts.up else f"{network.interface} is down"
        return PrivateStatus(problem, addresses, peers)


class Tailscale:
    """Reads `tailscale status --json`: the Status and PeerStatus of Tailscale's ipn/ipnstate package.

    Its documentation warns that the format may change, so every field is checked as it is used.
    """

    def read(self, network: PrivateNetwork, facts: HostFacts) -> PrivateStatus:
        """Self and every peer in the network map."""
        said = facts.part("tailscale")
        try:
            return self.status(said)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            why = f"`tailscale status --json` has another shape: {type(error).__name__}: {error}"
            raise UnknownFact(facts.machine, "tailscale", why) from None

    def status(self, said: Mapping[str, Any]) -> PrivateStatus:
        """The same of the parsed JSON; pure."""
        own = tuple(said["TailscaleIPs"] or ())
        peers = tuple(self._peer(peer) for peer in (said["Peer"] or {}).values())
        return PrivateStatus(self._problem(said), own, peers)

    @staticmethod
    def _problem(said: Mapping[str, Any]) -> str:
        if said["BackendState"] != "Running":
            return f"Tailscale is {said['BackendState']}"
        mine = said["Self"]
        if mine.get("Expired"):
            return f"its key has expired ({mine.get('KeyExpiry', 'unknown when')})"
        if not mine["Online"]:
            return "Tailscale runs, but its control server does not hear of it"
        return ""

    @staticmethod
    def _peer(peer: Mapping[str, Any]) -> PrivatePeer:
        relay = f"relay {peer['Relay']}" if peer["Relay"] else ""
        return PrivatePeer(
            name=peer["DNSName"].partition(".")[0] or peer["HostName"],
            public_key=peer["PublicKey"],
            addresses=tuple(peer["TailscaleIPs"] or ()),
            endpoint=peer["CurAddr"] or relay,
            handshake=_epoch(peer["LastHandshake"]),
            online=bool(peer["Online"]) and not peer.get("Expired", False),
        )


_READERS: dict[str, PrivateReader] = {"wireguard": Wireguard(), "tailscale": Tailscale()}


def status_of(network: PrivateNetwork, facts: HostFacts) -> PrivateStatus:
    """What the machine of ``facts`` sees of ``network``, by the reader of its kind.

    Raises:
        UnknownFact: when the machine could not say.
    """
    return _READERS[network.kind].read(network, facts)


def _host(address: str) -> str:
    """An allowed IP without its prefix, when it is one host: 10.87.1.31/32."""
    return address.removesuffix("/32").removesuffix("/128")


def _epoch(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time; Go's zero time (year 1): never."""
    when = dt.datetime.fromisoformat(text)
    return 0.0 if when.year == 1 else when.timestamp()
