"""Measures what a drift check costs, and how much asking side by side saves.

    .venv/bin/python benchmarks/verify_run.py --runs 5 [--env rehearsal] [--write]

Needs a stack that is up (`make local`, `make rehearse KEEP=1`). Runs `pytest --env ENV --verify-only
features/` and reads `.harness/ENV/last-run.json`. --write puts the table into docs/performance.md between
the environment's markers.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def once(environment: str) -> dict[str, float]:
    command = [str(ROOT / ".venv/bin/pytest"), "--env", environment, "--verify-only", "features/"]
    started = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    wall = time.monotonic() - started
    if done.returncode:
        raise SystemExit(done.stdout[-2000:])
    run = json.loads((ROOT / ".harness" / environment / "last-run.json").read_text())
    checks: dict[str, float] = {}
    for scenario in run["scenarios"]:
        for evidence in scenario["evidence"]:
            checks[evidence["check"]] = max(checks.get(evidence["check"], 0.0), evidence["seconds"])
    cold = max((s for name, s in checks.items() if "cold" in name), default=0.0)
    others = [s for name, s in checks.items() if "cold" not in name]
    return {
        "wall": wall,
        "run": run["seconds"],
        "checks": float(len(checks)),
        "slowest": max(checks.values()),
        "cold start": cold,
        "slowest other": max(others),
        "one by one": sum(checks.values()),
    }


def table(environment: str, runs: list[dict[str, float]]) -> str:
    middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    rows: list[tuple[str, Any]] = [
        ("checks asked", f"{middle['checks']:.0f}"),
        ("whole command, from the shell", f"{middle['wall']:.1f} s"),
        ("the run itself", f"{middle['run']:.1f} s"),
        ("the cold start, which wants quiet and comes last", f"{middle['cold start']:.1f} s"),
        ("the run without it", f"{middle['run'] - middle['cold start']:.1f} s"),
        ("its slowest other check", f"{middle['slowest other']:.1f} s"),
        (
            "run / slowest check, both without the cold start",
            f"{(middle['run'] - middle['cold start']) / middle['slowest other']:.2f}",
        ),
        ("time of all checks together, each as it took beside the others", f"{middle['one by one']:.0f} s"),
    ]
    command = f"pytest --env {environment} --verify-only features/"
    lines = [f"Median of {len(runs)} runs of `{command}`, 2 cores.", ""]
    lines += ["| what | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--env", default="local")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    text = table(options.env, [once(options.env) for _ in range(options.runs)])
    print(text)
    if options.write:
        page = ROOT / "docs/performance.md"
        begin, end = f"<!-- verify {options.env}: begin -->", f"<!-- verify {options.env}: end -->"
        head, found, rest = page.read_text().partition(begin)
        _, closed, tail = rest.partition(end)
        if not (found and closed):
            raise SystemExit(f"{page.relative_to(ROOT)} has no {begin} … {end}")
        page.write_text(f"{head}{begin}\n{text}\n{end}{tail}")


if __name__ == "__main__":
    main()
