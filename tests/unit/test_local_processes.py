"""The local process manager: starts, replaces, restarts, pauses, stops, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import psutil
import pytest

from harness.errors import DeployError
from harness.providers.base import Program
from harness.providers.local import ports
from harness.providers.local.ports import is_taken, require_free
from harness.providers.local.processes import LocalProcesses
from harness.providers.local.supervisor import MARKER
from harness.waiting import wait_until


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def web_server(port: int, **changes: object) -> Program:
    def ready() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/", timeout=1, trust_env=False).is_success
        except httpx.TransportError:
            return False

    settings = {"env": {"SENTINEL": "s3ntinel-value"}, "ready_seconds": 10.0, "port": port, **changes}
    argv = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    return Program("files", "web", argv, ready, **settings)


@pytest.fixture
def processes(tmp_path: Path):
    manager = LocalProcesses(tmp_path / "state")
    yield manager
    manager.shutdown()


def test_a_second_apply_changes_nothing_a_changed_program_is_replaced(processes: LocalProcesses) -> None:
    port = free_port()
    assert processes.apply(web_server(port)) is True
    pid = processes.pid("files")
    assert processes.apply(web_server(port)) is False
    assert processes.pid("files") == pid
    assert processes.apply(web_server(port, digest="other")) is True
    assert processes.pid("files") != pid


@pytest.mark.parametrize("name", ["my clöne (1)", "100% [new]"])
def test_a_checkout_may_lie_anywhere(tmp_path: Path, name: str) -> None:
    own = LocalProcesses(tmp_path / name)
    beside = tmp_path / name.replace(" ", "-") / "programs"
    beside.mkdir(parents=True)
    (beside / "foreign.conf").write_text("[program:foreign]\ncommand=/bin/true\n")
    try:
        assert own.apply(web_server(free_port()))
        assert [process.name for process in own.programs()] == ["files"]
    finally:
        own.shutdown()


def test_a_killed_program_comes_back(processes: LocalProcesses) -> None:
    processes.apply(web_server(free_port()))
    old = processes.kill("files")
    wait_until("restarted", lambda: processes.pid("files") not in (0, old), seconds=10)


def test_a_paused_program_is_continued_even_when_the_block_raises(processes: LocalProcesses) -> None:
    program = web_server(free_port())
    processes.apply(program)
    with pytest.raises(RuntimeError, match="boom"), processes.paused("files"):
        assert not program.ready()
        raise RuntimeError("boom")
    assert program.ready()


def test_a_taken_port_names_its_holder(processes: LocalProcesses) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(DeployError, match=rf"port {port} is taken by pid {os.getpid()}"):
            processes.apply(web_server(port))


def test_a_port_of_another_checkout_names_the_checkout(processes: LocalProcesses, tmp_path: Path) -> None:
    other = LocalProcesses(tmp_path / "other checkout" / ".harness" / "local")
    port = free_port()
    try:
        other.apply(web_server(port))
        with pytest.raises(DeployError, match=r"of the stack local in .*/other checkout"):
            processes.require_place(web_server(port))
    finally:
        other.shutdown()
    processes.require_place(web_server(port))
    processes.apply(web_server(port))
    processes.require_place(web_server(port))


def test_what_a_killed_run_left_on_a_port_is_in_nobodys_way(processes: LocalProcesses) -> None:
    port = free_port()
    processes.apply(web_server(port))
    os.kill(processes.supervisor.pid(), signal.SIGKILL)
    processes.require_place(web_server(port))


def test_a_port_beside_the_first_is_asked_about_too(processes: LocalProcesses) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        program = replace(web_server(free_port()), other_ports=(other.getsockname()[1],))
        with pytest.raises(DeployError, match=rf"port {program.ports[1]} is taken by pid {os.getpid()}"):
            processes.apply(program)


def test_a_connection_that_passes_over_a_port_is_waited_for() -> None:
    with passing_connection() as (port, end):
        assert is_taken(port)
        threading.Timer(0.3, end).start()
        require_free("web", port, "files")


def test_what_is_left_of_a_connection_that_has_ended_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_PASSING_SECONDS", 0.05)
    with half_closed_connection() as (port, reset):
        threading.Timer(0.5, reset).start()
        require_free("web", port, "files")


def test_what_stays_of_a_connection_that_has_ended_is_called_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_PASSING_SECONDS", 0.05)
    monkeypatch.setattr(ports, "_ENDED_SECONDS", 0.1)
    with (
        half_closed_connection() as (port, _),
        pytest.raises(
            DeployError, match=rf"port {port} is taken by a connection that has ended"
        ) as refused,
    ):
        require_free("web", port, "files")
    assert "try again in a minute" in str(refused.value)


def test_a_connection_that_stays_on_a_port_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_PASSING_SECONDS", 0.1)
    with passing_connection() as (port, _):
        wanted = rf"port {port} is taken by a connection of pid {os.getpid()}"
        with pytest.raises(DeployError, match=wanted):
            require_free("web", port, "files")


@contextlib.contextmanager
def passing_connection() -> Iterator[tuple[int, Callable[[], None]]]:
    """A port that a connection to elsewhere uses, and what ends the connection."""
    server = socket.create_server(("127.0.0.1", 0))
    with server, socket.create_connection(server.getsockname()) as client:
        accepted, _ = server.accept()

        def end() -> None:
            if client.fileno() < 0:
                return
            accepted.close()
            client.recv(1)  # whoever closes first keeps the TIME_WAIT: not the port in question
            client.close()

        try:
            yield client.getsockname()[1], end
        finally:
            end()


def test_a_program_that_does_not_start_shows_its_last_words(processes: LocalProcesses) -> None:
    argv = [sys.executable, "-c", "raise SystemExit('no such thing as a free port')"]
    program = Program("dies", "web", argv, lambda: False, ready_seconds=20)
    with pytest.raises(DeployError, match="no such thing as a free port"):
        processes.apply(program)


def test_secrets_are_neither_in_arguments_nor_readable_by_others(processes: LocalProcesses) -> None:
    processes.apply(web_server(free_port()))
    # process_iter leaves out what ends while it looks: this machine runs other things too
    everything = [" ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"])]
    assert any("http.server" in line for line in everything)
    assert not [line for line in everything if "s3ntinel" in line]
    files = [p for p in processes.state.rglob("*") if p.is_file()]
    holders = [p for p in files if "s3ntinel" in p.read_text(errors="replace")]
    assert [p.name for p in holders] == ["files.json"]
    assert holders[0].stat().st_mode & 0o077 == 0


def test_nothing_outlives_a_killed_process_manager(processes: LocalProcesses) -> None:
    processes.apply(web_server(free_port()))
    child = psutil.Process(processes.pid("files"))
    os.kill(processes.supervisor.pid(), signal.SIGKILL)
    child.wait(timeout=10)
    assert processes.supervisor.strays() == []


def test_shutdown_sweeps_strays(processes: LocalProcesses) -> None:
    processes.apply(web_server(free_port()))
    pid = processes.pid("files")
    processes.shutdown()
    assert not psutil.pid_exists(pid)
    assert not processes.supervisor.running()


def test_what_this_run_is_just_starting_is_no_stray(processes: LocalProcesses) -> None:
    """A child that appears while strays are looked for must not be taken for one of an earlier run."""
    env = {**os.environ, MARKER: str(processes.state)}
    argv = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(argv, env=env) as child:
        wait_until("started", lambda: processes.supervisor._is_ours(psutil.Process(child.pid)), seconds=10)
        assert processes.supervisor.strays() == []
        assert processes.supervisor.sweep() == []
        assert child.poll() is None
        child.kill()


def test_what_a_killed_run_left_behind_is_a_stray(processes: LocalProcesses) -> None:
    """The child of a process that was killed, as `next build` is when a run is."""
    script = (
        "import os, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'],"
        " stdout=subprocess.DEVNULL)\n"
        "print(child.pid, flush=True)\n"
        "os._exit(0)\n"
    )
    env = {**os.environ, MARKER: str(processes.state)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, stdout=subprocess.PIPE, timeout=20, check=True
    )
    pid = int(done.stdout)
    assert [stray.pid for stray in processes.supervisor.strays()] == [pid]
    assert f"(pid {pid})" in processes.supervisor.sweep()[0]
    assert not psutil.pid_exists(pid)


def test_an_orphan_without_the_mark_is_stopped_as_well(processes: LocalProcesses, tmp_path: Path) -> None:
    """Some servers overwrite their environment, and a crash of their parent leaves them behind."""
    note = tmp_path / "pid"
    script = (
        "import pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], env={})\n"
        f"pathlib.Path({str(note)!r}).write_text(str(child.pid))\n"
        "time.sleep(60)\n"
    )
    argv = [sys.executable, "-c", script]
    processes.apply(Program("parent", "web", argv, note.exists, ready_seconds=10))
    orphan = psutil.Process(int(note.read_text()))
    processes.kill("parent")
    wait_until("orphaned", lambda: orphan.ppid() == 1, seconds=10)
    assert any(f"(pid {orphan.pid})" in name for name in processes.shutdown())
    assert not orphan.is_running()


@contextlib.contextmanager
def half_closed_connection() -> Iterator[tuple[int, Callable[[], None]]]:
    """A port that a closed connection still uses, as its peer is open; what makes the peer reset it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        port = client.getsockname()[1]
        client.close()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        try:
            yield port, accepted.close
        finally:
            accepted.close()
