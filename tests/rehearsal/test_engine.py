"""The Docker engine is started where none runs, once, and stopped again: in namespaces of our own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.rehearsal.engine import PACKAGES, find_program, lacks

ROOT = Path(__file__).resolve().parents[2]
HARNESS = Path(sys.executable).with_name("harness")
APART = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc"]
"""No engine of this machine is seen there, nor its sockets, nor its network."""
_EMPTY = """\
set -eu
mount --make-rprivate /
mount -t tmpfs none /run
mount -t tmpfs none /var/lib/docker
mount -t tmpfs none /var/log
mkdir -p /run/lock
ip link set lo up
"""


@pytest.fixture(scope="module")
def apart() -> list[str]:
    problems = list(lacks([]))
    problems += [f"no {name}" for name in (*PACKAGES, "unshare") if not find_program(name)]
    if not problems and subprocess.run([*APART, "true"], capture_output=True, check=False).returncode:
        problems.append("namespaces cannot be made")
    if problems:
        reason = f"no engine can be started here: {'; '.join(problems)}"
        if os.environ.get("HARNESS_REQUIRE_REHEARSAL"):
            pytest.fail(reason)
        pytest.skip(reason)
    return APART


def run(apart: list[str], script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*apart, "bash", "-c", _EMPTY + script],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_an_engine_is_started_once_and_stopped(apart: list[str]) -> None:
    command = f"{HARNESS} rehearsal engine"
    done = run(
        apart, f"{command}; {command}; {command} --stop; {command} --stop; ps ax | grep -c [d]ockerd || :"
    )
    assert done.returncode == 0, done.stderr
    starting, first, second, stopped, nothing, running = done.stdout.splitlines()
    assert "starting the Docker engine" in starting
    assert first == second
    assert first.startswith("a Docker engine answers: ")
    assert stopped == "the Docker engine was stopped"
    assert nothing == "no engine of ours was running"
    assert running == "0"


def test_what_a_rehearsal_left_in_an_engine_that_ended_is_cleared_when_it_is_started_again(
    apart: list[str],
) -> None:
    engine = f"{HARNESS} rehearsal engine"
    left = "docker network create --label harness.rehearsal=gone left-over"
    kept = "docker network create mine"
    listed = "docker network ls --format '{{.Name}}'"
    done = run(
        apart,
        f"{engine}; {left}; {kept}; {engine} --clear; {listed}; {engine} --stop\n"
        f"{engine} --clear; {listed}; {engine} --stop",
    )
    assert done.returncode == 0, done.stderr
    in_use, restarted = done.stdout.split("the Docker engine was stopped\n")[:2]
    assert "left-over" in in_use.splitlines()  # the engine ran: somebody may use what is in it
    said = "removed what a rehearsal had left when its engine ended: networks left-over"
    assert said in restarted
    assert "left-over" not in restarted.splitlines()
    assert "mine" in restarted.splitlines()


def test_an_engine_that_does_not_start_is_reported_with_its_own_words(apart: list[str]) -> None:
    # a file where it keeps its state: no engine can start
    done = run(apart, f"touch /run/docker; {HARNESS} rehearsal engine")
    assert done.returncode == 4
    assert "dockerd ended with 1: " in done.stderr
    assert "read /var/log/harness-dockerd.log" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_missing_is_said_where_it_cannot_be_installed(apart: list[str], tmp_path: Path) -> None:
    """A machine without an engine and without apt: a file that cannot be executed covers each."""
    plain = tmp_path / "plain"
    plain.write_text("")
    covered = [find_program(name) for name in ("dockerd", "mmdebstrap", "apt-get")]
    script = "".join(f"mount --bind {plain} {os.path.realpath(path)}\n" for path in covered if path)
    done = run(apart, f"{script}{HARNESS} rehearsal engine")
    assert done.returncode == 4
    assert done.stderr.startswith("no rehearsal can be raised on this machine:\n")
    assert "docker.io, mmdebstrap cannot be installed: there is no apt-get" in done.stderr
