"""Kills a run with SIGKILL at many moments, and sees that the next commands recover cleanly.

    .venv/bin/python benchmarks/kill_sweep.py --from 0.5 --to 30 --step 2.5 [--cold]

After each kill: `harness down` must leave no process of the stack behind. At the end a whole run must end
with GO. With --cold the state of the environment is wiped first each time, so kills hit database creation,
migrations and the web build as well.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".harness" / "local"
PYTEST = [str(ROOT / ".venv/bin/pytest"), "--env", "local", "features/"]
HARNESS = str(ROOT / ".venv/bin/harness")
MARKER = "HARNESS_STATE"


def left_behind() -> list[str]:
    """Processes that carry the stack's mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARKER) == str(STATE) and process.pid != psutil.Process().pid:
                found.append(f"{process.pid} {process.name()}")
        except (psutil.Error, OSError):
            continue
    return found


def down() -> str:
    done = subprocess.run([HARNESS, "down"], capture_output=True, text=True, timeout=120, check=False)
    return (done.stdout + done.stderr).strip().replace("\n", " / ")


def kill_after(seconds: float, cold: bool) -> tuple[str, list[str]]:
    """Start a run, SIGKILL it after ``seconds``, stop the rest; what `down` said and what is left."""
    if cold:
        shutil.rmtree(STATE, ignore_errors=True)
    run = subprocess.Popen(PYTEST, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    try:
        run.wait(timeout=seconds)
        said = "the run ended before it could be killed; "
    except subprocess.TimeoutExpired:
        run.send_signal(signal.SIGKILL)
        run.wait()
        said = ""
    return said + down(), left_behind()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="first", type=float, default=0.5)
    parser.add_argument("--to", dest="last", type=float, default=30.0)
    parser.add_argument("--step", type=float, default=2.5)
    parser.add_argument("--cold", action="store_true")
    options = parser.parse_args()
    moment, failures = options.first, 0
    while moment <= options.last:
        said, left = kill_after(moment, options.cold)
        failures += bool(left)
        print(f"killed after {moment:5.1f} s: {said[:150]}; left behind: {left or 'nothing'}", flush=True)
        moment += options.step
    started = time.monotonic()
    final = subprocess.run(PYTEST, capture_output=True, text=True, cwd=ROOT, check=False)
    print(f"then a whole run, {time.monotonic() - started:.0f} s: {final.stdout.strip().splitlines()[-1]}")
    sys.exit(1 if failures or final.returncode else 0)


if __name__ == "__main__":
    main()
