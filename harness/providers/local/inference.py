"""The two inference components, locally: an engine, and a serverless platform with engines behind it."""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import yaml

from harness.environment import inference as declared
from harness.errors import DeployError, NoProvider
from harness.providers.base import Deployment, Plan, Program, Progress, was_done
from harness.providers.inference_ready import serves
from harness.providers.local.engines import Launch, launch, write_if_changed
from harness.providers.local.model_files import ModelFiles
from harness.providers.local.processes import LocalProcesses, digest_of
from harness.providers.local.serverless import PlatformControl
from harness.providers.local.vllm_setup import VllmSetup
from harness.stack import Stack
from harness.trust import system_trust

__all__ = ["LocalInstant", "LocalThinking"]

_PROBE_SECONDS = 1.0
_PLATFORM_SOURCES = ("serverless.py", "pool.py", "worker.py", "settings.py", "tether.py")


class _Engine:
    """What both components share: weights, an engine's launch, a program under the process manager."""

    component: str

    def __init__(self, stack: Stack, processes: LocalProcesses) -> None:
        self.stack, self.processes = stack, processes
        self.files = ModelFiles(stack.root)
        self.vllm = VllmSetup(stack.root)

    @property
    def config(self) -> declared.LocalInstant | declared.LocalThinking:
        """The component's section of the environment."""
        config: declared.LocalInstant | declared.LocalThinking = getattr(
            self.stack.environment, self.component
        )
        return config

    def plan(self) -> Plan:
        """Whether the declared engine runs, with the declared weights."""
        if self.config.engine == "url":
            return Plan(self.component, self._identity())
        weights = self._present()
        if weights is None:
            return Plan(
                self.component, self._identity(), (f"fetch the weights of {self._title()}", self._start())
            )
        program = self._program(weights)
        changes = () if self.processes.is_current(program) else (self._start(),)
        return Plan(self.component, program.digest, changes)

    def deploy(self, progress: Progress) -> Deployment:
        """Fetch what is missing, start or replace the engine, wait until it serves.

        Raises:
            DeployError: when weights cannot be had or verified, or the engine does not become ready.
        """
        started = time.monotonic()
        if self.config.engine == "url":
            self._require_url()
            return Deployment(self.component, self._identity(), (), time.monotonic() - started)
        changes = () if self._present() else (f"fetched the weights of {self._title()}",)
        program = self._program(self._weights(progress))
        for path, text in self._documents().items():
            write_if_changed(path, text)
        if self.processes.apply(program, progress):
            changes = (*changes, was_done(self._start()))
        return Deployment(self.component, program.digest, changes, time.monotonic() - started)

    def configured(self) -> tuple[str, str]:
        """What identifies the configuration that this tree declares, and the one that runs (empty: none).

        Raises:
            NoProvider: when another one's server is used, of which nothing can be read back.
            DeployError: when the declared weights are not there.
        """
        if self.config.engine == "url":
            raise NoProvider(f"nothing reads the configuration of {self.config.url} back")
        declares = digest_of(self._program(self._require_present()))
        return declares, self.processes.in_use(self.component)

    # --- for the components ----------------------------------------------------------------------

    def _ready(self) -> bool:
        raise NotImplementedError

    def _program(self, weights: Path) -> Program:
        raise NotImplementedError

    def _documents(self) -> dict[Path, str]:
        raise NotImplementedError

    # --- inside ----------------------------------------------------------------------------------

    @property
    def _directory(self) -> Path:
        return self.stack.state / "inference"

    def _present(self) -> Path | None:
        weights = self.files.verified(self.component, self.config.model.sha256)
        if weights is not None and self.config.engine == "vllm":
            return self.vllm.converted(self.config.model.sha256)
        return weights

    def _weights(self, progress: Progress) -> Path:
        weights = self.files.ensure(self.component, self.config.model.sha256, progress)
        if self.config.engine == "vllm":
            return self.vllm.ensure(self.component, weights, self.config.model.sha256, progress)
        return weights

    def _require_present(self) -> Path:
        weights = self._present()
        if weights is None:
            raise DeployError(self.component, "the weights changed during the deployment", "run it again")
        return weights

    def _launch(self, weights: Path) -> Launch:
        return launch(self.config, weights, self.stack.root, self._directory)

    def _weights_mark(self, weights: Path) -> str:
        """Changes when the file on disk is another one, so that the engine is started anew."""
        stat = weights.stat()
        return f"{self.config.model.sha256} {stat.st_ino}"

    def _key(self) -> str:
        return self.stack.secret(self.config.api_key).reveal()

    def _identity(self) -> str:
        return hashlib.sha256(self.config.model_dump_json().encode()).hexdigest()

    def _title(self) -> str:
        return f"{self.config.model.name} on {self.config.engine}"

    def _start(self) -> str:
        return f"start {self._title()}, {self.config.model.context_tokens} tokens of context"

    def _require_url(self) -> None:
        if not self._ready():
            what = f"{self.config.url} does not serve {self.config.model.name}"
            hint = f"start that server, or choose another engine ({self.component}.engine)"
            raise DeployError(self.component, what, hint)

    def _get_health(self) -> httpx.Response:
        return httpx.get(f"{self.config.url}/health", timeout=2.0, verify=system_trust(), trust_env=False)


