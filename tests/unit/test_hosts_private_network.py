"""The private network out of what a machine says: WireGuard's peers, or Tailscale's status.

`recorded/tailscale_status.json` has the shape that Tailscale documents (package ipn/ipnstate: Status and
PeerStatus, as `tailscale status --json` prints them), with names and addresses of examples.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from harness.environment.machines import PrivateNetwork
from harness.hosts.facts import HostFacts, UnknownFact
from harness.hosts.private_network import PrivateStatus, status_of

TAILSCALE = json.loads((Path(__file__).parent / "recorded" / "tailscale_status.json").read_text())
TAILNET = PrivateNetwork(kind="tailscale", range="100.64.0.0/10", interface="tailscale0")
WIREGUARD = PrivateNetwork(kind="wireguard", range="10.87.1.0/24", interface="wg0", port=51820)
PEERS = [
    {
        "interface": "wg0",
        "public_key": "K6QPymQTV6bGFHd0nVkZpUhHrO1k+2pwK+UoXGnw8yE=",
        "endpoint": "10.86.1.31:51820",
        "addresses": ["10.87.1.31/32"],
        "handshake": 1795575396,
    },
    {
        "interface": "wg0",
        "public_key": "ayzT4YZ8x4EmhBZdSh6sR0hpc44G8qM8qSlXjhCNFDw=",
        "endpoint": "(none)",
        "addresses": ["10.87.1.41/32"],
        "handshake": 0,
    },
    {
        "interface": "vpn7",
        "public_key": "9tMhm7alHJ9o6oKIcm/jDF0t1hxlMkEkSntKLPtKEFI=",
        "endpoint": "203.0.113.5:51820",
        "addresses": ["10.87.1.99/32"],
        "handshake": 1795575396,
    },
]


def facts(**parts: Any) -> HostFacts:
    return HostFacts("gateway-1", {name: {"value": value} for name, value in parts.items()}, 0.0, 0.0)


def link(name: str, *addresses: str, up: bool = True) -> dict[str, Any]:
    flags = ["POINTOPOINT", "UP"] if up else ["POINTOPOINT"]
    return {"ifname": name, "flags": flags, "addr_info": [{"local": address} for address in addresses]}


def tailscale(**changes: Any) -> PrivateStatus:
    return status_of(TAILNET, facts(tailscale={**copy.deepcopy(TAILSCALE), **changes}))


# --- WireGuard ---------------------------------------------------------------------------------------


def test_wireguard_shows_the_peers_of_the_declared_interface_alone() -> None:
    status = status_of(WIREGUARD, facts(peers=PEERS, addresses=[link("wg0", "10.87.1.21")]))
    assert status.problem == ""
    assert status.addresses == ("10.87.1.21",)
    assert [peer.addresses for peer in status.peers] == [("10.87.1.31",), ("10.87.1.41",)]
    assert status.peer("10.87.1.99") is None
    instant, database = status.peers
    assert instant.endpoint == "10.86.1.31:51820"
    assert database.endpoint == ""
    assert instant.alive(1795575396 + 179)
    assert not instant.alive(1795575396 + 181)
    assert not database.alive(100), "there was never a handshake"


@pytest.mark.parametrize(
    ("links", "problem"),
    [
        ([link("eth0", "10.86.1.21")], "there is no interface wg0 with an address"),
        ([link("wg0")], "there is no interface wg0 with an address"),
        ([link("wg0", "10.87.1.21", up=False)], "wg0 is down"),
    ],
)
def test_a_machine_that_is_off_the_wireguard_network_says_why(links: list[Any], problem: str) -> None:
    assert status_of(WIREGUARD, facts(peers=[], addresses=links)).problem == problem


# --- Tailscale ---------------------------------------------------------------------------------------


def test_tailscale_shows_itself_and_every_peer() -> None:
    status = tailscale()
    assert status.problem == ""
    assert status.addresses[0] == "100.72.0.11"
    assert {peer.name for peer in status.peers} == {"instant", "balancer", "laptop", "old"}
    instant = status.peer("100.72.0.31")
    assert instant is not None
    assert instant.online
    assert instant.endpoint == "203.0.113.31:41641"
    assert instant.alive(1795554843.5 + 60)
    relayed = status.peer("100.72.0.10")
    assert relayed is not None
    assert relayed.endpoint == "relay fra"


def test_a_tailscale_peer_that_is_off_or_whose_key_has_expired_is_not_online() -> None:
    status = tailscale()
    laptop, old = status.peer("100.72.0.42"), status.peer("100.72.0.77")
    assert laptop is not None
    assert old is not None
    assert not laptop.online
    assert laptop.handshake == 0, "Go's zero time is no handshake"
    assert not laptop.alive(1795554843)
    assert not old.online


@pytest.mark.parametrize("state", ["NoState", "NeedsLogin", "NeedsMachineAuth", "Stopped", "Starting"])
def test_a_machine_on_which_tailscale_does_not_run_says_so(state: str) -> None:
    assert tailscale(BackendState=state, Peer=None, TailscaleIPs=None).problem == f"Tailscale is {state}"


def test_a_machine_whose_own_key_has_expired_says_so() -> None:
    mine = {**TAILSCALE["Self"], "Expired": True}
    assert tailscale(Self=mine).problem == "its key has expired (2027-03-30T08:00:12Z)"


def test_a_machine_that_the_control_server_does_not_hear_of_says_so() -> None:
    assert "does not hear of it" in tailscale(Self={**TAILSCALE["Self"], "Online": False}).problem


@pytest.mark.parametrize(
    "changes",
    [
        {"BackendState": "Running", "Self": None},
        {"Peer": [1, 2]},
        {"Peer": {"nodekey:1": {"HostName": "instant"}}},
        {"Peer": {"nodekey:1": {**TAILSCALE["Self"], "LastHandshake": "yesterday"}}},
    ],
)
def test_another_shape_is_unknown_and_never_a_default(changes: dict[str, Any]) -> None:
    with pytest.raises(UnknownFact, match="`tailscale status --json` has another shape"):
        tailscale(**changes)


def test_a_machine_that_could_not_say_is_unknown() -> None:
    said = HostFacts("gateway-1", {"tailscale": {"error": "tailscale: not found"}}, 0.0, 0.0)
    with pytest.raises(UnknownFact, match="tailscale: not found"):
        status_of(TAILNET, said)
