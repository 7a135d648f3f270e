"""What tests start dies with them."""

from __future__ import annotations

import subprocess
import sys

import psutil

from harness.waiting import wait_until
from tests.mortal import spawn

PARENT = """
import sys, threading
from tests.mortal import spawn
children = []
argv = [sys.executable, "-c", "import time; time.sleep(60)"]
thread = threading.Thread(target=lambda: children.append(spawn(argv)))
thread.start()
thread.join()
child = children[0]
print(child.pid, flush=True)
child.wait()
"""


def test_a_child_outlives_the_thread_that_asked_for_it_and_dies_with_its_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child = psutil.Process(int(parent.stdout.readline()))
        wait_until("the program", lambda: "time.sleep(60)" in " ".join(child.cmdline()[:3]), seconds=10)
        assert child.is_running()
        parent.kill()
    wait_until("the child's end", lambda: not child.is_running() or child.status() == "zombie", seconds=30)


def test_it_keeps_its_process_number_and_exit_status() -> None:
    code = "import os, sys; print(os.getpid()); sys.exit(3)"
    with spawn([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        out, _ = child.communicate(timeout=10)
    assert (int(out), child.returncode) == (child.pid, 3)
