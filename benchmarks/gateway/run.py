"""The gateway's cost, beside nginx and LiteLLM in the same run: python -m benchmarks.gateway.run

Peers are pinned to one core; load, engine and database share the other. Rounds are shuffled, figures are
medians. CPU time a request is the figure that noise touches least. `--write` puts the table into
docs/performance.md, between its markers.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.gateway import disconnect
from benchmarks.gateway.peers import ROOT, Peer, direct, gateway, ledger, litellm, nginx

PEER_CORE, LOAD_CORE = 0, 1
CHUNKS = 50
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- gateway: begin -->", "<!-- gateway: end -->"
Figures = dict[str, dict[str, list[float]]]


LIGHT = 0.02
"""Seconds that the one client of the light load pauses between an answer and its next request."""


def load(
    peer: Peer, *, connections: int, seconds: float, stream: bool, pause: float = 0.0
) -> dict[str, Any]:
    """One measurement of one peer."""
    body = {"model": "instant", "messages": [{"role": "user", "content": "What is 2+2?"}], "max_tokens": 64}
    job = {
        "port": peer.port,
        "connections": connections,
        "seconds": seconds,
        "pause": pause,
        "tokens": peer.tokens,
        "body": {**body, "stream": True} if stream else body,
    }
    before = peer.cpu_seconds()
    run = subprocess.run(
        ["taskset", "-c", str(LOAD_CORE), sys.executable, "-m", "benchmarks.gateway.load"],
        input=json.dumps(job),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=seconds + 180,
        check=True,
    )
    result: dict[str, Any] = json.loads(run.stdout)
    result["cpu"] = peer.cpu_seconds() - before
    if set(result["statuses"]) != {"200"}:
        raise SystemExit(f"{peer.name} answered {result['statuses']}")
    return result


def measure(peer: Peer, seconds: float, into: dict[str, list[float]]) -> None:
    """All scenarios of one round for one peer."""
    if peer.name != "direct":
        peer.pin(PEER_CORE)
    load(peer, connections=4, seconds=0.3, stream=False)
    busy = load(peer, connections=32, seconds=seconds, stream=False)
    count = busy["requests"]
    into["us/request"].append(busy["cpu"] / count * 1e6)
    into["requests/s"].append(count / busy["seconds"])
    into["requests/s of CPU"].append(count / busy["cpu"])
    light = load(peer, connections=1, seconds=seconds, stream=False, pause=LIGHT)
    into["p50 ms"].append(light["p50"] * 1e3)
    into["p99 ms"].append(light["p99"] * 1e3)
    streams = load(peer, connections=20, seconds=seconds, stream=True)
    into["first ms, 20 streams"].append(streams["first"] * 1e3)
    into["us/chunk"].append(streams["cpu"] / streams["chunks"] * 1e6)
    single = load(peer, connections=1, seconds=seconds, stream=True, pause=LIGHT)
    into["first ms, light"].append(single["first"] * 1e3)


def table(figures: Figures) -> list[str]:
    """The figures as Markdown, ratios beside them."""
    medians = {
        name: {figure: statistics.median(values) for figure, values in row.items()}
        for name, row in figures.items()
    }
    columns = list(next(iter(medians.values())))
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in medians.items():
        lines.append(f"| {name} | " + " | ".join(_cell(row, medians, one) for one in columns) + " |")
    return lines


def _cell(row: dict[str, float], medians: dict[str, dict[str, float]], column: str) -> str:
    shown = f"{row[column]:,.0f}" if row[column] >= 100 else f"{row[column]:.1f}"
    base = medians.get("nginx", {}).get(column)
    if base and column in ("us/request", "us/chunk"):
        return f"{shown} ({row[column] / base:.1f}x nginx)"
    return shown


def targets(figures: Figures, disconnects: dict[str, float]) -> list[str]:
    """Each target with what was measured against it."""
    median = {n: {f: statistics.median(v) for f, v in row.items()} for n, row in figures.items()}
    ours, base = median["gateway"], median["direct"]
    found = [
        ("CPU a request", ours["us/request"] / median["nginx"]["us/request"], 15.0, "x nginx"),
        ("CPU a chunk", ours["us/chunk"] / median["nginx"]["us/chunk"], 2.9, "x nginx"),
        ("added p50, light load", ours["p50 ms"] - base["p50 ms"], 1.5, "ms"),
        ("added first token, light load", ours["first ms, light"] - base["first ms, light"], 1.5, "ms"),
    ]
    found += [
        (f"disconnect to upstream closed, {name}", ms, 100.0, "ms") for name, ms in disconnects.items()
    ]
    lines = ["| target | measured | at most | |", "|---|---|---|---|"]
    lines += [
        f"| {n} | {v:.1f} {u} | {m:g} {u} | {'met' if v <= m else 'MISSED'} |" for n, v, m, u in found
    ]
    if "LiteLLM" in median:
        ratio = ours["requests/s of CPU"] / median["LiteLLM"]["requests/s of CPU"]
        lines.append(
            f"| requests/s of a core | {ratio:.0f} x LiteLLM | at least 40 | {_met(ratio >= 40)} |"
        )
    return lines


def _met(yes: bool) -> str:
    return "met" if yes else "MISSED"


def write(lines: list[str]) -> None:
    """Put ``lines`` between the markers of docs/performance.md."""
    text = PAGE.read_text() if PAGE.exists() else f"# Performance\n\n## Gateway\n\n{BEGIN}\n{END}\n"
    if BEGIN not in text:
        text += f"\n## Gateway\n\n{BEGIN}\n{END}\n"
    head, _, rest = text.partition(BEGIN)
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text("\n".join([head + BEGIN, *lines, END + rest.partition(END)[2]]))


def page(figures: Figures, disconnects: dict[str, float], options: argparse.Namespace) -> list[str]:
    """What is printed, and kept with --write."""
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return [
        f"Measured on {dt.datetime.now(dt.UTC).date()} ({machine}; load average {os.getloadavg()[0]:.1f});",
        f"{options.rounds} shuffled rounds of {options.seconds:g} s, medians. Peers on one core; load,",
        "engine and PostgreSQL on the other. The gateway has every policy on (tokens, limits, ledger, log,",
        "metrics); nginx passes through; LiteLLM checks its one key. Light load: one client that pauses",
        f"{LIGHT * 1000:g} ms between an answer and its next request.",
        "",
        *table(figures),
        "",
        *(targets(figures, disconnects) if "nginx" in figures else []),
        "",
        "Again: `python -m benchmarks.gateway.run --write`.",
    ]


def main() -> None:
    """Measure, print, and with --write keep the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--without", action="append", default=[], choices=["nginx", "litellm"])
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    figures: Figures = defaultdict(lambda: defaultdict(list))
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-benchmark-")))
        engine = stack.enter_context(direct(CHUNKS, work, LOAD_CORE))
        database = stack.enter_context(ledger(work, LOAD_CORE))
        peers = [engine, stack.enter_context(gateway(engine.port, database, work))]
        if "nginx" not in options.without:
            peers.append(stack.enter_context(nginx(engine.port, work)))
        if "litellm" not in options.without:
            peers.append(stack.enter_context(litellm(engine.port, work)))
        disconnects = disconnect.measure(database, work)
        for number in range(options.rounds):
            for peer in random.sample(peers, len(peers)):
                print(f"round {number + 1}: {peer.name}", file=sys.stderr, flush=True)
                measure(peer, options.seconds, figures[peer.name])
    ordered = {peer.name: figures[peer.name] for peer in peers}
    lines = page(ordered, disconnects, options)
    print("\n".join(lines))
    if options.write:
        write(lines)


if __name__ == "__main__":
    main()