class LocalInstant(_Engine):
    """An engine that is always there."""

    component = "instant"

    def _documents(self) -> dict[Path, str]:
        made = self._launch(self._require_present())
        return {made.file: made.text()}

    def _program(self, weights: Path) -> Program:
        made, config = self._launch(weights), self.config
        return Program(
            name=self.component,
            component=self.component,
            argv=[part.format(port=config.port) for part in made.argv],
            env={**made.environment, made.key_variable: self._key(), "PYTHONUNBUFFERED": "1"},
            cwd=self.stack.root,
            ready=self._ready,
            ready_seconds=made.start_seconds,
            port=config.port,
            digest=f"{made.digest()} {self._weights_mark(weights)}",
        )

    def _ready(self) -> bool:
        return serves(self.config, self.stack.secret(self.config.api_key))


class LocalThinking(_Engine):
    """The local serverless platform; engines come and go behind it."""

    component = "thinking"

    def _documents(self) -> dict[Path, str]:
        made = self._launch(self._require_present())
        return {made.file: made.text(), self._settings_file: self._settings(made)}

    @property
    def _settings_file(self) -> Path:
        return self._directory / "thinking.platform.yaml"

    def _settings(self, made: Launch) -> str:
        config = self.config
        assert isinstance(config, declared.LocalThinking)  # noqa: S101 - for the type checker
        return yaml.safe_dump(self._settings_document(config, made), sort_keys=True)

    def _settings_document(self, config: declared.LocalThinking, made: Launch) -> dict[str, Any]:
        return {
            "host": config.bind,
            "port": config.port,
            **config.serverless.model_dump(exclude={"cold_start_budget_seconds"}),
            "worker": {
                "argv": list(made.argv),
                "key_variable": made.key_variable,
                "model": config.model.name,
                "environment": dict(made.environment),
                "log": str(self.stack.state / "logs" / "thinking-worker.log"),
                "start_seconds": made.start_seconds,
                "probe_seconds": min(config.answer_within_seconds, _PROBE_SECONDS),
            },
        }

    def _program(self, weights: Path) -> Program:
        made = self._launch(weights)
        code = [(self.stack.root / "inference" / name).read_text("utf-8") for name in _PLATFORM_SOURCES]
        state = "\0".join([made.digest(), self._settings(made), self._weights_mark(weights), *code])
        return Program(
            name=self.component,
            component=self.component,
            argv=[sys.executable, "-m", "inference.serverless", "--config", str(self._settings_file)],
            env={"SERVERLESS_API_KEY": self._key(), "PYTHONUNBUFFERED": "1"},
            cwd=self.stack.root,
            ready=self._ready,
            port=self.config.port,
            digest=hashlib.sha256(state.encode()).hexdigest(),
        )

    def control(self) -> PlatformControl:
        """Looks into the running platform; what drills use."""
        key = self.stack.secret(self.config.api_key)
        return PlatformControl(self.config.url, key, self.processes.pid(self.component))

    def _ready(self) -> bool:
        """The platform counts its workers. Asking more would wake one."""
        try:
            answer = self._get_health()
            return answer.status_code == 200 and "workers" in answer.json()
        except (httpx.TransportError, ValueError):
            return False
