"""kill -9 at any point of raising and of tearing down: the next run completes it, and nothing is left."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from harness.rehearsal.engine import connect
from harness.rehearsal.hosts import standing
from harness.waiting import wait_until
from tests.rehearsal.conftest import Rehearsal, copy_of, free_number, processes_of
from tests.rehearsal.dies import until_it_survives


@pytest.fixture
def unraised(engine: docker.DockerClient, tmp_path: Path) -> Iterator[Rehearsal]:
    number = free_number()
    made = copy_of(tmp_path, f"killed-{number}", number)
    try:
        yield made
    finally:
        made.down()


CONNECTS_AND_DIES = """
import os, signal, sys
from pathlib import Path
from harness.environment.loader import load
from harness.hosts.ssh import Remote
from harness.rehearsal.topology import topology_of
from harness.secrets import SecretStore
root = Path(sys.argv[1])
topology = topology_of(load(sys.argv[2], root).environment, root)
key = SecretStore(root, topology.state).resolve(topology.machines.ssh.key)
Remote(topology.machines, key, root, topology.state).run("balancer", ["true"]).require()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_killed_after_every_change_it_still_gets_up_and_then_down(
    unraised: Rehearsal, engine: docker.DockerClient
) -> None:
    name = unraised.topology.name
    kills = until_it_survives("up", unraised.root, name, later=2)
    assert kills >= 6, "it was hardly ever killed"
    containers = standing(engine, unraised.topology)
    expected = {host.container for host in unraised.topology.hosts} | {unraised.topology.operator_container}
    assert {container.name for container in containers} == expected
    assert {container.status for container in containers} == {"running"}
    assert unraised.up().made == (), "the run that survived left something to do"
    remote = unraised.remote()
    answers = remote.everywhere({host.name: ["hostname"] for host in unraised.topology.hosts})
    remote.close()
    assert {name: answer.text.strip() for name, answer in answers.items()} == {
        host.name: host.name for host in unraised.topology.hosts
    }

    kills = until_it_survives("down", unraised.root, name, later=0)
    assert kills >= 4, "it was hardly ever killed"
    assert unraised.left(engine) == {}


def test_a_teardown_right_after_a_kill_leaves_nothing(
    unraised: Rehearsal, engine: docker.DockerClient
) -> None:
    argv = [
        sys.executable,
        "-m",
        "tests.rehearsal.dies",
        "up",
        str(unraised.root),
        unraised.topology.name,
        "14",
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert unraised.left(engine).keys() >= {"containers", "networks", "routes"}
    assert unraised.down().containers
    assert unraised.left(engine) == {}
    again = unraised.down()
    assert (again.containers, again.networks, again.volumes, again.routes) == ((), (), (), False)


def test_two_at_once_do_not_interleave(unraised: Rehearsal) -> None:
    argv = [
        sys.executable,
        "-m",
        "tests.rehearsal.dies",
        "up",
        str(unraised.root),
        unraised.topology.name,
        "999",
    ]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as first:
        lock = unraised.topology.state / "run.lock"
        wait_until("the first holds the lock", lambda: _holder(lock) == first.pid, seconds=300)
        second = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)
        assert f"another run of this environment is going on (pid {first.pid}" in second.stderr
        assert first.wait(600) == 0, first.stderr and first.stderr.read()


def _holder(lock: Path) -> int:
    import json

    try:
        return int(json.loads(lock.read_text())["pid"])
    except (OSError, ValueError):
        return 0


def test_nothing_is_left_of_a_rehearsal_that_ended(unraised: Rehearsal) -> None:
    unraised.up()
    client = connect()
    state = unraised.topology.state
    argv = [sys.executable, "-c", CONNECTS_AND_DIES, str(unraised.root), unraised.topology.name]
    assert subprocess.run(argv, timeout=600, check=False).returncode == -signal.SIGKILL
    left = unraised.left(client)
    assert any("[mux]" in process for process in left["processes"]), "no connection was left open"
    assert left.keys() == {"containers", "networks", "volumes", "routes", "interfaces", "processes"}, left
    removed = unraised.down()
    assert removed.programs == ("registry",)
    assert len(removed.containers) == 8
    assert len(removed.volumes) == 2
    assert removed.routes
    assert unraised.left(client) == {}
    assert processes_of(state) == []
    client.close()
    assert list((state / "keys").iterdir()), "keys are kept for the next time"
