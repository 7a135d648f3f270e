"""What somebody sees in the terminal before they sign: what the decision page says, in its order."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from rich.console import Console
from rich.text import Text

from harness.attestation.statement import TestResult
from harness.gate import Decision
from harness.promotion_view import MigrationChange, View, meaning, short, waived, way_back

__all__ = ["age", "tell", "tell_verdict"]

_SQL_LINES = 40
"""Of one migration; the rest is in the page."""
_DIFF_LINES = 60
_STYLE = {"GO": "bold green", "WAITS": "bold yellow", "NO-GO": "bold red"}


def tell(view: View, page: Path, console: Console, now: dt.datetime) -> None:
    """Everything that an approval is about; ``page`` has the same, and the report beside it."""
    tell_verdict(view, view.decision, console)
    if view.result is not None:
        for line in waived(view.result):
            console.print(f"  waived    {line}", style="cyan", markup=False)
        _proof(view.result, console, now)
    for warning in view.warnings:
        console.print(f"  warning   {warning}", style="red", markup=False)
    for name, old, new in view.artefacts:
        if old != new:
            change = f"{short(old) or 'none'} -> {short(new) or 'none'}"
            console.print(f"  changes   {name}: {change}", markup=False)
    for line in view.commits:
        console.print(f"  commit    {line}", markup=False)
    for migration in view.migrations:
        _migration(migration, console)
    _configuration(view, console)
    for what, how in way_back(view):
        console.print(f"  way back  {what}: {how}", style="dim", markup=False)
    if view.evidence:
        console.print(f"  evidence  {view.evidence.where}", style="dim", markup=False)
    console.print(f"  page      {page}", markup=False)


def tell_verdict(view: View, decision: Decision, console: Console) -> None:
    """GO, WAITS or NO-GO; what it waits for, or every reason that no approval would remove."""
    verdict = view.verdict
    console.print(Text.assemble((verdict, _STYLE[verdict]), f"  {meaning(view)}"))
    shown = view.blocking or decision.reasons
    for reason in shown:
        console.print(f"  {'waits for' if verdict == 'WAITS' else '✗'} {reason.what}", markup=False)
        if reason.hint and verdict == "NO-GO":
            console.print(f"      to do  {reason.hint}", markup=False)


def age(since: dt.timedelta) -> str:
    """How long ago, in words."""
    minutes = max(0, int(since.total_seconds() // 60))
    if minutes < 120:
        return "1 minute" if minutes == 1 else f"{minutes} minutes"
    return f"{minutes // 60} hours"


def _proof(result: TestResult, console: Console, now: dt.datetime) -> None:
    counted = f"{len(result.passed_tests)} of {len(result.expected_tests)} tests passed"
    if result.warned_tests:
        counted += f", {len(result.warned_tests)} only by a waiver"
    old = age(now - dt.datetime.fromisoformat(result.finished_on))
    told = f"{result.environment}, run {result.run}, by {result.by}, {old} ago: {counted}"
    console.print(f"  proven in {told}", markup=False)


def _migration(migration: MigrationChange, console: Console) -> None:
    count = "1 statement" if migration.statements == 1 else f"{migration.statements} statements"
    console.print(f"  migration {migration.file}: {migration.told}; {count}", markup=False)
    for danger in migration.dangers:
        console.print(f"      destructive  {danger}", style="bold red", markup=False)
    _some(migration.sql.rstrip().splitlines(), _SQL_LINES, console)


def _configuration(view: View, console: Console) -> None:
    if view.running is None:
        console.print("  settings  nothing runs there yet to compare with", markup=False)
    elif not view.configuration:
        console.print(f"  settings  environments/{view.environment}.yaml is unchanged", markup=False)
    else:
        console.print(f"  settings  environments/{view.environment}.yaml changes:", markup=False)
        _some(view.configuration, _DIFF_LINES, console)


def _some(lines: list[str] | tuple[str, ...], most: int, console: Console) -> None:
    for line in lines[:most]:
        console.print(f"      | {line}", style="dim", markup=False)
    if len(lines) > most:
        console.print(f"      | … {len(lines) - most} more lines: read them in the page", markup=False)
