"""Measures what a drift check costs, and how much asking side by side saves.

    .venv/bin/python benchmarks/verify_run.py --runs 5 [--write]

Needs a stack that is up (`make local`). Runs `pytest --env local --verify-only features/` and reads
`.harness/local/last-run.json`. --write puts the table into docs/performance.md between its markers.
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
COMMAND = [str(ROOT / ".venv/bin/pytest"), "--env", "local", "--verify-only", "features/"]
BEGIN, END = "<!-- verify:begin -->", "<!-- verify:end -->"


def once() -> dict[str, float]:
    started = time.monotonic()
    done = subprocess.run(COMMAND, cwd=ROOT, capture_output=True, text=True, check=False)
    wall = time.monotonic() - started
    if done.returncode:
        raise SystemExit(done.stdout[-2000:])
    run = json.loads((ROOT / ".harness/local/last-run.json").read_text())
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


def table(runs: list[dict[str, float]]) -> str:
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
    lines = [f"Median of {len(runs)} runs of `pytest --env local --verify-only features/`, 2 cores.", ""]
    lines += ["| what | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    text = table([once() for _ in range(options.runs)])
    print(text)
    if options.write:
        page = ROOT / "docs/performance.md"
        head, _, rest = page.read_text().partition(BEGIN)
        _, _, tail = rest.partition(END)
        page.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}")


if __name__ == "__main__":
    main()
