"""The image registry of a rehearsal: Debian's docker-registry on loopback, as a local program."""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx
import yaml

from harness.errors import HarnessError
from harness.providers.base import Program
from harness.providers.local.processes import LocalProcesses
from harness.rehearsal.engine import find_program
from harness.rehearsal.topology import Topology
from harness.trust import system_trust

__all__ = ["ensure_registry", "program"]


def ensure_registry(topology: Topology, processes: LocalProcesses) -> bool:
    """See that the registry runs; whether it had to be started.

    Raises:
        HarnessError, DeployError: when it cannot be started.
    """
    return processes.apply(program(topology, processes.state))


def program(topology: Topology, state: Path) -> Program:
    """The registry as a program; writes its configuration. What was pushed stays in the state directory."""
    path = find_program("docker-registry")
    if path is None:
        raise HarnessError(
            "there is no docker-registry on this machine (Debian: apt install docker-registry)"
        )
    configuration = _configuration(topology, state)
    file = state / "registry.yaml"
    file.write_text(configuration)
    url = f"http://127.0.0.1:{topology.registry_port}/v2/"
    return Program(
        name="registry",
        component="gateway",
        argv=[path, "serve", str(file)],
        ready=lambda: _answers(url),
        ready_seconds=20,
        port=topology.registry_port,
        digest=hashlib.sha256(configuration.encode()).hexdigest(),
    )


def _configuration(topology: Topology, state: Path) -> str:
    return yaml.safe_dump(
        {
            "version": 0.1,
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(state / "registry")},
                "delete": {"enabled": True},
            },
            "http": {"addr": f"127.0.0.1:{topology.registry_port}", "relativeurls": True},
        }
    )


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=1.0, verify=system_trust(), trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
