"""Deploys without asking: what `make dev` and `harness up` do."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from harness.conductor import DEPENDS, ComponentRecord, Conductor
from harness.environment.loader import load, preflight
from harness.errors import ConfigurationError, HarnessError
from harness.evidence import Evidence
from harness.policy import policy_problems
from harness.providers.local.supervisor import MARKER
from harness.providers.registry import build_stack
from harness.runlock import run_lock

__all__ = ["deploy_all"]


class _Lines:
    """Prints progress as lines."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def component_progress(self, component: str, phase: str) -> None:
        """``component`` is now at ``phase``."""
        if not phase.startswith(("waits", "deploying")):
            self._console.print(f"  … {component:<10} {phase}", markup=False, soft_wrap=True)

    def component_done(self, record: ComponentRecord) -> None:
        """The deployment of a component has ended."""
        symbol = "✓" if record.verdict.passes else "✗"
        text = record.reason or record.summary
        self._console.print(
            f"  {symbol} {record.component:<10} {text}  {record.seconds:.1f} s",
            markup=False,
            soft_wrap=True,
        )

    def asked(self, check: str) -> None:
        """No question is asked here."""

    def answered(self, evidence: Evidence) -> None:
        """No question is asked here."""


def deploy_all(root: Path, env: str, overrides: Sequence[str], console: Console) -> bool:
    """Deploy every component of ``env``; whether all of them are in their declared state.

    Raises:
        ConfigurationError: when the environment or a secret is not right.
    """
    loaded = load(env, root, overrides=overrides)
    environment = loaded.environment
    if environment.predecessor is not None or policy_problems(environment, loaded.content, root):
        raise HarnessError(
            f"{env} has a gate: what is deployed there is proven; use: pytest --env {env} features/"
        )
    stack = build_stack(environment, root)
    if problems := preflight(environment, stack.secrets):
        raise ConfigurationError(problems, title=f"{env} is out of reach")
    os.environ[MARKER] = str(stack.state)
    with run_lock(stack.state):
        conductor = Conductor(stack, _Lines(console))
        conductor.begin(list(DEPENDS), [])
        records = [conductor.deployment(component) for component in DEPENDS]
    if all(record.verdict.passes for record in records):
        console.print(f"up: {environment.web.url}  (sign in: .venv/bin/harness sign-in alice)")
        return True
    return False
