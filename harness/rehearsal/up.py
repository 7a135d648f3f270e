"""Raises a rehearsal: idempotent, and safe to repeat after it was killed at any point."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import docker

from harness.environment import Environment
from harness.errors import DeadlineExceeded, HarnessError, Unreachable
from harness.hosts.ssh import Remote
from harness.providers.local.processes import LocalProcesses
from harness.rehearsal.down import remove_abandoned
from harness.rehearsal.engine import ENGINE_ERRORS, Say, ensure_engine, require_root
from harness.rehearsal.furnishing import furnish_state, machine_files, operator_files
from harness.rehearsal.hosts import Specification, ensure, machine, standing
from harness.rehearsal.image import ensure_images
from harness.rehearsal.limits import ensure_limits
from harness.rehearsal.network import contain, ensure_network, routes
from harness.rehearsal.pki import ensure_pki
from harness.rehearsal.private import OPERATOR, operator_script, peers_of
from harness.rehearsal.registry import ensure_registry
from harness.rehearsal.topology import Topology, topology_of
from harness.runlock import run_lock
from harness.secrets import SecretStore
from harness.waiting import wait_until

__all__ = ["Raised", "raise_rehearsal"]

_BOOT_SECONDS = 120.0
_JOIN_SECONDS = 60.0
_TUN = Path("/dev/net/tun")


@dataclass(frozen=True)
class Raised:
    """What raising did: names of containers that were made, and of those that stood already."""

    made: tuple[str, ...]
    stood: tuple[str, ...]


def raise_rehearsal(environment: Environment, root: Path, say: Say) -> Raised:
    """See that the whole topology of ``environment`` stands and every machine can be logged in to.

    Raises:
        HarnessError: says which part could not be raised, and why.
    """
    topology = topology_of(environment, root)
    if not _TUN.exists():
        raise HarnessError(
            f"there is no {_TUN} on this machine: the private network needs it (modprobe tun)"
        )
    require_root()
    with run_lock(topology.state), contextlib.closing(ensure_engine(say)) as client:
        ensure_limits(say)
        try:
            return _raise(client, environment, topology, say)
        except ENGINE_ERRORS as error:
            raise HarnessError(f"{topology.name}: the Docker engine: {error}") from error


def _raise(client: docker.DockerClient, environment: Environment, topology: Topology, say: Say) -> Raised:
    image = ensure_images(client, say)
    if removed := str(remove_abandoned(client, topology)):
        say(f"removed what a checkout that is no more had left: {removed}")
    contain(topology)
    ensure_network(client, topology)
    wanted = _specifications(environment, topology, image)
    _remove_others(client, topology, wanted)
    say(f"starting {len(wanted)} containers")
    with ThreadPoolExecutor(4) as pool:
        started = pool.submit(_ensure_registry, topology)
        made = list(pool.map(lambda one: ensure(client, one, topology.name), wanted))
        started.result()
    say("waiting for the machines to boot")
    if topology.machines.operator_private_address is not None:
        _await_private_network(client, topology)
    _await_boot(environment, topology)
    names = [one.name for one in wanted]
    return Raised(
        tuple(name for name, new in zip(names, made, strict=True) if new),
        tuple(name for name, new in zip(names, made, strict=True) if not new),
    )


def _ensure_registry(topology: Topology) -> None:
    """Where the gateway is pulled from a registry on this machine; elsewhere there is nothing to start."""
    if topology.registry_port:
        ensure_registry(topology, LocalProcesses(topology.state))


def _specifications(environment: Environment, topology: Topology, image: str) -> list[Specification]:
    keys = furnish_state(environment, topology)
    names = topology.tls_names  # none where no load balancer is declared
    certificate = ensure_pki(topology.state / "pki", names) if names else b""
    peers = peers_of(topology, topology.state / "keys")
    found = [
        machine(host, topology, image, machine_files(host, topology, keys[host.name], peers, certificate))
        for host in topology.hosts
    ]
    if (me := peers.get(OPERATOR)) is not None:
        options = {
            "command": ["sh", "-c", operator_script(topology, me.address)],
            "cap_add": ["NET_ADMIN"],
            "devices": ["/dev/net/tun:/dev/net/tun:rwm"],
            "init": True,
        }
        files = operator_files(topology, peers, me)
        name = topology.operator_container
        found.append(Specification(name, image, options, files, None, topology.labels))
    return found


def _remove_others(client: docker.DockerClient, topology: Topology, wanted: list[Specification]) -> None:
    """Containers of an earlier version of the environment file, which may hold an address."""
    names = {one.name for one in wanted}
    for container in standing(client, topology):
        if container.name not in names:
            container.remove(force=True, v=True)


def _await_private_network(client: docker.DockerClient, topology: Topology) -> None:
    """Until this machine is on the private network.

    Raises:
        HarnessError: with the last words of the container that was to see to it.
    """

    def joined() -> bool:
        return any(route.get("dev") == topology.operator_interface for route in routes())

    try:
        wait_until("this machine on the private network", joined, seconds=_JOIN_SECONDS)
    except DeadlineExceeded as error:
        said = client.containers.get(topology.operator_container).logs(tail=5).decode("utf-8", "replace")
        raise HarnessError(f"{topology.operator_container}: {error}\n{said.strip()}") from None


def _await_boot(environment: Environment, topology: Topology) -> None:
    """Until systemd says of every machine that it runs, with no unit failed.

    Raises:
        HarnessError: naming the machines that do not, and what failed on them.
    """
    store = SecretStore(topology.root, topology.state)
    remote = Remote(
        topology.machines, store.resolve(topology.machines.ssh.key), topology.root, topology.state
    )
    names = [host.name for host in topology.hosts]

    def one(name: str) -> str:
        remote.await_login(name, _BOOT_SECONDS)
        script = "systemctl is-system-running --wait || systemctl --failed --plain --no-legend"
        try:
            said = remote.script(name, script, seconds=_BOOT_SECONDS).text.split("\n", 1)
        except Unreachable as error:
            return str(error)
        return "" if said[0] == "running" else f"{name}: {said[0]}: {said[-1].strip()}"

    try:
        with ThreadPoolExecutor(len(names)) as pool:
            failures = [failure for failure in pool.map(one, names) if failure]
    finally:
        remote.close()
    if failures:
        raise HarnessError(f"{topology.name}: not every machine has booted\n  " + "\n  ".join(failures))
