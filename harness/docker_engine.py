"""The Docker engine of this machine, as the SDK talks to it."""

from __future__ import annotations

import contextlib
import os
import socket

import docker
from docker.errors import DockerException
from requests.exceptions import RequestException

from harness.errors import HarnessError
from harness.secrets import redact

__all__ = ["ENGINE_ERRORS", "connect"]

ENGINE_ERRORS = (DockerException, RequestException)
"""What the SDK raises when an engine refuses, or does not answer."""
_SOCKET = "unix:///var/run/docker.sock"


def connect(timeout: int = 120) -> docker.DockerClient:
    """A client of the engine that answers now; each of its calls may take ``timeout`` seconds.

    Raises:
        HarnessError: when none does; says where it was looked for.
    """
    address = os.environ.get("DOCKER_HOST", _SOCKET)
    if address.startswith("unix://"):  # the SDK would leave its connection open when this fails
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(address.removeprefix("unix://"))
            except OSError as error:
                raise HarnessError(f"no Docker engine answers at {address}: {error.strerror}") from None
    try:
        with contextlib.ExitStack() as closing:
            client = docker.DockerClient.from_env(timeout=timeout)
            closing.callback(client.close)
            client.ping()
            closing.pop_all()
    except ENGINE_ERRORS as error:
        raise HarnessError(f"no Docker engine answers at {address}: {redact(str(error))}") from None
    return client
