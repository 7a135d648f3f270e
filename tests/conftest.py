"""Fixtures that every test may ask for; each is made when it is asked for. And how two workers share."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api_stand import exposed
from tests.inference_stack import engines, real_engines
from tests.pg_fixture import bare, cluster, database, database_stack, project, supabase_stack
from tests.web_stack import web_session, web_stand

__all__ = [
    "bare",
    "cluster",
    "database",
    "database_stack",
    "engines",
    "exposed",
    "project",
    "real_engines",
    "supabase_stack",
    "web_session",
    "web_stand",
]

_ONE_OF_A_KIND = frozenset(
    {"machines_stand", "real_engines", "real_stack", "rehearsal", "rollout_stand", "services_stand"}
)
"""Fixtures that take long to make, or that a machine has room for once."""

_TOGETHER = (
    "tests/rehearsal/",
    "tests/negative/test_environments",
    "tests/negative/test_gateway",
    "tests/negative/test_inference",
    "tests/negative/test_live",
    "tests/negative/test_machines",
    "tests/negative/test_serverless",
    "tests/negative/test_services",
    "tests/negative/test_smoke",
    "tests/negative/test_way_back",
    "tests/unit/test_inference_provider",
    "tests/unit/test_rollout_killed",
)
"""Files whose tests ask for them: of two workers (`make test`) one takes these, then helps the other."""


@pytest.hookimpl(optionalhook=True)  # xdist comes with the development tools
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """By file. (xdist's own groups need node ids that this pytest does not let anybody change.)"""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):  # xdist is installed for tests only
        def _split_scope(self, nodeid: str) -> str:
            return "together" if nodeid.startswith(_TOGETHER) else nodeid.partition("::")[0]

    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Nothing that there is room for once may be asked for by both workers."""
    astray = {
        item.nodeid.partition("::")[0]
        for item in items
        if _ONE_OF_A_KIND.intersection(getattr(item, "fixturenames", ()))
        and not item.nodeid.startswith(_TOGETHER)
    }
    if astray:
        raise pytest.UsageError(f"tests/conftest.py: _TOGETHER lacks {', '.join(sorted(astray))}")
