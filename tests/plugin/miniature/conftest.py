"""A miniature of the project: its own steps, checks and providers, the harness as it is."""

from __future__ import annotations

from pathlib import Path

import ministack

from harness.environment import Environment
from harness.stack import Stack

pytest_plugins = ["harness.pytest_plugin", "ministeps", "more_steps"]


def pytest_harness_stack(environment: Environment, root: Path) -> Stack:
    return ministack.build(environment, root)
