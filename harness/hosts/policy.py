"""Who may reach what on a machine: from `machines.hosts[].allows` to nftables, and back; pure.

The table `inet harness` decides in prerouting, before Docker leads a published port past INPUT; the input
chain decides once more. Everything that differs between machines stands in six sets; the chains are the
same everywhere. Each refused packet leaves its source, source port and port in a set for some minutes: so a
probe can prove that it was this firewall which refused it.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from harness.environment.machines import ANYONE, OPERATOR, Allow, Machine, Machines
from harness.errors import HarnessError

__all__ = [
    "DENIED",
    "TABLE",
    "Policy",
    "Refused",
    "nft_text",
    "policy_of",
    "refused",
    "resolved",
    "sources",
]

TABLE = "harness"
DENIED = "denied"
"""Name of the counter, and what the names of the sets of refused packets begin with."""
_PRIVATE_PORTS = {"wireguard": 51820, "tailscale": 41641}

Resolve = Callable[[str], tuple[str, ...]]
"""A host's addresses."""
Grants = frozenset[tuple[str, int]]
"""Source address and port."""


def resolved(host: str) -> tuple[str, ...]:
    """Every address of ``host``.

    Raises:
        HarnessError: the name does not resolve: rules cannot be made of it.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise HarnessError(f"{host} does not resolve, so no rule can name it: {error}") from None
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True)
class Policy:
    """What may be reached on one machine. Each field but the first two is a set of the table.

    ``interface``: that of the private network; ``tunnel``: its UDP port, open so that peers find each
    other (whoever has no key gets no answer there).
    """

    interface: str
    tunnel: int
    public_v4: Grants = frozenset()
    public_v6: Grants = frozenset()
    private_v4: Grants = frozenset()
    private_v6: Grants = frozenset()
    public_anyone: frozenset[int] = frozenset()
    private_anyone: frozenset[int] = frozenset()

    def sets(self) -> dict[str, frozenset[Any]]:
        """Name of each set of the table: its elements."""
        return {field.name: getattr(self, field.name) for field in fields(self)[2:]}


def policy_of(machines: Machines, machine: Machine, resolve: Resolve = resolved) -> Policy:
    """What the environment allows on ``machine``.

    Raises:
        HarnessError: when a source's name does not resolve, or has no address on the private network.
    """
    network = machines.private_network
    found: dict[str, set[Any]] = {name: set() for name in Policy("", 0).sets()}
    for allow in machine.allows:
        if ANYONE in allow.sources:
            found[f"{allow.over}_anyone"].add(allow.port)
        for address in sources(machines, allow, resolve):
            version = ipaddress.ip_address(address).version
            found[f"{allow.over}_v{version}"].add((address, allow.port))
    return Policy(
        interface=network.interface,
        tunnel=network.port or _PRIVATE_PORTS[network.kind],
        **{name: frozenset(elements) for name, elements in found.items()},
    )


def sources(machines: Machines, allow: Allow, resolve: Resolve = resolved) -> list[str]:
    """The addresses from which ``allow`` lets somebody in; none for `anyone`."""
    found: list[str] = []
    for name in allow.sources:
        if name == ANYONE:
            continue
        public = machines.operator if name == OPERATOR else machines.host(name).address
        private = (
            machines.operator_private_address if name == OPERATOR else machines.host(name).private_address
        )
        if allow.over == "public":
            found += resolve(public)
        elif private is not None:
            found.append(private)
        else:
            raise HarnessError(
                f"{name} has no address on the private network, but port {allow.port} names it"
            )
    return found


# --- nftables ------------------------------------------------------------------------------------

_ICMP = ("destination-unreachable", "echo-request", "parameter-problem", "time-exceeded")
_ICMPV6 = (
    "destination-unreachable",
    "packet-too-big",
    "time-exceeded",
    "parameter-problem",
    "echo-request",
    "nd-router-solicit",
    "nd-router-advert",
    "nd-neighbor-solicit",
    "nd-neighbor-advert",
    "mld-listener-query",
)
_TEXT = """\
# Written by the chat stack harness from `machines` of the environment file; a deploy writes it again.
table inet {table}
delete table inet {table}
table inet {table} {{
{sets}
    # who was refused of late: source, source port, port
    set {denied}_v4 {{ type ipv4_addr . inet_service . inet_service; {kept} }}
    set {denied}_v6 {{ type ipv6_addr . inet_service . inet_service; {kept} }}
    counter {denied} {{ }}

    chain allowed {{
{allowed}
    }}
    chain refused {{
{refused}
    }}
    # before Docker's DNAT: a published port is decided here, by its number on the machine
    chain arriving {{
        type filter hook prerouting priority mangle; policy accept;
{arriving}
    }}
    chain input {{
        type filter hook input priority filter; policy drop;
{input}
    }}
    # into a container only by a published port, which was decided on arrival
    chain forward {{
        type filter hook forward priority filter - 10; policy accept;
{forward}
    }}
}}
"""


def chains(policy: Policy) -> dict[str, tuple[str, ...]]:
    """Name of each chain: its rules, as nft prints them."""
    wire = policy.interface
    return {
        "allowed": (
            'iifname "lo" accept',
            "ct state established,related accept",
            f"icmp type {{ {', '.join(_ICMP)} }} accept",
            f"icmpv6 type {{ {', '.join(_ICMPV6)} }} accept",
            "udp sport 67 udp dport 68 accept",
            "udp sport 547 udp dport 546 accept",
            f'iifname != "{wire}" udp dport {policy.tunnel} accept',
            f'iifname != "{wire}" ip saddr . tcp dport @public_v4 accept',
            f'iifname != "{wire}" ip6 saddr . tcp dport @public_v6 accept',
            f'iifname != "{wire}" tcp dport @public_anyone accept',
            f'iifname "{wire}" ip saddr . tcp dport @private_v4 accept',
            f'iifname "{wire}" ip6 saddr . tcp dport @private_v6 accept',
            f'iifname "{wire}" tcp dport @private_anyone accept',
        ),
        "refused": (
            f"update @{DENIED}_v4 {{ ip saddr . tcp sport . tcp dport }}",
            f"update @{DENIED}_v6 {{ ip6 saddr . tcp sport . tcp dport }}",
            f'counter name "{DENIED}" drop',
        ),
        "arriving": ("fib daddr type != local accept", "jump allowed", "goto refused"),
        "input": ("jump allowed", "goto refused"),
        "forward": (
            "ct state established,related accept",
            "ct status dnat accept",
            'iifname "docker*" accept',
            'iifname "br-*" accept',
            "goto refused",
        ),
    }


def nft_text(policy: Policy) -> str:
    """The table as a file that nft loads in one transaction, replacing the one before."""
    indented = {
        name: "\n".join(f"        {rule}" for rule in rules) for name, rules in chains(policy).items()
    }
    kept = "size 65535; flags dynamic,timeout; timeout 5m;"
    return _TEXT.format(table=TABLE, denied=DENIED, kept=kept, sets="\n".join(_sets(policy)), **indented)


_TYPES = {"v4": "ipv4_addr . inet_service", "v6": "ipv6_addr . inet_service", "anyone": "inet_service"}


def _sets(policy: Policy) -> Iterator[str]:
    for name, elements in policy.sets().items():
        kind = _TYPES[name.partition("_")[2]]
        shown = ", ".join(
            f"{element[0]} . {element[1]}" if isinstance(element, tuple) else str(element)
            for element in sorted(elements)
        )
        yield f"    set {name} {{ type {kind};{f' elements = {{ {shown} }};' if shown else ''} }}"


# --- who was refused -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Refused:
    """What a machine's firewall has counted. ``packets`` in all; ``tries``: (source, its port, port)."""

    packets: int
    tries: frozenset[tuple[str, int, int]]


def refused(ruleset: list[Mapping[str, Any]]) -> Refused | None:
    """What our table refused of late; None when there is no such table."""
    packets, tries = None, set()
    for entry in ruleset:
        ((kind, thing),) = entry.items()
        if thing.get("table") != TABLE or thing.get("family") != "inet":
            continue
        if kind == "counter" and thing["name"] == DENIED:
            packets = int(thing["packets"])
        if kind == "set" and thing["name"].startswith(f"{DENIED}_"):
            tries |= {_try(element) for element in thing.get("elem", [])}
    return None if packets is None else Refused(packets, frozenset(tries))


def _try(element: Any) -> tuple[str, int, int]:
    while "concat" not in element:  # wrapped in its time-out
        element = element["elem"]["val"] if "elem" in element else element["val"]
    source, port, to = element["concat"]
    return str(source), int(port), int(to)
