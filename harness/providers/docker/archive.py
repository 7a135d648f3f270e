"""The deployed image on this machine: fetched by its digest, saved once for whoever looks into it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import docker
from docker.errors import DockerException, ImageNotFound
from docker.models.images import Image

from harness.errors import DeployError
from harness.providers.docker.image import Reference
from harness.redaction import redact

__all__ = ["fetched", "saved"]

_SAVING = threading.Lock()


def fetched(client: docker.DockerClient, reference: Reference, digest: str) -> Image:
    """The image of ``digest`` in the engine of this machine, pulled when it is not there.

    Raises:
        DeployError: when it cannot be fetched.
    """
    name = reference.at(digest)
    try:
        try:
            return client.images.get(name)
        except ImageNotFound:
            return client.images.pull(name)
    except DockerException as error:
        raise DeployError("gateway", f"{name} cannot be fetched: {redact(str(error))}") from error


def saved(client: docker.DockerClient, reference: Reference, digest: str, directory: Path) -> Path:
    """The image of ``digest`` as `docker save` writes it, in ``directory``; that of another one goes.

    Several may ask at once: it is written once, and never seen half written.
    """
    path = directory / f"gateway-image-{digest.removeprefix('sha256:')[:16]}.tar"
    with _SAVING:
        if path.exists():
            return path
        for older in directory.glob("gateway-image-*"):
            older.unlink(missing_ok=True)
        part = path.with_suffix(f".part-{os.getpid()}")
        with part.open("wb") as file:
            for piece in fetched(client, reference, digest).save(named=True):
                file.write(piece)
        return part.rename(path)
