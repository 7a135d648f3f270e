"""The gateway as containers on machines behind a load balancer: built here, pulled there, one by one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import docker

from harness.errors import DeployError
from harness.hosts import firewall
from harness.hosts.lock import DeployLock
from harness.providers.base import Deployment, Plan, Progress, was_done
from harness.providers.docker import archive, image
from harness.providers.docker.engine import Engine
from harness.providers.docker.plan import GatewayState, Slot, Step, Version, steps
from harness.providers.docker.published import published
from harness.providers.docker.rollout import Rollout
from harness.providers.docker.site import CONTAINER, Site, local_engine
from harness.providers.docker.variants import BAD, GOOD, push_variant
from harness.providers.gateway_environment import source_digest
from harness.providers.machine_programs import MachineProgram
from harness.stack import Stack

__all__ = ["DockerGateway"]


class DockerGateway:
    """Builds the image, rolls it out, and reads back what runs where."""

    component = "gateway"

    def __init__(self, stack: Stack) -> None:
        self._stack, self.site = stack, Site(stack)
        self._made: list[str] = []

    # --- what is declared ------------------------------------------------------------------------

    @property
    def release(self) -> str:
        """What every gateway must call itself; the same sources are the same release."""
        return self.site.release

    def declared_settings(self) -> dict[str, str]:
        """Variable: fingerprint, as the environment file declares them."""
        return self.site.settings_prints()

    # --- plan and deploy -------------------------------------------------------------------------

    def plan(self) -> Plan:
        """What a deploy would change, by name. Reads only."""
        digest = f"sha256:{source_digest(self._stack.root)}"
        changes = list(firewall.drift(self._stack.fleet, self.site.machines()))
        balancer = self.site.balancer()
        configured = balancer.configured()
        if not configured:
            changes.append(f"configure haproxy on {balancer.machine}")
        else:
            changes += balancer.astray()
        with local_engine() as client:
            built = self._found(client)
        if not built:
            named = self._named
            changes.append(_refusal(self.site.reference, named) if named else f"build {self.release}")
        with self.site.rollout() as rollout:
            states = rollout.states(balanced=configured)
            changes += self._changes(states, rollout, self.site.version(built or "not built"))
        return Plan(self.component, digest, tuple(changes))

    def prepare(self, progress: Progress) -> None:
        """Build and push the image unless the registry has it, and fetch it on every machine.

        Raises:
            DeployError: when it cannot be built, does not start, or a machine cannot fetch it; or when the
                release names one that the registry lacks.
        """
        digest, self._made = self._image(progress)
        with self.site.rollout(progress=progress) as rollout:
            rollout.fetch(self.site.version(digest))

    def deploy(self, progress: Progress) -> Deployment:
        """Build and push the image unless the registry has it, then replace the gateways one by one.

        Raises:
            DeployError: when somebody else deploys, the image does not start, or a gateway does not become
                ready (what served before serves again).
        """
        started = time.monotonic()
        stack, balancer = self._stack, self.site.balancer()
        progress("taking the deploy lock")
        with self.site.locked() as lock:
            changes = list(firewall.prepare(stack.fleet, self.site.machines(), progress))
            digest, built = self._image(progress)
            changes += [*self._made, *built]
            self._made = []
            if not balancer.configured():
                progress("configuring haproxy")
                balancer.configure()
                changes.append(f"configure haproxy on {balancer.machine}")
            changes += balancer.reclaim()
            with self.site.rollout(before=lambda _: lock.require(), progress=progress) as rollout:
                target = self.site.version(digest)
                changes += self._changes(rollout.states(), rollout, target)
                rollout.run(target)
        done = tuple(map(was_done, changes))
        source = f"sha256:{source_digest(stack.root)}"
        return Deployment(self.component, source, done, time.monotonic() - started)

    # --- what is there ---------------------------------------------------------------------------

    def live_settings(self) -> dict[str, str]:
        """Variable: fingerprint, of the running gateways; where they differ, what each has.

        Raises:
            DeployError: when one of them does not run.
        """
        with self.site.rollout() as rollout:
            found = {name: engine.live_settings() for name, engine in rollout.engines.items()}
        for name, settings in found.items():
            if not settings:
                raise DeployError("gateway", f"it does not run on {name}", "deploy it again")
        variables = sorted({variable for settings in found.values() for variable in settings})
        return {variable: _agreed(found, variable) for variable in variables}

    def running(self) -> dict[str, str]:
        """Machine: digest of the image that its gateway runs; nothing where none runs."""
        with self.site.rollout() as rollout:
            states = rollout.states()
        return {
            s.machine: s.current.version.digest if s.current and s.current.running else "" for s in states
        }

    def image_archive(self) -> Path:
        """The deployed image as `docker save` writes it, kept until another is deployed.

        Raises:
            DeployError: when it was not built, or the engine of this machine cannot fetch it.
        """
        with local_engine() as client:
            return archive.saved(client, self.site.reference, self._built(client), self._stack.state)

    def trial(self) -> dict[str, int | str]:
        """Start the image beside a deployed gateway; path: status, or what went wrong."""
        with self.site.rollout() as rollout:
            return next(iter(rollout.engines.values())).trial(Slot.CURRENT)

    def released(self) -> str:
        """The digest of this release's image in the registry.

        Raises:
            DeployError: when it is not there.
        """
        with local_engine() as client:
            return self._built(client)

    def confinement(self) -> dict[str, dict[str, Any]]:
        """Machine: how its gateway's container is held (see :meth:`Engine.confinement`)."""
        with self.site.rollout() as rollout:
            return {name: engine.confinement() for name, engine in rollout.engines.items()}

    def kept(self) -> dict[str, str]:
        """Machine: digest of the image that it would go back to; nothing where there is none."""
        with self.site.rollout() as rollout:
            states = rollout.states()
        return {s.machine: s.previous.version.digest if s.previous else "" for s in states}

    def try_kept(self) -> dict[str, dict[str, int | str]]:
        """Start what each machine would go back to beside what serves there; what it answers."""
        with self.site.rollout() as rollout, ThreadPoolExecutor(len(rollout.engines)) as pool:
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
        with local_engine() as client:
            digest = self._built(client)
            archive.fetched(client, self.site.reference, digest)
            return push_variant(client, self.site.reference, digest, BAD if bad else GOOD)

    def roll_to(self, digest: str) -> float:
        """Bring every gateway to the image ``digest``, with the settings that it ran with; the seconds.

        Raises:
            RolledBack: when it does not become ready.
            DeployError: when somebody else deploys, or a step cannot be taken.
        """
        started = time.monotonic()
        with self.site.locked() as lock, self.site.rollout(before=lambda _: lock.require()) as rollout:
            held = [c.version for s in rollout.states() for c in (s.current, s.previous) if c]
            known = [version for version in held if version.digest == digest]
            rollout.run(known[0] if known else self.site.version(digest))
        return time.monotonic() - started

    def locked(self) -> AbstractContextManager[DeployLock]:
        """The deploy lock of this environment, held for the block."""
        return self.site.locked()

    def machine_programs(self) -> list[MachineProgram]:
        """The gateway's container on each of its machines."""
        return [
            MachineProgram(
                name=self.component,
                component=self.component,
                machine=machine,
                container=CONTAINER,
                ready=partial(self._alive, machine),
                ready_seconds=float(self.site.declared.ready_seconds),
            )
            for machine in self.site.declared.hosts
        ]

    # --- inside ----------------------------------------------------------------------------------

    def _built(self, client: docker.DockerClient) -> str:
        """The digest of this release's image in the registry.

        Raises:
            DeployError: when it is not there.
        """
        digest = self._found(client)
        if not digest:
            what = f"{self.site.reference.registry} has no image of {self._named or self.release}"
            raise DeployError("gateway", what, "deploy the gateway")
        return digest

    @property
    def _named(self) -> str:
        """The digest that the release names; nothing where it names none."""
        return self._stack.release.image if self._stack.release else ""

    def _found(self, client: docker.DockerClient) -> str:
        """The digest to deploy, if the registry has it; a tag counts only where none is named."""
        reference, named = self.site.reference, self._named
        if named:
            return image.kept(client, reference, named)
        return image.found(client, reference, self.release)

    def _alive(self, machine: str) -> bool:
        argv = ["docker", "exec", CONTAINER, "python", "-m", "gateway.probe"]
        return self._stack.remote.run(machine, argv).status == 0

    def _image(self, progress: Progress) -> tuple[str, list[str]]:
        """The digest of this release's image, and what was done for it.

        What was tested is what is deployed: an image that the release names is never built here again.

        Raises:
            DeployError: when it cannot be built, or the registry lacks the one that the release names.
        """
        if not self._named:
            return published(self._stack.root, self.site.declared, progress)
        with local_engine() as client:
            digest = self._found(client)
        if not digest:
            what = _refusal(self.site.reference, self._named)
            hint = "push that very image there (docker push keeps the digest); or promote a new release"
            raise DeployError("gateway", what, hint)
        return digest, []

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


def _refusal(reference: image.Reference, digest: str) -> str:
    return f"refused: {reference.registry} lacks the image that the release names, {reference.at(digest)}"


def _agreed(found: dict[str, dict[str, str]], variable: str) -> str:
    values = {name: settings.get(variable, "absent") for name, settings in found.items()}
    if len(set(values.values())) == 1:
        return next(iter(values.values()))
    return ", ".join(f"{value} on {name}" for name, value in values.items())
