"""What stands after `harness rehearsal up`: machines that can be logged in to, and no way out."""

from __future__ import annotations

import contextlib
import functools
import socket
import ssl
import subprocess
import time
from pathlib import Path

import docker
import httpx
import pytest

from harness.errors import HarnessError, Unreachable
from harness.hosts.facts_of_machines import Facts
from harness.hosts.private_network import status_of
from harness.hosts.ssh import Remote
from harness.rehearsal import network
from harness.rehearsal.down import remove_abandoned
from harness.rehearsal.keys import SshKey, ssh_key
from harness.rehearsal.topology import LABEL, STATE_LABEL
from harness.waiting import wait_until
from tests.rehearsal.conftest import Rehearsal, copy_of, free_number, run
from tests.rehearsal.sniffer import packets_on

SERVERS = ("balancer", "gateway-1", "gateway-2", "instant", "database")
VANTAGES = ("outsider", "client")


def test_every_machine_lets_the_declared_user_in_and_has_booted(
    rehearsal: Rehearsal, remote: Remote
) -> None:
    script = "hostname; id -un; sudo -n id -u; systemctl is-system-running; systemctl is-active docker"
    answers = remote.everywhere({name: ["sh", "-c", script] for name in (*SERVERS, *VANTAGES)})
    for name, answer in answers.items():
        engine = "active" if name.startswith("gateway") else "inactive"
        assert answer.text.split() == [name, "deploy", "0", "running", engine]


def test_a_machine_with_another_host_key_is_refused(rehearsal: Rehearsal) -> None:
    known = rehearsal.topology.known_hosts
    text = known.read_text()
    lines = [line.split(" ", 1) for line in text.splitlines()]
    swapped = [lines[1][1], lines[0][1], *(key for _, key in lines[2:])]
    try:
        known.write_text("".join(f"{line[0]} {key}\n" for line, key in zip(lines, swapped, strict=True)))
        remote = rehearsal.remote()
        with pytest.raises(Unreachable, match="its host key is not the pinned one"):
            remote.run("balancer", ["true"])
        remote.close()
    finally:
        known.write_text(text)


def test_a_second_up_changes_nothing(rehearsal: Rehearsal) -> None:
    raised = rehearsal.up()
    assert raised.made == ()
    assert len(raised.stood) == 8


def test_a_machine_that_was_removed_is_raised_again_and_no_other(
    rehearsal: Rehearsal, engine: docker.DockerClient
) -> None:
    engine.containers.get(f"{rehearsal.topology.name}-outsider").remove(force=True, v=True)
    assert rehearsal.up().made == (f"{rehearsal.topology.name}-outsider",)


def test_a_machine_comes_back_from_a_reboot_with_its_network(rehearsal: Rehearsal, remote: Remote) -> None:
    remote.run("instant", ["touch", "/run/of-this-boot"], sudo=True).require()
    peers = [
        str(rehearsal.topology.machines.host(name).private_address) for name in ("gateway-1", "database")
    ]
    everybody = [*peers, str(rehearsal.topology.machines.operator_private_address)]
    remote.script("instant", "\n".join(f"ping -c1 -W30 {address}" for address in everybody)).require()
    remote.run("instant", ["systemctl", "reboot"], sudo=True).require()
    restarted = functools.partial(_has_restarted, remote, "instant")
    wait_until("instant restarted", restarted, seconds=120, errors=(Unreachable,))
    state = remote.run("instant", ["systemctl", "is-system-running", "--wait"], seconds=30).text.strip()
    assert state == "running"
    address = str(rehearsal.topology.machines.host("instant").private_address)
    for name in ("gateway-1", "database"):  # whose keys with it were of the time before
        remote.run(name, ["ping", "-c1", "-W30", address]).require()


def _has_restarted(remote: Remote, machine: str) -> bool:
    """Whether what the boot before has left in /run is gone."""
    remote.drop(machine)
    return remote.run(machine, ["test", "-e", "/run/of-this-boot"], seconds=10).status == 1


def test_a_gateway_machine_runs_containers_of_its_own(remote: Remote) -> None:
    files = "bin/true lib/x86_64-linux-gnu/libc.so.6 lib64/ld-linux-x86-64.so.2"
    script = (
        f"set -e; tar -C / -ch {files} | docker import - tiny >/dev/null; docker run --rm tiny /bin/true"
    )
    for name in ("gateway-1", "gateway-2"):
        remote.script(name, script, seconds=60).require()


