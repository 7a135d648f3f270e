"""Which provider implements which component of an environment: one line each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harness.environment import Environment
from harness.identity import LocalIdentities
from harness.providers.base import ComponentProvider
from harness.providers.local.gateway import LocalGateway
from harness.providers.local.inference import LocalInstant, LocalThinking
from harness.providers.local.processes import LocalProcesses
from harness.providers.local.supabase import LocalSupabase
from harness.providers.local.web import LocalWeb
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


def build_stack(environment: Environment, root: Path) -> Stack:
    """The stack of ``environment``, with every provider that exists for it."""
    state = root / ".harness" / environment.environment
    stack = Stack(root, state, environment, SecretStore(root, state))
    local = [name for name in _LOCAL if getattr(environment, name).provider == "local"]
    if local:
        processes = local_processes(root, environment.environment)
        stack.process_control = stack.logs_source = processes
        stack.identities_source = LocalIdentities(stack)
        for name in local:
            stack.providers[name] = _LOCAL[name](stack, processes)
    return stack


def local_processes(root: Path, environment: str) -> LocalProcesses:
    """The process manager of the environment's local stack."""
    return LocalProcesses(root / ".harness" / environment)
