"""The gateway as containers on machines behind a load balancer: built here, pulled there, one by one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import docker
from docker.errors import DockerException, ImageNotFound
from docker.models.images import Image

from harness.environment.gateway import DockerGateway as Declared
from harness.errors import DeployError, HarnessError, NoProvider, Unreachable
from harness.hosts import firewall
from harness.hosts.lock import DeployLock, deploy_lock
from harness.providers.base import Deployment, Plan, Progress, was_done
from harness.providers.docker import image
from harness.providers.docker.balancer import Balancer
from harness.providers.docker.engine import Engine, Shape, settings_print
from harness.providers.docker.image import Reference
from harness.providers.docker.plan import GatewayState, Slot, Step, Version, steps
from harness.providers.docker.rollout import Rollout
from harness.providers.docker.variants import BAD, GOOD, push_variant
from harness.providers.gateway_environment import (
    Settings,
    fingerprint,
    gateway_settings,
    source_digest,
    source_release,
)
from harness.providers.machine_programs import MachineProgram
from harness.redaction import redact
from harness.stack import Stack

__all__ = ["DockerGateway"]

CONTAINER = "gateway"
ENGINE_SOCKET = "/var/run/docker.sock"
_ENGINE_SECONDS = 120
"""An engine that pulls or stops something may take this long to answer."""


class DockerGateway:
    """Builds the image, rolls it out, and reads back what runs where."""

    component = "gateway"

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    # --- what is declared ------------------------------------------------------------------------

    @property
    def declared(self) -> Declared:
        """The gateway's part of the environment file."""
        declared = self._stack.environment.gateway
        if not isinstance(declared, Declared):
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

    def declared_settings(self) -> dict[str, str]:
        """Variable: fingerprint, as the environment file declares them."""
        return {name: fingerprint(value) for name, value in self._settings().items()}

    def version(self, digest: str) -> Version:
        """The version that a gateway from the image ``digest`` with the declared settings is."""
        return Version(digest, settings_print(self.declared_settings(), self._shape().print))

    # --- plan and deploy -------------------------------------------------------------------------

    def plan(self) -> Plan:
        """What a deploy would change, by name. Reads only."""
        digest = f"sha256:{source_digest(self._stack.root)}"
        changes = list(firewall.drift(self._stack.fleet, self._machines()))
        balancer = self._balancer()
        configured = balancer.configured()
        if not configured:
            changes.append(f"configure haproxy on {balancer.machine}")
        with _local_engine() as client:
            built = image.found(client, self.reference, self.release)
        if not built:
            changes.append(f"build {self.release}")
        with self.rollout() as rollout:
            states = rollout.states(balanced=configured)
            changes += self._changes(states, rollout, self.version(built or "not built"))
        return Plan(self.component, digest, tuple(changes))

    def deploy(self, progress: Progress) -> Deployment:
        """Build and push the image unless the registry has it, then replace the gateways one by one.

        Raises:
            DeployError: when somebody else deploys, the image does not start, or a gateway does not become
                ready (what served before serves again).
        """
        started = time.monotonic()
        stack, balancer = self._stack, self._balancer()
        progress("taking the deploy lock")
        with self.locked() as lock:
            changes = list(firewall.prepare(stack.fleet, self._machines(), progress))
            digest, built = self._image(progress)
            changes += built
            if not balancer.configured():
                progress("configuring haproxy")
                balancer.configure()
                changes.append(f"configure haproxy on {balancer.machine}")
            with self.rollout(before=lambda _: lock.require(), progress=progress) as rollout:
                target = self.version(digest)
                changes += self._changes(rollout.states(), rollout, target)
                rollout.run(target)
        done = tuple(map(was_done, changes))
        source = f"sha256:{source_digest(stack.root)}"
        return Deployment(self.component, source, done, time.monotonic() - started)

    @contextlib.contextmanager
    def rollout(
        self,
        before: Rollout.Before = lambda _: None,
        progress: Progress = lambda _: None,
        settings: Settings | None = None,
    ) -> Iterator[Rollout]:
        """The machines' engines and the balancer, connected for the block."""
        with contextlib.ExitStack() as held:
            engines = {
                name: held.enter_context(self._engine(name, settings)) for name in self.declared.hosts
            }
            yield Rollout(
                engines,
                self._balancer(),
                drain_seconds=self.declared.drain_seconds,
                pulling=self._pulling,
                before=before,
                progress=progress,
            )

    # --- what is there ---------------------------------------------------------------------------

    def live_settings(self) -> dict[str, str]:
        """Variable: fingerprint, of the running gateways; where they differ, what each has.

        Raises:
            DeployError: when one of them does not run.
        """
        with self.rollout() as rollout:
            found = {name: engine.live_settings() for name, engine in rollout.engines.items()}
        for name, settings in found.items():
            if not settings:
                raise DeployError("gateway", f"it does not run on {name}", "deploy it again")
        variables = sorted({variable for settings in found.values() for variable in settings})
        return {variable: _agreed(found, variable) for variable in variables}

    def running(self) -> dict[str, str]:
        """Machine: digest of the image that its gateway runs; nothing where none runs."""
        with self.rollout() as rollout:
            states = rollout.states()
        return {
            s.machine: s.current.version.digest if s.current and s.current.running else "" for s in states
        }

    def image_archive(self) -> Path:
        """The deployed image as `docker save` writes it, kept until another is deployed.

        Raises:
            DeployError: when it was not built, or the engine of this machine cannot fetch it.
        """
        with _local_engine() as client:
            digest = self.built(client)
            path = self._stack.state / f"gateway-image-{digest.removeprefix('sha256:')[:16]}.tar"
            if path.exists():
                return path
            for older in self._stack.state.glob("gateway-image-*"):
                older.unlink()
            part = path.with_suffix(".part")
            with part.open("wb") as file:
                for piece in self._local_image(client, digest).save(named=True):
                    file.write(piece)
            return part.rename(path)

    def trial(self) -> dict[str, int | str]:
        """Start the image beside a deployed gateway; path: status, or what went wrong."""
        with self.rollout() as rollout:
            return next(iter(rollout.engines.values())).trial(Slot.CURRENT)

    def built(self, client: docker.DockerClient) -> str:
        """The digest of this release's image in the registry.

        Raises:
            DeployError: when it is not there.
        """
        digest = image.found(client, self.reference, self.release)
        if not digest:
            what = f"{self.reference.registry} has no image of {self.release}"
            raise DeployError("gateway", what, "deploy the gateway")
        return digest

    def released(self) -> str:
        """The digest of this release's image in the registry.

        Raises:
            DeployError: when it is not there.
        """
        with _local_engine() as client:
            return self.built(client)

    def confinement(self) -> dict[str, dict[str, Any]]:
        """Machine: how its gateway's container is held (see :meth:`Engine.confinement`)."""
        with self.rollout() as rollout:
            return {name: engine.confinement() for name, engine in rollout.engines.items()}

    def kept(self) -> dict[str, str]:
        """Machine: digest of the image that it would go back to; nothing where there is none."""
        with self.rollout() as rollout:
            states = rollout.states()
        return {s.machine: s.previous.version.digest if s.previous else "" for s in states}

    def try_kept(self) -> dict[str, dict[str, int | str]]:
        """Start what each machine would go back to beside what serves there; what it answers."""
        with self.rollout() as rollout, ThreadPoolExecutor(len(rollout.engines)) as pool:
            answers = pool.map(lambda engine: engine.trial(Slot.PREVIOUS), rollout.engines.values())
            return dict(zip(rollout.engines, answers, strict=True))

    # --- drills ----------------------------------------------------------------------------------

    def another(self, *, bad: bool = False) -> str:
        """The digest of an image to roll out in a drill: the kept one, else another of this release.

        ``bad``: one that ends as soon as it starts.
        """
        kept = set(self.kept().values())
        if not bad and len(kept) == 1 and "" not in kept:
            return kept.pop()
        with _local_engine() as client:
            digest = self.built(client)
            self._local_image(client, digest)
            return push_variant(client, self.reference, digest, BAD if bad else GOOD)

    def roll_to(self, digest: str) -> float:
        """Bring every gateway to the image ``digest``, with the settings that it ran with; the seconds.

        Raises:
            RolledBack: when it does not become ready.
            DeployError: when somebody else deploys, or a step cannot be taken.
        """
        started = time.monotonic()
        with self.locked() as lock, self.rollout(before=lambda _: lock.require()) as rollout:
            held = [c.version for s in rollout.states() for c in (s.current, s.previous) if c]
            known = [version for version in held if version.digest == digest]
            rollout.run(known[0] if known else self.version(digest))
        return time.monotonic() - started

    def locked(self) -> AbstractContextManager[DeployLock]:
        """The deploy lock of this environment, held for the block."""
        stack = self._stack
        return deploy_lock(stack.remote, self.declared.balancer, stack.environment.environment)

    def machine_programs(self) -> list[MachineProgram]:
        """The gateway's container on each of its machines."""
        return [
            MachineProgram(
                name=self.component,
                component=self.component,
                machine=machine,
                container=CONTAINER,
                ready=partial(self._alive, machine),
                ready_seconds=float(self.declared.ready_seconds),
            )
            for machine in self.declared.hosts
        ]

    # --- inside ----------------------------------------------------------------------------------

    def _alive(self, machine: str) -> bool:
        argv = ["docker", "exec", CONTAINER, "python", "-m", "gateway.probe"]
        return self._stack.remote.run(machine, argv).status == 0

    def _settings(self) -> Settings:
        return gateway_settings(self._stack.environment, self._stack.secrets, self.release)

    def _machines(self) -> list[str]:
        return [*self.declared.hosts, self.declared.balancer]

    def _balancer(self) -> Balancer:
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
    def _engine(self, machine: str, settings: Settings | None) -> Iterator[Engine]:
        with self._stack.remote.forwarded(machine, ENGINE_SOCKET) as path:
            try:
                client = docker.DockerClient(base_url=f"unix://{path}", timeout=_ENGINE_SECONDS)
            except DockerException as error:
                raise Unreachable(machine, f"its Docker engine: {redact(str(error))}") from error
            with contextlib.closing(client):
                yield Engine(machine, client, self._shape(), settings or self._settings())

    @contextlib.contextmanager
    def _pulling(self, machine: str) -> Iterator[None]:
        """The registry, as ``machine`` sees it: one on loopback is led there over ssh."""
        registry = self.reference.registry
        way: AbstractContextManager[object] = contextlib.nullcontext()
        if self.reference.on_loopback:
            way = self._stack.remote.forwarded(machine, registry, reverse=True, here=registry)
        with way:
            yield

    def _image(self, progress: Progress) -> tuple[str, list[str]]:
        """The digest of this release's image, and what was done for it."""
        return published(self._stack.root, self.declared, progress)

    def _local_image(self, client: docker.DockerClient, digest: str) -> Image:
        name = self.reference.at(digest)
        try:
            try:
                return client.images.get(name)
            except ImageNotFound:
                return client.images.pull(name)
        except DockerException as error:
            raise DeployError("gateway", f"{name} cannot be fetched: {redact(str(error))}") from error

    def _changes(self, states: Sequence[GatewayState], rollout: Rollout, target: Version) -> Iterator[str]:
        """What the rollout from ``states`` to ``target`` changes, in words."""
        planned: dict[str, list[Step]] = {}
        for step in steps(states, target):
            planned.setdefault(step.machine, []).append(step)
        for state in states:
            if state.machine in planned:
                yield f"{self._change(state, rollout.engines[state.machine], target)} on {state.machine}"

    def _change(self, state: GatewayState, engine: Engine, target: Version) -> str:
        if state.current is None:
            return f"start {self.release}"
        if state.current.version == target:
            return "restart it" if not state.alive else "tidy up"
        if state.current.version.digest != target.digest:
            return f"replace it by {self.release}"
        live, declared = engine.live_settings(), self.declared_settings()
        names = sorted(name for name in {*live, *declared} if live.get(name) != declared.get(name))
        return f"replace it by {self.release} ({', '.join(names) or 'how its container is made'} changed)"


