"""Tears a rehearsal down by its label: no container, network, volume, route or process is left."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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

__all__ = ["Removed", "clear", "remove_abandoned", "tear_down"]

_REMOVE_SECONDS = 60.0


@dataclass(frozen=True)
class Removed:
    """What was taken away, by name; ``str()`` says it in a line, and nothing when it was nothing."""

    programs: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    routes: bool = False
    engine: bool = False

    def __str__(self) -> str:
        parts = {
            "programs": self.programs,
            "containers": self.containers,
            "networks": self.networks,
            "volumes": self.volumes,
        }
        said = [f"{what} {', '.join(names)}" for what, names in parts.items() if names]
        said += ["routes"] if self.routes else []
        said += ["the Docker engine, which the rehearsal had started"] if self.engine else []
        return "; ".join(said)


def tear_down(environment: Environment, root: Path) -> Removed:
    """Take away everything that carries the rehearsal's label, its routes, and its local programs.

    What is kept: the machines' image, what was pushed to the registry, keys and logs in the state
    directory; none of it runs.

    Raises:
        HarnessError: when another checkout has raised it, or the engine refuses.
    """
    topology = topology_of(environment, root)
    with run_lock(topology.state), ThreadPoolExecutor(1) as beside:
        programs = beside.submit(_programs, LocalProcesses(topology.state))
        _disconnect(topology)
        try:
            client = connect()
        except HarnessError:  # no engine: nothing of it can stand
            return Removed(programs.result(), routes=release(topology))
        try:
            removed = _remove(client, topology)
            return replace(removed, programs=programs.result(), engine=release_engine(client))
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


def _remove(client: docker.DockerClient, topology: Topology) -> Removed:
    _require_ours(topology, standing(client, topology))
    removed = _remove_labelled(client, f"{LABEL}={topology.name}")
    return replace(removed, routes=release(topology))


def clear(client: docker.DockerClient) -> Removed:
    """Take away the machines of every rehearsal, whoever raised it.

    For an engine that has just been started: whoever raised them lost them when the engine before it ended.
    """
    try:
        return _remove_labelled(client, LABEL)
    except ENGINE_ERRORS as error:
        raise HarnessError(f"what rehearsals have left cannot be removed: {error}") from error


def remove_abandoned(client: docker.DockerClient, topology: Topology) -> Removed:
    """Take away what another checkout has raised under this name, when that checkout is no more."""
    label = f"{LABEL}={topology.name}"
    labels = [container.labels for container in standing(client, topology)]
    labels += [network.attrs["Labels"] for network in client.networks.list(filters={"label": label})]
    owners = {found.get(STATE_LABEL, "") for found in labels} - {str(topology.state)}
    if not owners or any(Path(owner).is_dir() for owner in owners):
        return Removed()
    return _remove_labelled(client, label)


def _remove_labelled(client: docker.DockerClient, label: str) -> Removed:
    chosen: dict[str, Any] = {"label": label}
    containers = client.containers.list(all=True, filters=chosen, ignore_removed=True)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(_kill, containers))
    networks = client.networks.list(filters=chosen)
    for network in networks:
        network.remove()
    volumes = client.volumes.list(filters=chosen)
    for volume in volumes:
        volume.remove(force=True)
    return Removed(
        containers=tuple(sorted(str(container.name) for container in containers)),
        networks=tuple(str(network.name) for network in networks),
        volumes=tuple(sorted(volume.name for volume in volumes)),
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
