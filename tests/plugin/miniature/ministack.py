"""Providers that write a line into a journal instead of starting anything."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from harness.environment import COMPONENTS, Environment
from harness.errors import DeployError
from harness.providers.base import Deployment, Plan, Progress
from harness.secrets import SecretStore
from harness.stack import Stack


class JournalProvider:
    """Deployed means: a line in journal.txt. What is broken or missing is read from the environment."""

    def __init__(self, component: str, root: Path) -> None:
        self.component, self.journal = component, root / "journal.txt"
        self.digest = "sha256:" + hashlib.sha256(component.encode()).hexdigest()

    def plan(self) -> Plan:
        return Plan(self.component, self.digest, () if self._deployed() else (f"start {self.component}",))

    def deploy(self, progress: Progress) -> Deployment:
        progress("starting")
        if self.component in os.environ.get("MINI_BROKEN", ""):
            raise DeployError(self.component, os.environ.get("MINI_ERROR", "its port is taken"), "free it")
        if self._deployed():
            return Deployment(self.component, self.digest)
        with self.journal.open("a") as journal:
            journal.write(f"{self.component}\n")
        return Deployment(self.component, self.digest, (f"started {self.component}",))

    def _deployed(self) -> bool:
        return self.journal.exists() and self.component in self.journal.read_text().split()


def build(environment: Environment, root: Path) -> Stack:
    state = root / ".harness" / environment.environment
    stack = Stack(root, state, environment, SecretStore(root, state))
    for component in COMPONENTS:
        if component not in os.environ.get("MINI_MISSING", ""):
            stack.providers[component] = JournalProvider(component, root)
    return stack