# --- the private network -----------------------------------------------------------------------------


def test_every_server_reaches_every_other_on_the_private_network(
    rehearsal: Rehearsal, remote: Remote
) -> None:
    addresses = [h.private_address for h in rehearsal.topology.hosts if h.private_address]
    addresses.append(rehearsal.topology.machines.operator_private_address)
    script = " && ".join(f"ping -c1 -W30 -q {address} >/dev/null" for address in addresses)
    for name, answer in remote.everywhere({name: ["sh", "-c", script] for name in SERVERS}).items():
        assert answer.status == 0, name


@pytest.mark.parametrize("vantage", VANTAGES)
def test_who_is_not_on_the_private_network_cannot_reach_it(remote: Remote, vantage: str, rehearsal) -> None:
    address = rehearsal.topology.machines.host("instant").private_address
    said = remote.run(vantage, ["ping", "-c1", "-W1", address])
    assert said.status != 0
    assert "unreachable" in (said.text + said.stderr.decode()).lower()


def test_the_reader_sees_the_peers_that_there_are(rehearsal: Rehearsal, remote: Remote) -> None:
    facts = Facts(remote).read("gateway-1", ["peers", "addresses", "clock"])
    status = status_of(rehearsal.topology.machines.private_network, facts)
    assert status.problem == ""
    assert status.addresses[0] == rehearsal.topology.machines.host("gateway-1").private_address
    assert len(status.peers) == len(SERVERS)  # the other four, and the operator
    address = str(rehearsal.topology.machines.host("instant").private_address)
    remote.run("gateway-1", ["ping", "-c1", "-W30", address]).require()
    facts = Facts(remote).read("gateway-1", ["peers", "addresses"])
    peer = status_of(rehearsal.topology.machines.private_network, facts).peer(address)
    assert peer is not None
    assert peer.alive(time.time())
    assert peer.endpoint == f"{rehearsal.topology.machines.host('instant').address}:51820"


def test_the_reader_says_that_a_machine_is_off_the_private_network(
    rehearsal: Rehearsal, remote: Remote
) -> None:
    private = rehearsal.topology.machines.private_network
    facts = Facts(remote)
    try:
        remote.run("database", ["systemctl", "stop", "wg-quick@wg0"], sudo=True).require()
        status = status_of(private, facts.read("database", ["peers", "addresses"]))
        assert status.problem == "there is no interface wg0 with an address"
    finally:
        remote.run("database", ["systemctl", "start", "wg-quick@wg0"], sudo=True).require()
    assert status_of(private, facts.read("database", ["peers", "addresses"])).problem == ""


# --- containment -------------------------------------------------------------------------------------


OUTSIDE = "198.51.100.1"
"""An address of nobody (RFC 5737): asking for it takes the way to everybody."""


def way_out() -> str:
    """The interface by which this machine reaches the outside; loopback where it does not."""
    shown = subprocess.run(
        ["ip", "route", "get", OUTSIDE], capture_output=True, text=True, check=False
    ).stdout
    words = shown.split()
    return words[words.index("dev") + 1] if "dev" in words else "lo"


@pytest.mark.parametrize("machine", ["gateway-1", "client"])
def test_no_machine_has_a_way_out(remote: Remote, machine: str) -> None:
    said = remote.run(machine, ["ping", "-c1", "-W1", OUTSIDE])
    assert "Network is unreachable" in said.stderr.decode()


@pytest.mark.parametrize("machine", ["gateway-1", "client"])
def test_a_machine_that_makes_itself_a_way_out_gets_nowhere(
    rehearsal: Rehearsal, remote: Remote, machine: str
) -> None:
    topology = rehearsal.topology
    address = topology.machines.host(machine).address
    sniffed = (packets_on(interface, topology.network) for interface in (topology.bridge, way_out()))
    default = ["default", "via", topology.machines.operator]
    with contextlib.ExitStack() as stack:
        inside, outside = (stack.enter_context(each) for each in sniffed)
        remote.run(machine, ["ip", "route", "add", *default], sudo=True).require()
        try:
            assert remote.run(machine, ["ping", "-c2", "-i0.2", "-W1", OUTSIDE]).status != 0
        finally:
            remote.run(machine, ["ip", "route", "del", *default], sudo=True).require()
    assert inside.count(f"{address} > {OUTSIDE}") == 2, "nothing was sent: the test proves nothing"
    assert outside == []


