"""The files that each machine of a rehearsal has before it starts."""

from __future__ import annotations

from collections.abc import Mapping

from harness.environment import Environment
from harness.environment.explain import secret_fields
from harness.rehearsal.hosts import File
from harness.rehearsal.keys import SshKey, generated_secret, ssh_key, write_private
from harness.rehearsal.private import Peer, wg_quick, wg_setconf
from harness.rehearsal.topology import USER, Host, Topology

__all__ = ["furnish_state", "machine_files", "operator_files"]

_USER_ID = 1000
_UNITS = "/etc/systemd/system"
_ENGINE_UNITS = {"multi-user.target": "docker.service", "sockets.target": "docker.socket"}


def furnish_state(environment: Environment, topology: Topology) -> dict[str, SshKey]:
    """Make every secret and key that the environment keeps in its state directory; host keys by name.

    What is there is kept. The known_hosts file pins exactly these host keys.
    """
    ssh_key(topology.deploy_key)
    for _, reference in secret_fields(environment):
        path = topology.root / reference.removeprefix("file:")
        if reference.startswith("file:") and path.resolve().is_relative_to(topology.state):
            generated_secret(path)
    keys = {host.name: ssh_key(topology.state / "keys" / f"{host.name}.ssh") for host in topology.hosts}
    lines = [f"{host.address} {keys[host.name].public}\n" for host in topology.hosts]
    write_private(topology.known_hosts, "".join(lines).encode())
    return keys


def machine_files(
    host: Host, topology: Topology, key: SshKey, peers: Mapping[str, Peer], certificate: bytes
) -> dict[str, File]:
    """What ``host`` is given: its host key, the user's key, its private network; nothing of the stack."""
    authorized = ssh_key(topology.deploy_key).public.encode() + b"\n"
    files = {
        "/etc/ssh/ssh_host_ed25519_key": File(key.private.encode(), 0o600),
        "/etc/ssh/ssh_host_ed25519_key.pub": File(key.public.encode() + b"\n"),
        f"/home/{USER}/.ssh/authorized_keys": File(authorized, 0o600, _USER_ID, _USER_ID),
    }
    if host.name in peers:
        interface = topology.machines.private_network.interface
        text = wg_quick(peers[host.name], peers, topology)
        files[f"/etc/wireguard/{interface}.conf"] = File(text.encode(), 0o600)
        files |= _enabled("multi-user.target", f"wg-quick@{interface}.service", "wg-quick@.service")
    if host.runs_engine:
        for target, unit in _ENGINE_UNITS.items():
            files |= _enabled(target, unit, unit)
    if host.balances:
        files[topology.certificate] = File(certificate, 0o600)
    return files


def operator_files(topology: Topology, peers: Mapping[str, Peer], me: Peer) -> dict[str, File]:
    """What the container that keeps this machine on the private network is given."""
    text = wg_setconf(me, peers)
    return {f"/etc/wireguard/{topology.operator_interface}.conf": File(text.encode(), 0o600)}


def _enabled(target: str, unit: str, template: str) -> dict[str, File]:
    return {f"{_UNITS}/{target}.wants/{unit}": File(link=f"/lib/systemd/system/{template}")}
