"""Fixtures that every test may ask for; each is made when it is asked for."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from tests.pg_fixture import bare, cluster, database, database_stack, project, supabase_stack
from tests.web_stack import web_session, web_stand

__all__ = [
    "bare",
    "cluster",
    "database",
    "database_stack",
    "project",
    "supabase_stack",
    "web_session",
    "web_stand",
]

_ONE_OF_A_KIND = frozenset(
    {"machines_stand", "real_engines", "real_stack", "rehearsal", "rollout_stand", "services_stand"}
)
"""What takes long to make, or what a machine has room for once: who asks for one stays with the others."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two workers (`make test`): the files that share a costly stand go to one, all others to the other."""
    files: dict[Path, list[pytest.Item]] = defaultdict(list)
    for item in items:
        files[item.path].append(item)
    for path, of_file in files.items():
        asked = {name for item in of_file for name in getattr(item, "fixturenames", ())}
        shared = bool(asked & _ONE_OF_A_KIND) or path.parent.name == "rehearsal"
        for item in of_file:
            item.add_marker(pytest.mark.xdist_group("stands" if shared else "others"))
