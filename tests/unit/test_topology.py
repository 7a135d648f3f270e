"""Which sockets are a program's, whoever else holds them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.checks.topology import _listening

SERVER = """
import os, socket, sys, time
listener = socket.create_server(("127.0.0.1", 0))
first = os.fork()
if first == 0:
    second = os.fork()
    if second:
        os._exit(0)
    time.sleep(60)  # nobody's child, and younger: it holds the socket as well
os.waitpid(first, 0)
print(listener.getsockname()[1], flush=True)
time.sleep(60)
"""


@pytest.fixture
def server() -> Iterator[tuple[int, int]]:
    """A listening process and its port, which a process that is not in its tree holds as well."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
        os.killpg(process.pid, signal.SIGKILL)


def test_a_socket_that_another_process_holds_as_well_is_the_programs(server: tuple[int, int]) -> None:
    pid, port = server
    program = SimpleNamespace(pid=pid, name="postgres")
    stack = SimpleNamespace(processes=SimpleNamespace(programs=lambda: [program]))
    assert list(_listening(cast(Any, stack))) == [("postgres", "127.0.0.1", port)]
