"""What a run leaves on disk: the ledger as JSON, and where JUnit XML and Allure results go."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.ledger import Decision, Ledger
from harness.secrets import redact, redact_tree

__all__ = [
    "clean",
    "clean_file",
    "default_outputs",
    "earlier_runs",
    "read_run",
    "require_room",
    "write_run",
    "write_unfinished",
]

_SCHEMA = 1
_MEBIBYTE = 1 << 20
_ROOM = 100 * _MEBIBYTE
"""A run writes some 10 MiB; the database, the dumps and the logs of a deploy are on the same disk."""


def default_outputs(config: pytest.Config, state: Path) -> None:
    """JUnit XML and Allure results are always written, under the state directory unless told otherwise."""
    if config.option.collectonly or config.option.plan:
        return
    if not config.option.xmlpath:
        config.option.xmlpath = str(state / "junit.xml")
    if not config.option.allure_report_dir:
        results = state / "allure-results"
        shutil.rmtree(results, ignore_errors=True)
        results.mkdir(parents=True)
        config.option.allure_report_dir = str(results)


def require_room(state: Path) -> None:
    """Refuse a run that could not be written down.

    Raises:
        HarnessError: what it leaves behind may not be written there, or there is no room for it.
    """
    for path in (state, state / "runs", state / "allure-results"):
        if path.exists() and not os.access(path, os.W_OK | os.X_OK):
            raise HarnessError(f"{path} cannot be written by this user: chmod u+rwx {path}")
    if (free := shutil.disk_usage(state).free) < _ROOM:
        what = f"{free / _MEBIBYTE:.0f} MiB are free, and a run needs {_ROOM / _MEBIBYTE:.0f} MiB"
        raise HarnessError(f"{state}: {what}: make room on that disk")


def clean(report: pytest.TestReport) -> None:
    """Redact what pytest captured and how it shows a failure, before any writer sees it."""
    report.sections = [(title, redact(text)) for title, text in report.sections]
    if report.failed and report.longreprtext != redact(report.longreprtext):
        report.longrepr = redact(report.longreprtext)


def clean_file(path: Path) -> None:
    """Redact a text file in place; the last net under everything that other plug-ins write."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return  # an image, or the like: no harness code writes one
    cleaned = redact(text)
    if cleaned != text:
        path.write_text(cleaned, encoding="utf-8")


def write_unfinished(ledger: Ledger, state: Path) -> Path:
    """Write that the run has begun: what stays when it is killed, and it is no pass."""
    reason = "the run has not ended: it is still going on, or it was killed"
    return _write({**ledger.as_dict(), "decision": str(Decision.NO_GO), "reasons": [reason]}, ledger, state)


def write_run(ledger: Ledger, state: Path) -> Path:
    """Write the ledger to `runs/<run>.json` and point `last-run.json` at it; returns the path."""
    return _write(ledger.as_dict(), ledger, state)


def read_run(path: Path) -> dict[str, Any] | None:
    """The run in ``path``; None when it cannot be read as one."""
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return run if isinstance(run, dict) and run.get("schema") == _SCHEMA else None


def earlier_runs(state: Path, before: str) -> list[dict[str, Any]]:
    """The runs before the run ``before``, newest first."""
    others = filter(None, map(read_run, sorted((state / "runs").glob("*.json"), reverse=True)))
    return [run for run in others if run["run"] < before]


def _write(run: dict[str, Any], ledger: Ledger, state: Path) -> Path:
    path = state / "runs" / f"{ledger.run_id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(redact_tree(run), indent=2) + "\n", encoding="utf-8")
    part.replace(path)
    temporary = state / ".last-run.json"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(path.relative_to(state))
    temporary.replace(state / "last-run.json")
    return path
