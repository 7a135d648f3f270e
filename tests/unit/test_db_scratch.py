"""Databases to try things in: gone after it, even when whoever made them was killed."""

from __future__ import annotations

import subprocess
import sys

import psycopg
import pytest

from harness.providers.selfhosted.bootstrap import scratch_database
from harness.waiting import wait_until
from tests.pg_fixture import ROOT, Cluster

KILLED = """
import os, signal, sys
from harness.providers.selfhosted.bootstrap import scratch_database
with scratch_database(sys.stdin.read(), "killed"):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def _databases(dsn: str, prefix: str) -> list[str]:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("select datname from pg_database where datname like %s", [f"{prefix}_%"])
        return [str(name) for (name,) in rows]


def test_it_is_gone_after_the_block_however_that_ends(cluster: Cluster) -> None:
    with pytest.raises(ZeroDivisionError), scratch_database(cluster.dsn(), "ends"):
        assert len(_databases(cluster.dsn(), "ends")) == 1
        raise ZeroDivisionError
    assert _databases(cluster.dsn(), "ends") == []


def test_what_a_killed_process_left_is_swept_by_the_next(cluster: Cluster) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED], input=cluster.dsn(), text=True, cwd=ROOT, check=False
    )
    assert done.returncode == -9
    (left,) = _databases(cluster.dsn(), "killed")

    def swept() -> bool:  # the server has to notice first that its client is gone
        with scratch_database(cluster.dsn(), "killed"):
            return left not in _databases(cluster.dsn(), "killed")

    wait_until("the database left behind is swept", swept, seconds=30)
    assert _databases(cluster.dsn(), "killed") == []


def test_what_is_in_use_elsewhere_is_left_alone(cluster: Cluster) -> None:
    with scratch_database(cluster.dsn(), "used") as first, scratch_database(cluster.dsn(), "used"):
        assert len(_databases(cluster.dsn(), "used")) == 2
        psycopg.connect(first).close()
