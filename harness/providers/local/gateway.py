"""The gateway on this machine: uvicorn under the local process manager."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import httpx

from harness.environment.gateway import LocalGateway as Declared
from harness.errors import DeployError, NoProvider
from harness.providers.base import Deployment, Plan, Program, Progress, was_done
from harness.providers.gateway_environment import (
    fingerprint,
    gateway_settings,
    reveal,
    source_digest,
    source_release,
)
from harness.providers.local.processes import LocalProcesses
from harness.secrets import Secret
from harness.stack import Stack
from harness.trust import system_trust

__all__ = ["LocalGateway"]

PROGRAM = "gateway"


class LocalGateway:
    """Deploys `python -m gateway` and reads back with which settings it runs."""

    component = "gateway"

    def __init__(self, stack: Stack, processes: LocalProcesses) -> None:
        self._stack, self._processes = stack, processes

    @property
    def release(self) -> str:
        """What the gateway must call itself; the same sources are the same release."""
        return source_release(self._stack.root)

    def declared_settings(self) -> dict[str, str]:
        """Variable: fingerprint, as the environment file declares them."""
        return {name: fingerprint(value) for name, value in self._settings().items()}

    def live_settings(self) -> dict[str, str]:
        """Variable: fingerprint, of the running process; only what the gateway reads.

        Raises:
            DeployError: when it does not run.
        """
        pid = self._processes.pid(PROGRAM)
        try:
            entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if pid else []
        except OSError as error:
            what = f"cannot read the settings of pid {pid}: {error.strerror}"
            raise DeployError("gateway", what) from None
        if not entries:
            raise DeployError("gateway", "it does not run", f"read {self._processes.log_path(PROGRAM)}")
        pairs = (entry.decode("utf-8", "replace").partition("=") for entry in entries)
        return {name: fingerprint(value) for name, _, value in pairs if name.startswith("GATEWAY_")}

    def program(self) -> Program:
        """The gateway as the process manager runs it."""
        declared = self._declared
        env = {name: reveal(value) for name, value in self._settings().items()}
        return Program(
            name=PROGRAM,
            component=self.component,
            argv=[sys.executable, "-m", "gateway"],
            ready=self._ready,
            env={**env, "PYTHONUNBUFFERED": "1"},
            cwd=self._stack.root,
            ready_seconds=30.0,
            stop_seconds=15.0,
            digest=source_digest(self._stack.root),
            port=declared.port,
        )

    def plan(self) -> Plan:
        """What a deploy would change, by name. Reads only."""
        digest = f"sha256:{source_digest(self._stack.root)}"
        if self._processes.is_current(self.program()):
            return Plan(self.component, digest)
        return Plan(self.component, digest, (self._difference(),))

    def deploy(self, progress: Progress) -> Deployment:
        """Start the gateway, or replace it when its sources or settings changed.

        Raises:
            DeployError: when its port is taken, or it does not become live.
        """
        started = time.monotonic()
        plan = self.plan()
        if not plan.unchanged:
            progress(f"starting {self.release}")
            self._processes.apply(self.program())
        changes = tuple(map(was_done, plan.changes))
        return Deployment(self.component, plan.digest, changes, time.monotonic() - started)

    # --- inside ----------------------------------------------------------------------------------

    @property
    def _declared(self) -> Declared:
        declared = self._stack.environment.gateway
        if not isinstance(declared, Declared):
            raise NoProvider(f"the local provider cannot deploy a gateway by {declared.provider!r}")
        return declared

    def _settings(self) -> dict[str, str | Secret]:
        settings = gateway_settings(self._stack.environment, self._stack.secrets, self.release)
        if self._declared.reload:
            settings |= {"GATEWAY_RELOAD": "true", "GATEWAY_LOG_LEVEL": "debug"}
        return settings

    def _ready(self) -> bool:
        """It is alive, and it is this release: an older process on the port does not count."""
        try:
            answer = httpx.get(
                f"http://127.0.0.1:{self._declared.port}/health/live",
                timeout=5.0,
                verify=system_trust(),
                trust_env=False,
            )
        except httpx.TransportError:
            return False
        return answer.status_code == 200 and answer.headers.get("x-gateway-release") == self.release

    def _difference(self) -> str:
        if not self._processes.pid(PROGRAM):
            return f"start {self.release}"
        live, declared = self.live_settings(), self.declared_settings()
        names = sorted(name for name in {*live, *declared} if live.get(name) != declared.get(name))
        if names == ["GATEWAY_RELEASE"]:
            return f"replace it by {self.release}"
        return f"replace it by {self.release} ({', '.join(names)} changed)" if names else "restart it"
