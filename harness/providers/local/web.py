"""The web app on this machine: built once for its sources and variables, served by Node."""

from __future__ import annotations

import hashlib
import sys
import time
from dataclasses import replace
from pathlib import Path

import httpx

from harness.environment.web import LocalWeb as Settings
from harness.errors import DeployError
from harness.providers import error_sink, web_build
from harness.providers.base import Deployment, Plan, Program, Progress
from harness.providers.local.next_build import Build, make_build, prune
from harness.providers.local.node import Node, find_node, install_packages, packages_match
from harness.providers.local.processes import LocalProcesses
from harness.stack import Stack
from harness.trust import system_trust

__all__ = ["LocalWeb", "web_program"]


class LocalWeb:
    """Implements :class:`harness.providers.base.ComponentProvider`: programs `errors` and `web`."""

    component = "web"

    def __init__(self, stack: Stack, processes: LocalProcesses) -> None:
        self._stack, self._processes = stack, processes
        self._source = stack.root / "web"
        self._found: Node | None = None

    def plan(self) -> Plan:
        """What a deploy would install, build and start."""
        digest, build = self._declared()
        changes = []
        if not packages_match(self._source):
            changes.append("install the packages of web/package-lock.json")
        if not self._development and not build.complete:
            changes.append(f"build {web_build.release(self._stack)}")
        for program in self._programs(build, digest):
            if not self._processes.is_current(program):
                changes.append(f"start {program.name}")
        return Plan(self.component, digest, tuple(changes))

    def deploy(self, progress: Progress) -> Deployment:
        """Install, build and start what is not as declared.

        Raises:
            DeployError: Node is absent or too old, npm or the compiler fails, a port is taken.
        """
        started = time.monotonic()
        digest, build = self._declared()
        changes = [*self._prepare(build, progress)]
        for program in self._programs(build, digest):
            if not self._processes.is_current(program):
                progress(f"starting {program.name}")
                self._processes.apply(program)
                changes.append(f"started {program.name}")
        return Deployment(self.component, digest, tuple(changes), time.monotonic() - started)

    # --- inside ----------------------------------------------------------------------------------

    @property
    def _settings(self) -> Settings:
        settings = self._stack.environment.web
        if not isinstance(settings, Settings):
            raise DeployError("web", f"provider {settings.provider!r} is not the local one")
        return settings

    @property
    def _development(self) -> bool:
        return self._settings.mode == "dev"

    def _node(self) -> Node:
        self._found = self._found or find_node("web")
        return self._found

    def _declared(self) -> tuple[str, Build]:
        inlined = web_build.declared(self._stack)
        if self._development:
            # Next reloads the sources by itself: only the packages and the variables ask for a restart
            lock = (self._source / "package-lock.json").read_bytes()
            parts = [lock, *(f"{key}={value}".encode() for key, value in sorted(inlined.items()))]
            digest = hashlib.sha256(b"\0".join(parts)).hexdigest()
        else:
            digest = web_build.build_digest(self._source, inlined, self._node().version)
        return digest, Build(self._stack.state / "web" / digest[:16])

    def _prepare(self, build: Build, progress: Progress) -> list[str]:
        changes = []
        logs = self._stack.state / "logs"
        if not packages_match(self._source):
            progress("installing packages")
            install_packages("web", self._source, logs / "web-install.log")
            changes.append("installed packages")
        if not self._development and not build.complete:
            inlined = web_build.declared(self._stack)
            make_build(
                self._source, build, self._node(), inlined, log=logs / "web-build.log", progress=progress
            )
            prune(build.directory.parent, build.directory)
            changes.append(f"built {inlined['NEXT_PUBLIC_RELEASE']}")
        return changes

    def _programs(self, build: Build, digest: str) -> list[Program]:
        stack, node = self._stack, self._node()
        server = _development(stack, node) if self._development else web_program(stack, node, build)
        sink = [] if self._settings.error_dsn else [_sink(stack, self._settings.error_sink_port)]
        return [*sink, replace(server, digest=digest)]


def web_program(stack: Stack, node: Node, build: Build, port: int | None = None) -> Program:
    """The server of ``build``, for the gateway of ``stack``."""
    port = port or _port(stack)
    return Program(
        "web",
        "web",
        [node.path, str(build.directory / "server.js")],
        ready=lambda: _answers(f"http://127.0.0.1:{port}", web_build.release(stack)),
        env={
            **web_build.server_environment(stack),
            **_trusted(stack),
            "NODE_ENV": "production",
            "NEXT_TELEMETRY_DISABLED": "1",
            "HOSTNAME": "127.0.0.1",
            "PORT": str(port),
        },
        cwd=build.directory,
        port=port,
    )


def _development(stack: Stack, node: Node) -> Program:
    web, port = stack.root / "web", _port(stack)
    next_command = [node.path, str(web / "node_modules/next/dist/bin/next"), "dev"]
    return Program(
        "web",
        "web",
        [*next_command, "-H", "127.0.0.1", "-p", str(port)],
        ready=lambda: _answers(f"http://127.0.0.1:{port}", web_build.release(stack)),
        env={
            **web_build.server_environment(stack),
            **_trusted(stack),
            **web_build.declared(stack),
            "NODE_ENV": "development",
            "NEXT_TELEMETRY_DISABLED": "1",
        },
        cwd=web,
        port=port,
        ready_seconds=60.0,
    )


def _trusted(stack: Stack) -> dict[str, str]:
    """The authority that the environment declares: Node asks for it when it starts, beside its own ones."""
    return {"NODE_EXTRA_CA_CERTS": str(stack.tls_ca)} if stack.tls_ca else {}


def _sink(stack: Stack, port: int) -> Program:
    source = Path(error_sink.__file__)
    store = stack.state / "errors.jsonl"
    return Program(
        "errors",
        "web",
        [sys.executable, "-m", "harness.providers.error_sink", "--port", str(port), "--store", str(store)],
        ready=lambda: _answers(f"http://127.0.0.1:{port}", None),
        cwd=stack.root,
        port=port,
        digest=hashlib.sha256(source.read_bytes()).hexdigest(),
    )


def _port(stack: Stack) -> int:
    port: int = getattr(stack.environment.web, "port", 3000)
    return port


def _answers(url: str, release: str | None) -> bool:
    """Whether the server at ``url`` answers and is ``release`` (None: the error sink, which has none)."""
    path = "/health" if release is None else "/api/health"
    try:
        answer = httpx.get(
            url + path, timeout=httpx.Timeout(5.0, connect=1.0), verify=system_trust(), trust_env=False
        )
        return answer.status_code == 200 and (release is None or answer.json()["release"] == release)
    except (httpx.HTTPError, ValueError, KeyError):
        return False