def test_a_name_of_the_outside_is_refused_at_once(remote: Remote) -> None:
    said = remote.run("client", ["getent", "hosts", "registry.example.com"], seconds=20)
    assert said.status == 2


def test_without_the_bridge_the_addresses_lead_nowhere(rehearsal: Rehearsal) -> None:
    """What stands behind the bridge's own route, should the bridge be missing."""
    shown = run("ip", "route", "show", "type", "unreachable")
    for contained in (rehearsal.topology.network, rehearsal.topology.private):
        assert f"unreachable {contained} metric" in shown


def test_where_nothing_is_raised_contained_addresses_are_unreachable(
    engine: docker.DockerClient, tmp_path: Path
) -> None:
    number = free_number()
    unraised = copy_of(tmp_path, f"contained-{number}", number)
    address = unraised.topology.hosts[0].address
    network.contain(unraised.topology)
    try:
        with socket.socket() as probe, pytest.raises(OSError, match="No route to host"):
            probe.connect((address, 22))
        network.contain(unraised.topology)  # again, which changes nothing
    finally:
        assert network.release(unraised.topology)
    assert not network.release(unraised.topology)


# --- certificates, registry --------------------------------------------------------------------------


def test_the_balancer_has_a_certificate_that_only_the_declared_authority_vouches_for(
    rehearsal: Rehearsal, remote: Remote
) -> None:
    held = remote.run("balancer", ["cat", rehearsal.topology.certificate], sudo=True).require().stdout
    folder = rehearsal.topology.state / "pki"
    assert held == (folder / "balancer.pem").read_bytes()
    assert remote.run("balancer", ["cat", rehearsal.topology.certificate]).status != 0, (
        "anybody can read its key"
    )
    assert remote.run("gateway-1", ["ls", rehearsal.topology.certificate], sudo=True).status != 0
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    assert len(context.get_ca_certs()) == 1


def test_the_registry_answers_on_loopback_alone(rehearsal: Rehearsal, remote: Remote) -> None:
    port = rehearsal.topology.registry_port
    assert httpx.get(f"http://127.0.0.1:{port}/v2/", trust_env=False).json() == {}
    operator = rehearsal.topology.machines.operator
    said = remote.run("gateway-1", ["curl", "-sS", "-m20", f"http://{operator}:{port}/v2/"])
    assert said.status == 7, said.text  # curl: refused


# --- who it belongs to -------------------------------------------------------------------------------


def test_another_checkout_is_told_whose_it_is(rehearsal: Rehearsal, tmp_path) -> None:
    number = rehearsal.topology.network[0].packed[2]
    other = copy_of(tmp_path, rehearsal.topology.name, number)
    with pytest.raises(HarnessError, match=r"belongs to .*/\.harness/tested-") as raised:
        other.up()
    assert str(rehearsal.topology.state) in str(raised.value)
    with pytest.raises(HarnessError, match="was raised by another checkout"):
        other.down()
    assert rehearsal.up().made == ()


def test_what_a_checkout_that_is_no_more_has_left_is_taken_away(engine, tmp_path) -> None:
    number = free_number()
    name = f"gone-{number}"
    topology = copy_of(tmp_path / "here", name, number).topology
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    labels = {LABEL: name, STATE_LABEL: str(elsewhere)}
    made = engine.networks.create(name, labels=labels, internal=True)
    try:
        assert str(remove_abandoned(engine, topology)) == ""  # somebody is there who can take it down
        elsewhere.rmdir()
        assert remove_abandoned(engine, topology).networks == (name,)
        assert engine.networks.list(names=[name]) == []
    finally:
        with contextlib.suppress(docker.errors.NotFound):
            made.remove()


def test_addresses_that_this_machine_uses_elsewhere_are_refused(rehearsal: Rehearsal, tmp_path) -> None:
    number = rehearsal.topology.network[0].packed[2]
    other = copy_of(tmp_path, f"{rehearsal.topology.name}-b", number)
    with pytest.raises(HarnessError, match=r"this machine has other networks there: .* on rh"):
        other.up()
    other.down()


def test_the_keys_are_readable_by_their_owner_alone(rehearsal: Rehearsal) -> None:
    state = rehearsal.topology.state
    secrets = [*(state / "keys").iterdir(), *(state / "secrets").iterdir(), state / "pki" / "ca-key.pem"]
    assert len(secrets) > 15
    for path in secrets:
        assert path.stat().st_mode & 0o077 == 0, path
    assert isinstance(ssh_key(rehearsal.topology.deploy_key), SshKey)
