"""The local providers of both models: plan, deploy, deploy again, notice what changed."""

from __future__ import annotations

import pytest

from harness.errors import DeployError
from tests.inference_stack import RealEngines, declared


def quietly(_: str) -> None:
    """Progress that nobody reads."""


def test_a_second_deploy_changes_nothing(engines: RealEngines) -> None:
    for provider in (engines.instant, engines.thinking):
        pid = engines.processes.pid(provider.component)
        assert provider.plan().unchanged
        assert not provider.deploy(quietly).changed
        assert engines.processes.pid(provider.component) == pid


def test_another_declaration_is_planned_and_then_deployed(engines: RealEngines) -> None:
    pid = engines.processes.pid("instant")
    with declared(engines, "instant", model__name="renamed"):
        plan = engines.instant.plan()
        assert plan.changes == ("start renamed on llamacpp, 256 tokens of context",)
        assert engines.processes.pid("instant") == pid
        done = engines.instant.deploy(quietly).changes
        assert done == ("started renamed on llamacpp, 256 tokens of context",)
        assert engines.instant.plan().unchanged
    assert engines.processes.pid("instant") != pid


def test_planning_and_asking_wakes_no_worker(engines: RealEngines) -> None:
    engines.thinking.plan()
    engines.thinking.deploy(quietly)
    control = engines.thinking.control()
    assert control.settings()["workersMin"] == 0
    assert control.workers() == []


def test_an_engine_elsewhere_is_used_as_it_is(engines: RealEngines) -> None:
    with declared(engines, "instant", engine="url"):
        assert engines.instant.plan().unchanged
        assert not engines.instant.deploy(quietly).changed


def test_an_engine_elsewhere_that_is_not_there_is_named(engines: RealEngines) -> None:
    elsewhere = declared(engines, "instant", engine="url", url="http://127.0.0.1:9")
    with elsewhere, pytest.raises(DeployError, match=r"http://127\.0\.0\.1:9 does not serve"):
        engines.instant.deploy(quietly)


def test_unknown_weights_stop_the_deployment(engines: RealEngines) -> None:
    unknown = declared(engines, "thinking", model__sha256="0" * 64)
    with unknown, pytest.raises(DeployError, match="no source is known for weights"):
        engines.thinking.deploy(quietly)
