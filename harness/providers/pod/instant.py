"""The instant model on a GPU machine: installed over ssh, kept running by systemd, and taken back."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from harness.environment.inference import PodInstant as Settings
from harness.errors import DeadlineExceeded, DeployError
from harness.hosts import packages
from harness.hosts.firewall import drift, prepare
from harness.hosts.ssh import CommandFailed
from harness.providers.base import Deployment, Plan, Progress, was_done
from harness.providers.inference_ready import serves
from harness.providers.local.model_files import ModelFiles
from harness.providers.machine_programs import MachineProgram
from harness.providers.pod import scripts
from harness.providers.pod.configuration import HOME, KEY_FILE, UNIT, Configuration, configuration, key_file
from harness.providers.pod.scripts import Seen
from harness.secrets import Secret
from harness.stack import Stack
from harness.waiting import wait_until

__all__ = ["PodInstant"]

_COPY_SECONDS = 1800.0


@dataclass(frozen=True)
class _Step:
    """One change: what a plan says of it, and what carries it out."""

    change: str
    work: Callable[[], None]


class PodInstant:
    """Implements :class:`harness.providers.base.ComponentProvider` for the provider `pod`."""

    component = "instant"

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.files = ModelFiles(stack.root)

    @property
    def config(self) -> Settings:
        """The component's section of the environment."""
        config = self.stack.environment.instant
        if not isinstance(config, Settings):
            raise DeployError(self.component, f"provider {config.provider!r} is not `pod`")
        return config

    def machine_programs(self) -> list[MachineProgram]:
        """What runs on the machine, for whoever controls and reads programs there."""
        recover = self.config.recover_within_seconds
        machine = self.config.host
        return [
            MachineProgram(
                "instant", self.component, machine, unit=UNIT, ready=self._serves, ready_seconds=recover
            )
        ]

    # --- deploying -------------------------------------------------------------------------------

    def plan(self) -> Plan:
        """Compare the declared with the machine's state. Reads only."""
        made = configuration(self.config, self.stack.root)
        changes = [*drift(self.stack.fleet, [self.config.host])]
        changes += [step.change for step in self._steps(made, self._observe(made))]
        return Plan(self.component, made.digest, tuple(changes))

    def deploy(self, progress: Progress) -> Deployment:
        """Install what differs, start the engine, wait until it serves; back to the last one if it fails.

        Raises:
            DeployError: when something cannot be installed, or the engine does not serve in time.
        """
        started = time.monotonic()
        made = configuration(self.config, self.stack.root)
        changes = prepare(self.stack.fleet, [self.config.host], progress)
        seen = self._observe(made)
        steps = self._steps(made, seen)
        try:
            for step in steps:
                progress(step.change)
                step.work()
            if steps:
                progress(f"waiting for {made.title}")
                self._await(made)
        except CommandFailed as error:
            raise DeployError(self.component, str(error)) from error
        except DeadlineExceeded as error:
            raise DeployError(self.component, str(error), self._way_back(seen, made)) from error
        changes += tuple(was_done(step.change) for step in steps)
        return Deployment(self.component, made.digest, changes, time.monotonic() - started)

    def previous(self) -> str:
        """Digest of the configuration that is kept on the machine to go back to; empty: there is none."""
        return self._observe(configuration(self.config, self.stack.root)).previous

    def in_use(self) -> str:
        """Digest of the configuration that the running engine was started with; empty: it does not run."""
        return self._observe(configuration(self.config, self.stack.root)).running

    def configured(self) -> tuple[str, str]:
        """Digests of the configuration that this tree declares, and of the one that runs (empty: none)."""
        made = configuration(self.config, self.stack.root)
        return made.digest, self._observe(made).running

    def roll_back(self) -> None:
        """Start the engine with the configuration before this one; the two change places.

        Raises:
            DeployError: when none is kept, or it cannot be started.
        """
        if not self.previous():
            what = f"{self.config.host} keeps no previous configuration"
            raise DeployError(self.component, what, "deploy the one that you want")
        try:
            self._script(scripts.roll_back())
        except CommandFailed as error:
            raise DeployError(self.component, str(error)) from error

    # --- trying the way back ---------------------------------------------------------------------

    def reconfigure(self, context_tokens: int) -> str:
        """Start the declared model with another context length, as a new release would; its digest.

        What was kept to go back to before is kept still.

        Raises:
            DeployError: when it cannot be started.
        """
        model = self.config.model.model_copy(update={"context_tokens": context_tokens})
        made = configuration(self.config.model_copy(update={"model": model}), self.stack.root)
        seen = self._observe(made)
        try:
            self._write(made)
            self._script(scripts.activate(made.digest, keep=seen.previous))
            self._await(made)
        except (CommandFailed, DeadlineExceeded) as error:
            raise DeployError(self.component, str(error)) from error
        return made.digest

    def kept(self) -> tuple[str, tuple[str, ...]]:
        """Digest of the kept configuration (empty: none), and the files that are missing to start it."""
        said = self.stack.remote.script(self.config.host, scripts.kept(), sudo=True).require().text
        lines = [line.partition("=") for line in said.splitlines()]
        digest = next((value for name, _, value in lines if name == "previous"), "")
        return digest, tuple(value for name, _, value in lines if name == "lacks")

    def keep(self, previous: str) -> None:
        """Keep the configuration ``previous`` to go back to (empty: none), and no other."""
        self._script(scripts.keep(previous))

    # --- inside ----------------------------------------------------------------------------------

    def _observe(self, made: Configuration) -> Seen:
        text = scripts.observe(made.digest, made.packages_digest, made.weights, made.key_variable)
        return Seen.parse(self.stack.remote.script(self.config.host, text, sudo=True).require().text)

    def _steps(self, made: Configuration, seen: Seen) -> list[_Step]:
        """What has to be done, in order. An engine that is as declared needs nothing."""
        steps = [*self._parts(made, seen)]
        key = self._key()
        content = key_file(made.key_variable, key.reveal())
        if seen.key != scripts.sha256(content):
            steps.append(_Step("write the key", lambda: self._put(KEY_FILE, content, mode=0o600)))
        if seen.files != scripts.fingerprint(scripts.named(made.digest, made.files)):
            steps.append(_Step(f"write configuration {made.digest}", lambda: self._write(made)))
        as_declared = (
            seen.pid
            and seen.enabled
            and seen.current == seen.running == made.digest
            and seen.unit == scripts.sha256(made.files[UNIT])
            and seen.running_key == scripts.sha256(key.reveal().encode())
        )
        if steps or not as_declared:
            change = f"start {made.title}, {self.config.model.context_tokens} tokens of context"
            steps.append(_Step(change, lambda: self._script(scripts.activate(made.digest))))
            steps.insert(0, _Step(f"prepare {self.config.host}", lambda: self._script(scripts.prepare())))
        return steps

    def _parts(self, made: Configuration, seen: Seen) -> list[_Step]:
        """Packages and weights: copied for llama.cpp; vLLM's are the machine's own, and must be there."""
        if not made.packages:
            self._require_own_engine(seen)
            return []
        self._require_same_python(seen)
        steps = []
        if not seen.packages:
            steps.append(_Step("install the engine's packages", lambda: self._install(made)))
        if not seen.weights:
            title = f"copy the weights of {self.config.model.name}"
            steps.append(_Step(title, lambda: self._copy_weights(made)))
        return steps

    def _require_own_engine(self, seen: Seen) -> None:
        if not seen.own_engine:
            what = f"{self.config.host} lacks {HOME}/venv/bin/vllm or {HOME}/model/manifest.json"
            hint = "install vLLM for its GPU there, and the model with its manifest (docs/adr/0020)"
            raise DeployError(self.component, what, hint)

    def _require_same_python(self, seen: Seen) -> None:
        if seen.python != packages.runtime():
            found = seen.python or "no python3"
            what = f"{self.config.host} has {found}, this machine {packages.runtime()}"
            raise DeployError(self.component, what, packages.MISFIT)

    def _install(self, made: Configuration) -> None:
        text = scripts.unpack(f"{HOME}/packages/{made.packages_digest}")
        self._feed(text, packages.archive(made.packages, self.stack.root))

    def _copy_weights(self, made: Configuration) -> None:
        path = self.files.ensure(self.component, made.weights)
        self._feed(scripts.keep_weights(made.weights), path.read_bytes())

    def _write(self, made: Configuration) -> None:
        directory = f"{HOME}/releases/{made.digest}"
        content = scripts.directory(scripts.named(made.digest, made.files), made.packages_digest)
        self._feed(scripts.unpack(directory), content)

    def _await(self, made: Configuration) -> None:
        wait_until(made.title, self._serves, seconds=made.start_seconds, seen=self._last_words)

    def _way_back(self, before: Seen, made: Configuration) -> str:
        """The configuration that served before is started again; what to do about the new one."""
        if before.running in ("", made.digest):
            return f"read its log: journalctl -u {UNIT} on {self.config.host}"
        self.roll_back()
        return f"configuration {before.running} serves again; correct the new one and deploy it"

    def _serves(self) -> bool:
        return serves(self.config, self._key())

    def _last_words(self) -> str:
        said = self.stack.remote.run(
            self.config.host, ["journalctl", "-u", UNIT, "-n", "3", "-o", "cat", "--no-pager"], sudo=True
        )
        return f"no answer at {self.config.url}; its log ends: {said.text.strip() or '(empty)'}"

    def _key(self) -> Secret:
        return self.stack.secret(self.config.api_key)

    def _script(self, text: str) -> None:
        self.stack.remote.script(self.config.host, text, sudo=True, seconds=120.0).require()

    def _put(self, path: str, content: bytes, mode: int) -> None:
        self.stack.remote.put(self.config.host, path, content, mode=mode)

    def _feed(self, text: str, content: bytes) -> None:
        argv = ["sh", "-c", text]
        self.stack.remote.run(
            self.config.host, argv, stdin=content, sudo=True, seconds=_COPY_SECONDS
        ).require()
