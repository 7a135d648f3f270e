"""Databases to try things in: gone after it, even when whoever made them was killed."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from harness.providers.selfhosted.bootstrap import drop_database, scratch_database
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


def _runs(connection: psycopg.Connection, query: str) -> bool:
    return connection.execute("select 1 from pg_stat_activity where query = %s", [query]).rowcount == 1


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


def test_a_superusers_session_that_is_closing_is_waited_for(cluster: Cluster) -> None:
    with (
        psycopg.connect(cluster.dsn(), autocommit=True) as owner,
        scratch_database(cluster.dsn(), "closing") as dsn,
        psycopg.connect(cluster.dsn("supabase_admin"), autocommit=True) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        database = str(conninfo_to_dict(dsn)["dbname"])
        with psycopg.connect(cluster.dsn("supabase_admin", database)):
            dropped = pool.submit(drop_database, owner, database)
            waits = f'drop database if exists "{database}"'
            wait_until("the drop waits", lambda: _runs(other, waits), seconds=30)
        dropped.result()
        assert _databases(cluster.dsn(), "closing") == []


def test_a_superusers_session_that_stays_is_told(cluster: Cluster) -> None:
    with (
        psycopg.connect(cluster.dsn(), autocommit=True) as owner,
        scratch_database(cluster.dsn(), "stays") as dsn,
        psycopg.connect(cluster.dsn("supabase_admin", str(conninfo_to_dict(dsn)["dbname"]))),
        pytest.raises(psycopg.errors.ObjectInUse, match="1 other session"),
    ):
        drop_database(owner, str(conninfo_to_dict(dsn)["dbname"]))
