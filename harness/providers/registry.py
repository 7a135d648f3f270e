"""Which provider implements which component of an environment: one line each.

An environment may mix them: a gateway on machines, the web app here. Programs and logs of both kinds are
found by their names, wherever they are (:class:`harness.providers.everywhere.Everywhere`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

from harness.environment import COMPONENTS, Environment
from harness.identity import LocalIdentities
from harness.providers.base import ComponentProvider
from harness.providers.cloud.runpod import RunpodThinking
from harness.providers.cloud.supabase import CloudSupabase
from harness.providers.cloud.vercel import VercelWeb
from harness.providers.docker.provider import DockerGateway
from harness.providers.everywhere import Everywhere
from harness.providers.host.supabase import HostSupabase
from harness.providers.local.gateway import LocalGateway
from harness.providers.local.inference import LocalInstant, LocalThinking
from harness.providers.local.processes import LocalProcesses
from harness.providers.local.supabase import LocalSupabase
from harness.providers.local.web import LocalWeb
from harness.providers.machine_programs import MachineProgram, MachinePrograms
from harness.providers.pod.instant import PodInstant
from harness.secrets import SecretStore
from harness.stack import Stack

__all__ = ["build_stack", "local_processes"]

_LOCAL: dict[str, Callable[[Stack, LocalProcesses], ComponentProvider]] = {
    "supabase": LocalSupabase,
    "instant": LocalInstant,
    "thinking": LocalThinking,
    "gateway": LocalGateway,
    "web": LocalWeb,
}
_ELSEWHERE: dict[tuple[str, str], Callable[[Stack], ComponentProvider]] = {
    ("gateway", "docker"): DockerGateway,
    ("supabase", "host"): HostSupabase,
    ("supabase", "cloud"): CloudSupabase,
    ("instant", "pod"): PodInstant,
    ("thinking", "runpod"): RunpodThinking,
    ("web", "vercel"): VercelWeb,
}


@runtime_checkable
class _OnMachines(Protocol):
    def machine_programs(self) -> list[MachineProgram]:
        """What the provider keeps running on machines."""
        ...


def build_stack(environment: Environment, root: Path) -> Stack:
    """The stack of ``environment``, with every provider that exists for it."""
    state = root / ".harness" / environment.environment
    stack = Stack(root, state, environment, SecretStore(root, state))
    here: LocalProcesses | None = None
    there: list[MachineProgram] = []
    for component in COMPONENTS:
        provider = getattr(environment, component).provider
        if provider == "local":
            here = here or local_processes(root, environment.environment)
            stack.providers[component] = _LOCAL[component](stack, here)
        elif made := _ELSEWHERE.get((component, provider)):
            stack.providers[component] = found = made(stack)
            there += found.machine_programs() if isinstance(found, _OnMachines) else []
    stack.identities_source = LocalIdentities(stack)
    if there:
        everywhere = Everywhere(here, MachinePrograms(lambda: stack.remote, there))
        stack.process_control = stack.logs_source = everywhere
    elif here:
        stack.process_control = stack.logs_source = here
    return stack


def local_processes(root: Path, environment: str) -> LocalProcesses:
    """The process manager of the environment's local stack."""
    return LocalProcesses(root / ".harness" / environment)
