"""The machines of a rehearsal: containers in which systemd is process 1 and sshd the only way in."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import posixpath
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import docker
from docker.errors import APIError, NotFound
from docker.models.containers import Container

from harness.rehearsal.topology import LABEL, Host, Topology
from harness.waiting import wait_until

__all__ = ["DIGEST_LABEL", "File", "Specification", "archive", "ensure", "machine", "standing"]

DIGEST_LABEL = "harness.rehearsal.digest"
"""Of everything that a container was made from: one that stands with the same is left alone."""


_BUSY_SECONDS = 60.0


class _Busy(Exception):
    """The engine is still making or removing a container of that name."""


@dataclass(frozen=True)
class File:
    """A file (or, with ``link``, a symbolic link) that is put on a machine before it starts."""

    content: bytes = field(default=b"", repr=False)
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    link: str = ""


@dataclass(frozen=True)
class Specification:
    """A container to be: ``options`` are docker's, ``address`` is None on this machine's own network."""

    name: str
    image: str
    options: Mapping[str, Any]
    files: Mapping[str, File]
    address: str | None
    labels: Mapping[str, str]

    @property
    def digest(self) -> str:
        """What identifies it."""
        files = {
            path: [hashlib.sha256(file.content).hexdigest(), file.mode, file.uid, file.gid, file.link]
            for path, file in self.files.items()
        }
        parts = [self.name, self.image, dict(self.options), files, self.address, dict(self.labels)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def machine(host: Host, topology: Topology, image: str, files: Mapping[str, File]) -> Specification:
    """The container of ``host``; pure."""
    options: dict[str, Any] = {
        "command": ["/sbin/init"],
        "hostname": host.name,
        "cgroupns": "private",
        "cap_add": ["SYS_ADMIN", "NET_ADMIN"],
        "devices": ["/dev/net/tun:/dev/net/tun:rwm"],
        "tmpfs": {"/run": "", "/run/lock": ""},
        "stop_signal": "SIGRTMIN+3",
        # a machine that reboots ends with status 0, and comes back
        "restart_policy": {"Name": "unless-stopped"},
        # Docker's own name server asks there, inside the machine, and is refused: no question leaves
        "dns": ["127.0.0.1"],
        "dns_search": ["."],
        "environment": {"container": "docker"},
    }
    if host.runs_engine:
        options |= {
            "cap_add": ["ALL"],
            "cap_drop": ["SYS_RESOURCE"],
            "security_opt": ["seccomp=unconfined"],
            "volumes": {host.container: {"bind": "/var/lib/docker", "mode": "rw"}},
        }
    return Specification(host.container, image, options, files, host.address, topology.labels)


def standing(client: docker.DockerClient, topology: Topology) -> list[Container]:
    """Every container that carries the rehearsal's label, running or not."""
    found: list[Container] = client.containers.list(
        all=True, filters={"label": f"{LABEL}={topology.name}"}, ignore_removed=True
    )
    return found


def ensure(client: docker.DockerClient, specification: Specification, network: str) -> bool:
    """See that exactly this container runs; whether it had to be made.

    A container is filled before it starts: one that runs is complete, one that does not is made anew.

    Raises:
        DeadlineExceeded: when the engine stays busy with a container of that name.
    """
    if _runs(client, specification):
        return False
    wait_until(
        f"{specification.name} made",
        lambda: _made(client, specification, network),
        seconds=_BUSY_SECONDS,
        errors=(_Busy,),
    )
    return True


def _runs(client: docker.DockerClient, wanted: Specification) -> bool:
    try:
        container = client.containers.get(wanted.name)
    except NotFound:
        return False
    return container.status == "running" and container.labels.get(DIGEST_LABEL) == wanted.digest


def _made(client: docker.DockerClient, wanted: Specification, network: str) -> bool:
    """Replace what has that name. A run that was killed may have left the engine in the middle of it."""
    try:
        with contextlib.suppress(NotFound):
            client.containers.get(wanted.name).remove(force=True, v=True)
        _make(client, wanted, network).start()
    except APIError as error:
        if error.status_code == HTTPStatus.CONFLICT:
            raise _Busy(str(error)) from None
        raise
    return True


def _make(client: docker.DockerClient, wanted: Specification, network: str) -> Container:
    labels = {**wanted.labels, DIGEST_LABEL: wanted.digest}
    for volume in wanted.options.get("volumes", {}):
        client.volumes.create(volume, labels=dict(wanted.labels))
    place: dict[str, Any] = {"network_mode": "host"}
    if wanted.address is not None:
        endpoint = client.api.create_endpoint_config(ipv4_address=wanted.address)
        place = {"network": network, "networking_config": {network: endpoint}}
    options = {**wanted.options, **place}
    container: Container = client.containers.create(
        wanted.image, name=wanted.name, labels=labels, detach=True, **options
    )
    container.put_archive("/", archive(wanted.files))
    return container


def archive(files: Mapping[str, File]) -> bytes:
    """A tar archive of ``files`` (absolute path: file)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, file in sorted(files.items()):
            entry = tarfile.TarInfo(posixpath.relpath(path, "/"))
            entry.size, entry.mode, entry.uid, entry.gid = len(file.content), file.mode, file.uid, file.gid
            if file.link:
                entry.type, entry.linkname = tarfile.SYMTYPE, file.link
            tar.addfile(entry, io.BytesIO(file.content))
    return buffer.getvalue()
