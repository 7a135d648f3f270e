"""The harness run as people run it: a process of its own, in a miniature of the project."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plugin.miniature_project import ForkServer, Miniature

collect_ignore = ["miniature"]


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture
def project(tmp_path: Path, fork_server: ForkServer) -> Miniature:
    return Miniature(tmp_path / "project", fork_server)