def published(root: Path, declared: Declared, progress: Progress) -> tuple[str, list[str]]:
    """The digest of the image of the sources at ``root``, built and pushed when the registry has none; and
    what was done for it.

    Raises:
        DeployError: when it cannot be built, does not start, or the registry does not take it.
        HarnessError: when there is no Docker engine on this machine.
    """
    reference, release = image.Reference(declared.registry, declared.image), source_release(root)
    with _local_engine() as client:
        digest = image.found(client, reference, release)
        if digest:
            return digest, []
        progress(f"building {release}")
        built = image.build(client, root)
        progress("trying the image")
        image.smoke_test(client, built, declared.user)
        progress(f"pushing to {reference.registry}")
        return image.push(client, built, reference), [f"build {release}"]


@contextlib.contextmanager
def _local_engine() -> Iterator[docker.DockerClient]:
    """The engine of this machine, which builds and pushes.

    Raises:
        HarnessError: when there is none.
    """
    try:
        client = docker.from_env(timeout=600)
        client.ping()
    except DockerException as error:
        hint = "start Docker here, or set DOCKER_HOST; you may need to be in the group docker"
        raise HarnessError(f"no Docker engine on this machine: {redact(str(error))} ({hint})") from error
    with contextlib.closing(client):
        yield client


def _agreed(found: dict[str, dict[str, str]], variable: str) -> str:
    values = {name: settings.get(variable, "absent") for name, settings in found.items()}
    if len(set(values.values())) == 1:
        return next(iter(values.values()))
    return ", ".join(f"{value} on {name}" for name, value in values.items())
