"""Every component of every environment here has a provider that can do what checks ask of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.checks import cost, platform, rollback
from harness.environment import COMPONENTS
from harness.environment.loader import load
from harness.providers.base import Prepares
from harness.providers.registry import build_stack

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / "environments").glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_every_component_has_a_provider(name: str) -> None:
    stack = build_stack(load(name, ROOT).environment, ROOT)
    assert set(stack.providers) == set(COMPONENTS)
    assert all(provider.component == name for name, provider in stack.providers.items())
    stack.close()


@pytest.mark.parametrize("name", ["staging", "production"])
def test_hosted_providers_can_do_what_checks_ask_of_them(name: str) -> None:
    stack = build_stack(load(name, ROOT).environment, ROOT)
    web, thinking = stack.provider("web"), stack.provider("thinking")
    assert isinstance(web, rollback._Returns)
    assert isinstance(web, Prepares)
    assert isinstance(thinking, platform._Controlled)
    assert isinstance(thinking, platform.Counts)
    assert isinstance(thinking, cost._Spends)
    stack.close()
