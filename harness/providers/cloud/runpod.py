"""The thinking model as a serverless endpoint of RunPod: its settings brought to the declared ones.

The endpoint itself is made once, by a person. What the environment file does not say of it stands in
inference/cloud/thinking.runpod.yaml.
"""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import AbstractContextManager
from typing import Any, NoReturn

import httpx
import yaml

from harness.environment.inference import RunpodThinking as Settings
from harness.errors import DeadlineExceeded, DeployError, NoProvider
from harness.providers.base import Deployment, Plan, Progress, Spending
from harness.providers.cloud.runpod_api import Endpoint, RunpodApi
from harness.providers.vendor_api import deploying
from harness.stack import Stack
from harness.waiting import wait_until

__all__ = ["RunpodControl", "RunpodThinking"]

_APPLIED_SECONDS = 60.0
"""Until RunPod shows what it was told."""
_ANSWERS_SECONDS = 60.0
"""Until the API for jobs knows the endpoint."""
_DEFINITION = "inference/cloud/thinking.runpod.yaml"
_MODEL = "OPENAI_SERVED_MODEL_NAME_OVERRIDE"
_PER_WORKER = "REQUEST_COUNT"
"""The scaler whose value is the requests that a worker is given at once."""


class RunpodThinking:
    """Implements :class:`harness.providers.base.ComponentProvider`, and what checks of the platform ask."""

    component = "thinking"
    poll_seconds = 1.0
    """Between two looks at the workers: RunPod limits how often it may be asked."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        if not isinstance(stack.environment.thinking, Settings):
            raise TypeError("the environment does not declare an endpoint of RunPod")
        self.settings = stack.environment.thinking

    @property
    def api(self) -> RunpodApi:
        """The endpoint's APIs."""
        return RunpodApi.of(self._stack, self.settings)

    # --- deploying -------------------------------------------------------------------------------

    def plan(self) -> Plan:
        """Compare the endpoint's settings and its template's variables with the declared. Reads only."""
        with self._deploying():
            live = self.api.endpoint()
        changes = [
            f"set {name} to {_said(value)} (is {now})" for name, value, now in self._differences(live)
        ]
        return Plan(self.component, self._digest(), tuple(changes))

    def deploy(self, progress: Progress) -> Deployment:
        """Change what differs, wait until it is in force, and until the endpoint is known for jobs.

        Raises:
            DeployError: when RunPod refuses, or does not do it in time.
        """
        started = time.monotonic()
        with self._deploying():
            live = self.api.endpoint()
            done = tuple(f"set {name} to {_said(value)}" for name, value, _ in self._differences(live))
            if done:
                progress(f"changing {len(done)} settings of the endpoint")
                self._change(live)
                self._wait_until_in_force()
            progress("asking for its health")
            self._wait_until_known()
        return Deployment(self.component, self._digest(), done, time.monotonic() - started)

    # --- what checks use -------------------------------------------------------------------------

    def control(self) -> RunpodControl:
        """Looks into the platform."""
        return RunpodControl(self.api)

    def health(self) -> dict[str, dict[str, int]]:
        """Workers and jobs, as the local platform counts them; asking wakes nobody."""
        jobs = self.api.jobs().jobs
        return {
            "workers": {"total": self.api.workers()},
            "jobs": {
                "inQueue": jobs.waiting,
                "inProgress": jobs.running,
                "completed": jobs.completed,
            },
        }

    def spending(self) -> Spending:
        """The account's limit, and what it spends now."""
        account = self.api.account()
        return Spending(account.limit, account.now, f"{self.api.account_where} (myself)")

    # --- inside ----------------------------------------------------------------------------------

    def _deploying(self) -> AbstractContextManager[None]:
        return deploying(self.component, "RunPod", self.settings.management_url)

    def _definition(self) -> dict[str, Any]:
        try:
            found = yaml.safe_load((self._stack.root / _DEFINITION).read_text(encoding="utf-8"))
            return {"scaler": found["endpoint"]["scalerType"], "env": found["template"]["env"]}
        except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
            raise DeployError(self.component, f"{_DEFINITION} cannot be read: {error!r}") from None

    def _declared(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Settings by RunPod's names, and variables of the template."""
        declared, found = self.settings.serverless, self._definition()
        settings = {
            "workersMin": 0,
            "workersMax": declared.max_workers,
            "idleTimeout": round(declared.idle_seconds),
            "executionTimeoutMs": round(declared.execution_timeout_seconds * 1000),
            "scalerType": found["scaler"],
            "scalerValue": declared.concurrency,
            "gpuTypeIds": [self.settings.gpu],
        }
        variables = {
            **{str(name): str(value) for name, value in found["env"].items()},
            _MODEL: self.settings.model.name,
            "MAX_MODEL_LEN": str(self.settings.model.context_tokens),
            "MAX_CONCURRENCY": str(declared.concurrency),
        }
        return settings, variables

    def _differences(self, live: Endpoint) -> list[tuple[str, Any, str]]:
        """What is not as declared: its name, what it should be, what it is."""
        settings, variables = self._declared()
        told, given = live.settings, live.variables
        found = [
            (name, value, _said(told[name])) for name, value in settings.items() if told[name] != value
        ]
        found += [
            (name, value, given.get(name, "not set"))
            for name, value in variables.items()
            if given.get(name) != value
        ]
        if told["workersMax"] == 0:  # or somebody wonders who did it
            dormant = "0: RunPod does that after seven days without a request"
            found = [(name, value, dormant if name == "workersMax" else now) for name, value, now in found]
        return found

    def _change(self, live: Endpoint) -> None:
        settings, variables = self._declared()
        wrong = {name: value for name, value in settings.items() if live.settings[name] != value}
        if any(live.variables.get(name) != value for name, value in variables.items()):
            if not live.template_id:
                what = f"{self.api.where}: the endpoint names no template, and its variables are not right"
                raise DeployError(self.component, what, "give it a template, in the console")
            before = live.template.env if live.template else {}
            self.api.set_variables(live.template_id, {**before, **variables})
        if wrong:
            self.api.set_endpoint(wrong)

    def _wait_until_in_force(self) -> None:
        last = ""

        def as_declared() -> bool:
            nonlocal last
            found = self._differences(self.api.endpoint())
            last = ", ".join(f"{name} {now}, wanted {_said(value)}" for name, value, now in found)
            return not found

        hint = "see the endpoint in RunPod's console: does somebody else change it?"
        self._wait("the new settings in force", as_declared, _APPLIED_SECONDS, hint, lambda: last)

    def _wait_until_known(self) -> None:
        hint = "see the endpoint in RunPod's console"
        self._wait("the endpoint's health", self.api.jobs, _ANSWERS_SECONDS, hint, lambda: "no answer")

    def _wait(self, what: str, probe: Any, seconds: float, hint: str, seen: Any) -> None:
        try:
            errors = (httpx.TransportError,)  # a busy vendor (429) counts as "not yet"
            wait_until(what, probe, seconds=seconds, seen=seen, longest_pause=2.0, errors=errors)
        except DeadlineExceeded as error:
            raise DeployError(self.component, f"{self.api.where}: {error}", hint) from None

    def _digest(self) -> str:
        """What identifies the declared state."""
        return hashlib.sha256(json.dumps(self._declared(), sort_keys=True).encode()).hexdigest()


class RunpodControl:
    """Implements :class:`harness.checks.platform.ServerlessControl`, as far as RunPod lets anybody."""

    def __init__(self, api: RunpodApi) -> None:
        self._api = api

    def settings(self) -> dict[str, Any]:
        """In force, as on the local platform; beyond that the GPU, and the name that the model goes by."""
        live = self._api.endpoint()
        found = {name: live.settings[name] for name in ("workersMin", "workersMax")}
        found |= {name: live.settings[name] for name in ("idleTimeout", "executionTimeoutMs")}
        per_worker = live.scale if live.scaler == _PER_WORKER else f"by {live.scaler}"
        model = live.variables.get(_MODEL, "not set")
        return {**found, "concurrency": per_worker, "gpu": ", ".join(live.gpus), "model": model}

    def workers(self) -> list[int]:
        """Raises NoProvider: see :meth:`kill_workers`."""
        _needs_hardware()

    def kill_workers(self) -> list[int]:
        """Raises NoProvider: RunPod lets nobody end or stop one worker as a crash would."""
        _needs_hardware()

    def workers_paused(self) -> AbstractContextManager[list[int]]:
        """Raises NoProvider: see :meth:`kill_workers`."""
        _needs_hardware()


def _needs_hardware() -> NoReturn:
    what = "RunPod lets nobody kill or hang a worker from outside: try it by hand, from a shell on one"
    raise NoProvider(what)


def _said(value: Any) -> str:
    if value is None or value == []:
        return "not set"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
