"""Measures what a release, the evidence of 500 checks and the gate cost together.

    .venv/bin/python -m benchmarks.promotion --runs 15 [--write]

Works in a clone of this repository with so many scenarios that staging has 500, in a temporary directory,
with keys of its own. --write puts the table into docs/performance.md between its markers.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from harness.approval import approve
from harness.attestation.keys import Signer, new_private_key, signer
from harness.environment.loader import load
from harness.evidence import Verdict, holds
from harness.expectations import expected_tests
from harness.gherkin import read_features
from harness.ledger import Ledger, ScenarioRecord
from harness.promotion import Promotion
from harness.release import Release
from harness.secrets import Secret, redact, redact_tree
from harness.sinks.attestation import RunFacts, write_evidence
from harness.sinks.decision_page import render
from harness.store import DirectoryStore

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- promotion:begin -->", "<!-- promotion:end -->"
CHECKS, TARGET_MS = 500, 300.0
IMAGE = "sha256:" + "a" * 64
DANA = "dana"


def key() -> Signer:
    return signer(Secret(new_private_key()[0]))


def prepare(root: Path, runner: Signer, dana: Signer) -> None:
    """A clone whose production accepts our keys, and whose staging runs CHECKS scenarios."""
    git = ["git", "-c", f"safe.directory={ROOT}", "-c", "user.name=b", "-c", "user.email=b@example.com"]
    subprocess.run([*git, "clone", "--quiet", str(ROOT), str(root)], check=True)
    have = len(expected_tests(read_features(root / "features"), "staging", root, drills=True))
    lines = ["Feature: Many", ""]
    for number in range(CHECKS - have):
        lines += ["  @env:staging", f"  Scenario: Number {number}", "    Given the gateway is deployed"]
        lines += ["    Then it is alive", ""]
    (root / "features" / "many.feature").write_text("\n".join(lines))
    path = root / "environments" / "production.yaml"
    text = path.read_text()
    gate = yaml.safe_load(text)["gate"]
    text = text.replace(gate["runners"][0]["key"], runner.public.text)
    text = text.replace(gate["approvals"]["approvers"][0]["key"], dana.public.text)
    path.write_text(re.sub(r"(?ms)^  freezes:.*?(?=^[a-z])", "", text))
    subprocess.run([*git, "-C", str(root), "add", "--all"], check=True)
    subprocess.run([*git, "-C", str(root), "commit", "--quiet", "-m", "for measuring"], check=True)


def ledger(root: Path, names: list[str], run: str) -> Ledger:
    made = Ledger("staging", run, False, dt.datetime.now(dt.UTC), by="pipeline (run 1)", revision="c0ffee")
    facts = {"latency_ms": 3, "rows": [1, 2, 3]}
    for name in names:
        file, _, title = name.partition(": ")
        seen = (holds("HTTP 200 from https://gateway.staging.chat.example/health/live", **facts),)
        made.scenarios.append(
            ScenarioRecord(
                "Many", "", title, "", ("GW-3",), f"{root / file}:1", Verdict.HOLDS, "", seen, 0.01
            )
        )
    made.finished = dt.datetime.now(dt.UTC)
    return made


def timed(what: Callable[[], Any]) -> tuple[Any, tuple[float, float]]:
    """What it returns; its CPU time, that of the programs it ran included, and its wall clock, in ms."""
    before, started = os.times(), time.perf_counter()
    result = what()
    wall, after = time.perf_counter() - started, os.times()
    return result, (sum(after[:4]) * 1000 - sum(before[:4]) * 1000, wall * 1000)


def once(
    root: Path, store: DirectoryStore, runner: Signer, dana: Signer, number: int
) -> dict[str, tuple[float, float]]:
    production, staging = (load(name, root).environment for name in ("production", "staging"))
    names = expected_tests(read_features(root / "features"), "staging", root, drills=True)
    release, built = timed(lambda: Release.build(root, IMAGE))
    seen = ledger(root, names, f"20260101T{number:06}Z-bench")
    page, rendered = timed(lambda: redact(render(redact_tree(seen.as_dict()), ())).encode())
    facts = RunFacts(staging, release, root, (root / "environments" / "staging.yaml").read_bytes())
    _, signed = timed(lambda: write_evidence(seen, facts, page, runner, store))
    promotion = Promotion(production, root, store, release)
    first = promotion.decide()
    assert promotion.evidence is not None
    now = dt.datetime.now(dt.UTC)
    raw = approve("production", first.promotion, release, promotion.evidence, DANA, now, dana)
    store.put(f"approvals/production/{first.promotion}/dana.json", raw)
    decision, asked = timed(promotion.decide)
    assert decision.open, [str(reason) for reason in decision.reasons]
    return {"built": built, "rendered": rendered, "signed": signed, "asked": asked}


def table(runs: list[dict[str, tuple[float, float]]]) -> str:
    middle = {
        name: tuple(statistics.median(run[name][which] for run in runs) for which in (0, 1))
        for name in runs[0]
    }
    total = tuple(sum(middle[name][which] for name in ("built", "signed", "asked")) for which in (0, 1))
    rows = [
        ("release: every artefact by digest", middle["built"]),
        (f"evidence: {CHECKS} checks stated, signed and kept", middle["signed"]),
        ("gate: evidence, report and approval verified, tree and checklists read", middle["asked"]),
        ("**together**", total),
        ("beside it: the decision page of the run", middle["rendered"]),
    ]
    verdict = "met" if total[0] < TARGET_MS else "MISSED"
    load = os.getloadavg()[0]
    lines = [f"Median of {len(runs)} runs, {CHECKS} checks, 2 cores (load average {load:.1f})."]
    lines += [f"At most {TARGET_MS:.0f} ms of CPU time, which other programs touch least: {verdict}."]
    lines += ["", "| what | CPU ms | wall clock ms |", "|---|---|---|"]
    lines += [f"| {name} | {cpu:.0f} | {wall:.0f} |" for name, (cpu, wall) in rows]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    runner, dana = key(), key()
    with tempfile.TemporaryDirectory(prefix="promotion-") as scratch:
        root = Path(scratch) / "clone"
        prepare(root, runner, dana)
        store = DirectoryStore(root / ".harness" / "evidence")
        text = table([once(root, store, runner, dana, number) for number in range(options.runs)])
    print(text)
    if options.write:
        page = ROOT / "docs/performance.md"
        head, _, rest = page.read_text().partition(BEGIN)
        _, _, tail = rest.partition(END)
        page.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}")


if __name__ == "__main__":
    main()
