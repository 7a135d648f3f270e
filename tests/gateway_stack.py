"""Fixture: the real gateway and Supabase, with fake engines and web, all under the process manager.

* ``real_stack`` (session): deployed once; four to six seconds to make.
* ``gateway_stack``: the same, with the right gateway running before and after each test.
* :func:`broken`: inside its block the gateway runs with other settings, or with its code changed.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from harness.environment import Environment
from harness.environment.loader import load
from harness.identity import LocalIdentities
from harness.providers.base import Deployment, Plan, Program, Progress
from harness.providers.local.gateway import LocalGateway
from harness.providers.local.processes import LocalProcesses
from harness.providers.local.supabase import LocalSupabase
from harness.secrets import SecretStore
from harness.stack import Stack
from tests.pg_fixture import free_port

ROOT = Path(__file__).parents[1]
_SERVED = ("gateway", "instant", "thinking", "web")


@dataclass
class RealStack:
    """The stack, and what tests hurt it with."""

    stack: Stack
    processes: LocalProcesses
    gateway: LocalGateway


def _root(directory: Path) -> Path:
    """A repository whose gateway is a copy, so that a test may change it; everything else is linked."""
    directory.mkdir()
    for entry in ROOT.iterdir():
        if entry.name in ("environments", "gateway"):  # of an environment's file no link is accepted
            shutil.copytree(entry, directory / entry.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif entry.name == "requirements-gateway.txt":
            shutil.copy(entry, directory)
        elif entry.name not in (".git", ".harness"):
            (directory / entry.name).symlink_to(entry)
    return directory


def _environment() -> Environment:
    """environments/local.yaml, on free ports."""
    port = {name: free_port() for name in ("api", "database", "rest", "admin", "sink", *_SERVED)}
    supabase = {
        "api_url": f"http://127.0.0.1:{port['api']}",
        "api_port": port["api"],
        "database_port": port["database"],
        "rest_port": port["rest"],
        "rest_admin_port": port["admin"],
    }
    changes = [f"supabase.{name}={value}" for name, value in supabase.items()]
    changes += [f"{name}.port={port[name]}" for name in _SERVED]
    changes += [f"{name}.url=http://127.0.0.1:{port[name]}" for name in _SERVED]
    changes += [f"web.error_sink_port={port['sink']}"]
    return load("local", ROOT, overrides=changes).environment


def _fake(name: str, script: str, path: str, port: int, *arguments: str) -> Program:
    def ready() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=1, trust_env=False).is_success
        except httpx.TransportError:
            return False

    argv = [sys.executable, str(ROOT / "tests" / script), str(port), *arguments]
    return Program(name, name, argv, ready, ready_seconds=10, port=port)


class _Fake:
    """A provider of what is fake here."""

    def __init__(self, processes: LocalProcesses, program: Program) -> None:
        self.component, self._processes, self._program = program.component, processes, program

    def plan(self) -> Plan:
        current = self._processes.is_current(self._program)
        return Plan(self.component, "sha256:fake", () if current else (f"start {self.component}",))

    def deploy(self, progress: Progress) -> Deployment:
        return Deployment(self.component, "sha256:fake", ("start",) * self._processes.apply(self._program))


def _fakes(stack: Stack, processes: LocalProcesses) -> list[_Fake]:
    web, gateway = stack.environment.web, stack.environment.gateway
    return [
        _Fake(processes, program)
        for program in (
            _fake("instant", "fake_engine.py", "/health", stack.environment.instant.port),
            _fake("thinking", "fake_engine.py", "/health", stack.environment.thinking.port),
            _fake("web", "fake_web.py", "/", web.port, str(web.error_sink_port), gateway.url),
        )
    ]


@pytest.fixture(scope="session")
def real_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealStack]:
    directory = tmp_path_factory.mktemp("gateway-stack")
    root, state = _root(directory / "root"), directory / "state"
    state.mkdir()
    stack = Stack(root, state, _environment(), SecretStore(root, state))
    processes = LocalProcesses(state)
    stack.process_control = stack.logs_source = processes
    stack.identities_source = LocalIdentities(stack)
    supabase, gateway = LocalSupabase(stack, processes), LocalGateway(stack, processes)
    try:
        for provider in (supabase, *_fakes(stack, processes), gateway):
            stack.providers[provider.component] = provider
            provider.deploy(lambda _: None)
        yield RealStack(stack, processes, gateway)
    finally:
        stack.close()
        processes.shutdown()
        with contextlib.suppress(FileNotFoundError):
            supabase.server.destroy()


@pytest.fixture
def gateway_stack(real_stack: RealStack) -> RealStack:
    if real_stack.gateway.deploy(lambda _: None).changed:
        real_stack.stack.close()  # kept-alive connections to the one before
    return real_stack


@pytest.fixture
def environment_files(gateway_stack: RealStack) -> Iterator[Path]:
    """The environment files of the stack, to be changed; they are put right afterwards."""
    folder = gateway_stack.stack.root / "environments"
    yield folder
    shutil.rmtree(folder)
    shutil.copytree(ROOT / "environments", folder)


@contextlib.contextmanager
def broken(real: RealStack, env: Mapping[str, str | None] | None = None, code: str = "") -> Iterator[None]:
    """The gateway with other variables, or with ``code`` run in it before it starts; then the right one."""
    right = real.gateway.program()
    changes = {name: value for name, value in (env or {}).items() if value is not None}
    variables = {name: value for name, value in right.env.items() if (env or {}).get(name, "") is not None}
    start = "import sys; from gateway.__main__ import main; sys.exit(main())"
    argv = [sys.executable, "-c", f"{code}\n{start}"] if code else right.argv
    url = f"{real.stack.environment.gateway.url}/health/live"

    def ready() -> bool:
        try:
            return httpx.get(url, timeout=1, trust_env=False).is_success
        except httpx.TransportError:
            return False

    real.processes.apply(replace(right, argv=argv, env={**variables, **changes}, ready=ready))
    real.stack.close()  # kept-alive connections to the one before
    try:
        yield
    finally:
        real.processes.apply(right)
        real.stack.close()


@contextlib.contextmanager
def edited(real: RealStack, name: str, old: str, new: str) -> Iterator[None]:
    """A gateway deployed from sources where ``old`` in the file ``name`` is ``new``; then the right one."""
    path = real.stack.root / "gateway" / name
    right = path.read_text()
    assert right.count(old) == 1, f"{name} has changed: adapt the test"
    path.write_text(right.replace(old, new))
    try:
        real.gateway.deploy(lambda _: None)
        real.stack.close()
        yield
    finally:
        path.write_text(right)
        real.gateway.deploy(lambda _: None)
        real.stack.close()
