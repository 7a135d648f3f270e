"""Where a gateway of containers runs: its machines' engines, its load balancer, its registry, over ssh."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager

import docker
from docker.errors import DockerException

from harness.docker_engine import connect
from harness.environment.gateway import DockerGateway
from harness.errors import HarnessError, NoProvider, Unreachable
from harness.hosts.lock import DeployLock, deploy_lock
from harness.providers.base import Progress
from harness.providers.docker.balancer import Balancer
from harness.providers.docker.engine import Engine
from harness.providers.docker.image import Reference
from harness.providers.docker.plan import Version
from harness.providers.docker.rollout import Rollout
from harness.providers.docker.shape import Shape, settings_print
from harness.providers.gateway_environment import Settings, fingerprint, gateway_settings, source_release
from harness.redaction import redact
from harness.stack import Stack

__all__ = ["CONTAINER", "Site", "local_engine"]

CONTAINER = "gateway"
"""Name of the serving container on every machine."""
ENGINE_SOCKET = "/var/run/docker.sock"
_ENGINE_SECONDS = 120
"""An engine that pulls or stops something may take this long to answer."""


class Site:
    """The gateway's part of one environment, with ways to everything that it is made of."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    @property
    def declared(self) -> DockerGateway:
        """The gateway's part of the environment file."""
        declared = self._stack.environment.gateway
        if not isinstance(declared, DockerGateway):
            raise NoProvider(f"the docker provider cannot deploy a gateway by {declared.provider!r}")
        return declared

    @property
    def release(self) -> str:
        """What every gateway must call itself; the same sources are the same release."""
        return source_release(self._stack.root)

    @property
    def reference(self) -> Reference:
        """Where the image is kept."""
        return Reference(self.declared.registry, self.declared.image)

    def settings(self) -> Settings:
        """Every variable that a gateway is started with."""
        return gateway_settings(self._stack.environment, self._stack.secrets, self.release)

    def settings_prints(self) -> dict[str, str]:
        """Variable: fingerprint, as the environment file declares them."""
        return {name: fingerprint(value) for name, value in self.settings().items()}

    def version(self, digest: str) -> Version:
        """The version that a gateway from the image ``digest`` with the declared settings is."""
        return Version(digest, settings_print(self.settings_prints(), self._shape().print))

    def machines(self) -> list[str]:
        """Every machine that it is made of."""
        return [*self.declared.hosts, self.declared.balancer]

    def balancer(self) -> Balancer:
        """Its load balancer."""
        return Balancer(self._stack.environment, self._stack.remote)

    def _shape(self) -> Shape:
        declared = self.declared
        return Shape(
            self.reference,
            declared.user,
            declared.port,
            name=CONTAINER,
            ready_seconds=declared.ready_seconds,
        )

    @contextlib.contextmanager
    def rollout(
        self,
        before: Rollout.Before = lambda _: None,
        progress: Progress = lambda _: None,
    ) -> Iterator[Rollout]:
        """The machines' engines and the balancer, connected for the block."""
        with contextlib.ExitStack() as held:
            engines = {name: held.enter_context(self._engine(name)) for name in self.declared.hosts}
            yield Rollout(
                engines,
                self.balancer(),
                drain_seconds=self.declared.drain_seconds,
                pulling=self._pulling,
                before=before,
                progress=progress,
            )

    def locked(self) -> AbstractContextManager[DeployLock]:
        """The deploy lock of this environment, held for the block."""
        stack = self._stack
        return deploy_lock(stack.remote, self.declared.balancer, stack.environment.environment)

    # --- inside ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _engine(self, machine: str) -> Iterator[Engine]:
        with self._stack.remote.forwarded(machine, ENGINE_SOCKET) as path:
            try:
                client = docker.DockerClient(base_url=f"unix://{path}", timeout=_ENGINE_SECONDS)
            except DockerException as error:
                raise Unreachable(machine, f"its Docker engine: {redact(str(error))}") from error
            with contextlib.closing(client):
                yield Engine(machine, client, self._shape(), self.settings())

    @contextlib.contextmanager
    def _pulling(self, machine: str) -> Iterator[None]:
        """The registry, as ``machine`` sees it: one on loopback is led there over ssh."""
        registry = self.reference.registry
        way: AbstractContextManager[object] = contextlib.nullcontext()
        if self.reference.on_loopback:
            way = self._stack.remote.forwarded(machine, registry, reverse=True, here=registry)
        with way:
            yield


@contextlib.contextmanager
def local_engine() -> Iterator[docker.DockerClient]:
    """The engine of this machine, which builds and pushes.

    Raises:
        HarnessError: when there is none.
    """
    try:
        client = connect(timeout=600)
    except HarnessError as error:
        hint = "start Docker here, or set DOCKER_HOST; you may need to be in the group docker"
        raise HarnessError(f"{error} ({hint})") from None
    with contextlib.closing(client):
        yield client
