"""Tears a rehearsal down by its label: no container, network, volume, route or process is left."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import APIError, NotFound
from docker.models.containers import Container

from harness.environment import Environment
from harness.errors import HarnessError
from harness.hosts.ssh import Remote
from harness.providers.local.processes import LocalProcesses
from harness.rehearsal.engine import ENGINE_ERRORS, connect, release_engine
from harness.rehearsal.hosts import standing
from harness.rehearsal.network import release
from harness.rehearsal.topology import LABEL, STATE_LABEL, Topology, topology_of
from harness.runlock import run_lock
from harness.secrets import SecretStore
from harness.waiting import wait_until

__all__ = ["Removed", "tear_down"]

_REMOVE_SECONDS = 60.0


@dataclass(frozen=True)
class Removed:
    """What was taken away, by name."""

    programs: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    routes: bool = False
    engine: bool = False


def tear_down(environment: Environment, root: Path) -> Removed:
    """Take away everything that carries the rehearsal's label, its routes, and its local programs.

    What is kept: the machines' image, what was pushed to the registry, keys and logs in the state
    directory; none of it runs.

    Raises:
        HarnessError: when another checkout has raised it, or the engine refuses.
    """
    topology = topology_of(environment, root)
    with run_lock(topology.state):
        programs = _programs(LocalProcesses(topology.state))
        _disconnect(topology)
        try:
            client = connect()
        except HarnessError:  # no engine: nothing of it can stand
            return Removed(programs, routes=release(topology))
        try:
            return _remove(client, topology, programs)
        except ENGINE_ERRORS as error:
            raise HarnessError(f"{topology.name}: the Docker engine: {error}") from error
        finally:
            client.close()


def _programs(processes: LocalProcesses) -> tuple[str, ...]:
    names = [program.name for program in processes.programs() if program.pid]
    return (*names, *processes.shutdown())


def _disconnect(topology: Topology) -> None:
    """End the connections that a run which was killed has left open; ssh would keep them for a minute."""
    if not topology.deploy_key.exists():
        return
    key = SecretStore(topology.root, topology.state).resolve(topology.machines.ssh.key)
    remote = Remote(topology.machines, key, topology.root, topology.state)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(remote.drop, [host.name for host in topology.hosts]))
    remote.close()


def _remove(client: docker.DockerClient, topology: Topology, programs: tuple[str, ...]) -> Removed:
    containers = standing(client, topology)
    _require_ours(topology, containers)
    chosen = {"label": f"{LABEL}={topology.name}"}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(_kill, containers))
    networks = client.networks.list(filters=chosen)
    for network in networks:
        network.remove()
    volumes = client.volumes.list(filters=chosen)
    for volume in volumes:
        volume.remove(force=True)
    return Removed(
        programs,
        tuple(sorted(str(container.name) for container in containers)),
        tuple(str(network.name) for network in networks),
        tuple(sorted(volume.name for volume in volumes)),
        release(topology),
        release_engine(client),
    )


def _kill(container: Container) -> None:
    """Remove ``container``, and wait until it is gone: a teardown that was killed may have begun."""

    def gone() -> bool:
        try:
            container.remove(force=True, v=True)
        except NotFound:
            return True
        return False

    wait_until(f"{container.name} gone", gone, seconds=_REMOVE_SECONDS, errors=(APIError,))


def _require_ours(topology: Topology, containers: list[Container]) -> None:
    owners = {container.labels.get(STATE_LABEL, "") for container in containers} - {str(topology.state)}
    for owner in sorted(owners):
        if Path(owner).is_dir():  # else that checkout is gone, and nobody could take it down any more
            raise HarnessError(
                f"{topology.name} was raised by another checkout ({owner}): take it down there"
            )
