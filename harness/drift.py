"""Drift: what the last evidence of an environment said and what is seen there now, side by side. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.attestation.statement import TestResult
from harness.expectations import test_name

__all__ = ["drift"]


def drift(then: TestResult, now: Mapping[str, Any], root: Path) -> list[str]:
    """What held ``then`` and does not hold ``now``, a line for each; ``now`` is a run as files.write_run
    writes it.

    What the run left out on purpose (drills, which disturb) is not drift; what it should have asked and did
    not, is.
    """
    seen = {_name(root, s["where"], s["name"], s["row"]): s for s in now["scenarios"]}
    undisturbed = {_name(root, n["where"], n["name"], "") for n in now["drills_left_out"]}
    lines = []
    for component in now["components"]:
        if component["verdict"] not in ("holds", "waived"):
            lines.append(f"{component['component']}: {component['reason'] or component['verdict']}")
    for name in sorted({*then.passed_tests, *then.warned_tests}):
        scenario = seen.get(name)
        if scenario is None and name not in undisturbed:
            lines.append(f"{name}: passed in run {then.run}, and was not asked now")
        elif scenario is not None and scenario["verdict"] not in ("holds", "waived"):
            lines.append(f"{name}: passed in run {then.run}; now {_why(scenario)}")
        elif scenario is not None and scenario["verdict"] == "waived" and name in then.passed_tests:
            lines.append(f"{name}: passed in run {then.run}; now it only passes by a waiver")
    return lines + [f"the check did not end: {trouble}" for trouble in now["troubles"]]


def _name(root: Path, where: str, name: str, row: str) -> str:
    return test_name(root, root / where.rpartition(":")[0], f"{name} [{row}]" if row else name)


def _why(scenario: Mapping[str, Any]) -> str:
    message = str(scenario["message"]).strip()
    return message.splitlines()[0] if message else str(scenario["verdict"])
