"""Fixtures: real engines with real weights, and ways to break them.

tests/conftest.py offers them to every test; import what else you need from here.

* ``real_engines`` (session): instant and thinking deployed by their providers on free ports.
* ``engines``: the same, with the right programs running before and after each test.
* :func:`broken_instant`, :func:`broken_thinking`: inside the block, other settings or changed code.
* :func:`declared`: the stack with something else declared, for checks of the declaration itself.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from harness.environment import Environment
from harness.providers.local.inference import LocalInstant, LocalThinking
from harness.providers.local.processes import LocalProcesses
from harness.secrets import SecretStore
from harness.stack import Stack
from tests.pg_fixture import free_port

ROOT = Path(__file__).parents[1]
CONTEXT = 256
"""Small, so that the token limit is reached quickly."""


@dataclass
class RealEngines:
    """The stack, and what tests hurt it with."""

    stack: Stack
    processes: LocalProcesses
    instant: LocalInstant
    thinking: LocalThinking

    def heal(self) -> None:
        """The right programs again, where they are not the right ones."""
        for provider in (self.instant, self.thinking):
            if provider.deploy(lambda _: None).changed:
                self.stack.close()  # kept-alive connections to the one before


def environment_text() -> dict[str, Any]:
    """environments/local.yaml on free ports, with short times."""
    text: dict[str, Any] = yaml.safe_load((ROOT / "environments" / "local.yaml").read_text())
    for name in ("instant", "thinking"):
        port = free_port()
        text[name] |= {"url": f"http://127.0.0.1:{port}", "port": port}
        text[name] |= {"answer_within_seconds": 2, "recover_within_seconds": 8}
        text[name]["model"]["context_tokens"] = CONTEXT
    text["thinking"]["serverless"] |= {"idle_seconds": 1, "cold_start_budget_seconds": 5}
    text["gateway"]["limits"]["request_tokens"] = CONTEXT
    return text


def build(directory: Path, text: dict[str, Any]) -> RealEngines:
    """The stack of ``text`` with its two engines, not yet deployed."""
    state = directory / "state"
    state.mkdir()
    stack = Stack(ROOT, state, Environment.model_validate(text), SecretStore(ROOT, state))
    processes = LocalProcesses(state)
    stack.process_control = stack.logs_source = processes
    instant, thinking = LocalInstant(stack, processes), LocalThinking(stack, processes)
    stack.providers |= {"instant": instant, "thinking": thinking}
    return RealEngines(stack, processes, instant, thinking)


@pytest.fixture(scope="session")
def real_engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealEngines]:
    real = build(tmp_path_factory.mktemp("engines"), environment_text())
    try:
        real.heal()
        yield real
    finally:
        real.stack.close()
        real.processes.shutdown()


@pytest.fixture
def engines(real_engines: RealEngines) -> Iterator[RealEngines]:
    real_engines.heal()
    yield real_engines
    real_engines.heal()


@contextlib.contextmanager
def declared(real: RealEngines, component: str, **changes: Any) -> Iterator[None]:
    """Inside the block something else is declared than runs; ``a__b`` changes a nested setting."""
    right = real.stack.environment
    text = right.model_dump(by_alias=True)
    for path, value in changes.items():
        *parents, last = path.split("__")
        part = text[component]
        for parent in parents:
            part = part[parent]
        part[last] = value
    real.stack.environment = Environment.model_validate(text)
    try:
        yield
    finally:
        real.stack.environment = right


@contextlib.contextmanager
def broken_instant(real: RealEngines, *, code: str = "", **document: Any) -> Iterator[None]:
    """The instant engine with other settings, or with ``code`` run in it before it starts."""
    weights = real.instant.files.ensure("instant", real.instant.config.model.sha256)
    right = real.instant._program(weights)
    file = real.stack.state / "broken-instant.yaml"
    made = real.instant._launch(weights)
    file.write_text(yaml.safe_dump({**made.document, **document}))
    port = str(real.instant.config.port)
    start = "import sys, inference.llamacpp_server as server\n{code}\nsys.exit(server.main())"
    argv = [sys.executable, "-c", start.format(code=code), "--config", str(file), "--port", port]
    digest = f"{file.read_text()}"
    real.processes.apply(replace(right, argv=argv, digest=digest, ready=_healthy(real, "instant")))
    real.stack.close()
    try:
        yield
    finally:
        real.heal()


@contextlib.contextmanager
def broken_thinking(
    real: RealEngines,
    *,
    code: str = "",
    worker_code: str = "",
    worker: dict[str, Any] | None = None,
    **settings: Any,
) -> Iterator[None]:
    """The platform or its workers with other settings, or with code run in them before they start."""
    weights = real.thinking.files.ensure("thinking", real.thinking.config.model.sha256)
    right = real.thinking._program(weights)
    made = real.thinking._launch(weights)
    engine = real.stack.state / "broken-worker.yaml"
    engine.write_text(yaml.safe_dump({**made.document, **(worker or {})}))
    document = yaml.safe_load(real.thinking._settings(made))
    start = f"import sys, inference.llamacpp_server as server\n{worker_code}\nsys.exit(server.main())"
    argv = [sys.executable, "-c", start, "--config", str(engine), "--port", "{port}"]
    document = {**document, **settings, "worker": {**document["worker"], "argv": argv}}
    file = real.stack.state / "broken-platform.yaml"
    file.write_text(yaml.safe_dump(document))
    start = f"import sys, inference.serverless as platform\n{code}\nsys.exit(platform.main())"
    argv = [sys.executable, "-c", start, "--config", str(file)]
    digest = f"{file.read_text()} {engine.read_text()}"
    real.processes.apply(replace(right, argv=argv, digest=digest))
    real.stack.close()
    try:
        yield
    finally:
        real.heal()


def _healthy(real: RealEngines, component: str) -> Any:
    url = getattr(real.stack.environment, component).url

    def ready() -> bool:
        try:
            return bool(httpx.get(f"{url}/health", timeout=1, trust_env=False).is_success)
        except httpx.TransportError:
            return False

    return ready
