"""Negative controls of the firewalls: each breaks real rules, or what goes past them, on real machines."""

from __future__ import annotations

import pytest

from harness.hosts import firewall
from tests.machines_stack import START, Machines

pytestmark = pytest.mark.slow
RULES, REACH, INSTANT, PRIVATE, KEPT = (
    "machines.firewall.rules",
    "machines.firewall.reach",
    "instant.firewall",
    "machines.private_only",
    "machines.kept_running",
)
RESTORED = "nft -f /etc/harness/firewall.nft"


def element(machines: Machines, machine: str, port: int) -> str:
    declared = machines.stack.fleet.machines.host(machine)
    address = declared.address if port == 22 else declared.private_address
    return f"{address} . {port}"


def test_machines_that_are_as_declared_pass_every_check(machines: Machines) -> None:
    assert machines.only() == ""
    assert firewall.prepare(machines.stack.fleet, ["instant", "balancer"], lambda _: None) == ()


def test_a_flushed_ruleset_is_refuted(machines: Machines) -> None:
    with machines.broken("instant", "nft flush ruleset", RESTORED):
        text = machines.only(RULES, INSTANT, PRIVATE)
    assert "instant: table inet harness" in text
    assert "reached from balancer, gateway-1, outsider, operator" in text


def test_an_open_policy_is_refuted(machines: Machines) -> None:
    opened = "nft chain inet harness input '{ policy accept; }'"
    with machines.broken("instant", opened, RESTORED):
        text = machines.only(RULES)
    assert "instant: chain input" in text
    assert "observed  hook input, priority 0, policy accept" in text


def test_a_table_that_sleeps_is_refuted_and_put_right(machines: Machines) -> None:
    fleet = machines.stack.fleet
    with machines.broken("instant", "nft add table inet harness '{ flags dormant; }'", RESTORED):
        text = machines.only(RULES, INSTANT, PRIVATE)
        assert "instant: table inet harness" in text
        assert "is it dormant?" in text
        assert firewall.prepare(fleet, ["instant"], lambda _: None)
        assert machines.only() == ""


def test_one_grant_too_many_is_refuted(machines: Machines) -> None:
    outsider = machines.stack.fleet.machines.host("outsider").address
    grant = f"nft add element inet harness public_v4 '{{ {outsider} . 8000 }}'"
    with machines.broken("instant", grant, RESTORED):
        text = machines.only(RULES, INSTANT, PRIVATE)
    assert f"{outsider} . 8000 is let in, and not declared" in text
    assert "reached from outsider" in text


def test_a_missing_grant_is_refuted(machines: Machines) -> None:
    held = element(machines, "gateway-1", 8000)
    with machines.broken("instant", f"nft delete element inet harness private_v4 '{{ {held} }}'", RESTORED):
        text = machines.only(RULES, INSTANT)
    assert f"{held} is missing: who is allowed is refused" in text
    assert "the firewall of instant refused gateway-1" in text


def test_a_service_that_does_not_listen_is_refuted(machines: Machines) -> None:
    with machines.broken("gateway-1", "docker stop gateway", "docker start gateway"):
        text = machines.only(REACH, KEPT)
    assert "observed  nothing listens" in text
    assert "where     gateway-1, port 8000" in text


def test_a_service_on_loopback_alone_is_refuted(machines: Machines) -> None:
    """Docker publishes it on loopback: the balancer does not reach it, and the firewall is not to blame."""
    local = (
        "docker rm -f gateway; docker run -d --name gateway -p 127.0.0.1:8000:8000 --restart always \\\n"
    )
    local += "--log-driver journald --log-opt tag=gateway -v /opt/gateway.pl:/gateway.pl:ro perl"
    with machines.broken("gateway-1", local, f"docker rm -f gateway; {START}"):
        text = machines.only(REACH)
    assert "it listens on 127.0.0.1 (docker-proxy) alone" in text


def test_a_cut_link_is_refuted(machines: Machines) -> None:
    with machines.broken("gateway-1", "ip link set wg0 down", "systemctl restart wg-quick@wg0"):
        text = machines.only(REACH, INSTANT, PRIVATE)
    assert "where     gateway-1, private network" in text
    assert "where     gateway-1: wg0" in text


def test_a_peer_that_cannot_get_out_is_refuted(machines: Machines) -> None:
    instant = machines.stack.fleet.machines.host("instant").private_address
    filtered = (
        "nft add table inet mine; nft add chain inet mine out '{ type filter hook output priority 0; }'\n"
        f"nft add rule inet mine out ip daddr {instant} drop"
    )
    with machines.broken("gateway-1", filtered, "nft delete table inet mine"):
        text = machines.only(INSTANT)
    assert "gateway-1 filters what it sends: table inet mine, chain out" in text


def test_a_gpu_on_the_public_network_is_refuted(machines: Machines) -> None:
    gateway = machines.stack.fleet.machines.host("gateway-1").address
    grant = f"nft add element inet harness public_v4 '{{ {gateway} . 8000 }}'"
    with machines.broken("instant", grant, RESTORED):
        text = machines.only(RULES, INSTANT, PRIVATE)
    assert "open from gateway-1, over the public network" in text


def test_a_stranger_on_the_private_network_is_refuted(machines: Machines) -> None:
    stranger = "key=$(wg genkey | wg pubkey); echo $key >/run/stranger"
    added = f"{stranger}; wg set wg0 peer $key allowed-ips 10.99.0.9/32"
    with machines.broken("instant", added, "wg set wg0 peer $(cat /run/stranger) remove"):
        text = machines.only(PRIVATE)
    assert "a peer at 10.99.0.9 that no machine is" in text


PUBLISHED = """\
docker run -d --name published -p 9000:8000 -v /opt/gateway.pl:/gateway.pl:ro perl
"""


def test_a_port_that_docker_publishes_is_refuted(machines: Machines) -> None:
    """Docker leads 9000 past INPUT: as long as prerouting decides, it is refused; without that, reached."""
    with machines.broken("gateway-1", PUBLISHED, "docker rm -f published >/dev/null"):
        assert machines.only() == ""
        bypassed = "nft flush chain inet harness arriving"
        with machines.broken("gateway-1", bypassed, RESTORED):
            text = machines.only(RULES, REACH)
    assert "the container published publishes it" in text
    assert "reached from balancer, instant, outsider, operator" in text
    assert "gateway-1: chain arriving" in text
