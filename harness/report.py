"""`make report`: the last run as one page, with the Allure report beside it.

    python -m harness.report --env local

Writes `.harness/<env>/report/index.html` (the decision page) and `allure.html`; each is one file that needs
nothing else.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.secrets import redact
from harness.sinks.allure import CATEGORIES
from harness.sinks.decision_page import render
from harness.sinks.files import earlier_runs, read_run

__all__ = ["main", "report"]

ROOT = Path(__file__).resolve().parent.parent
_ALLURE_SECONDS = 120.0
_HISTORY = 50  # runs that the Allure report remembers
_TAIL = 15  # lines of what Allure said before it failed
_COUNTER = re.compile(r'<script async src="https://[^"]*"></script>\s*<script>.*?</script>', re.DOTALL)
_ELSEWHERE = re.compile(r'<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)="(?:https?:)?//')
_ALONE = (
    '<meta http-equiv="Content-Security-Policy" content="default-src data: blob: '
    "'unsafe-inline' 'unsafe-eval'\">"
)
"""For the browser: nothing but what is in the file, whatever its scripts may try."""


def report(root: Path, env: str | None) -> list[Path]:
    """Write both pages of the last run of ``env`` (of the newest run of all, without one).

    Raises:
        HarnessError: when there is no run yet, or when Allure is missing or fails; the decision page has
            been written all the same then, if there is a run.
    """
    state = _state(root, env)
    run, earlier = _runs(state)
    out = state / "report"
    out.mkdir(parents=True, exist_ok=True)
    allure, trouble = out / "allure.html", None
    try:
        _allure(state, run, allure)
    except HarnessError as error:
        allure.unlink(missing_ok=True)
        trouble = error
    page = out / "index.html"
    link = "" if trouble else allure.name
    page.write_text(redact(render(run, earlier, allure=link)), encoding="utf-8")
    if trouble:
        raise HarnessError(f"{trouble}\nthe decision page is written all the same: {page}")
    return [page, allure]


def _state(root: Path, env: str | None) -> Path:
    runs = root / ".harness"
    if env:
        found = [runs / env / "last-run.json"]
    else:
        found = sorted(runs.glob("*/last-run.json"), key=lambda link: link.stat().st_mtime, reverse=True)
    if not found or not found[0].is_file():
        raise HarnessError(f"there is no run of {env or 'any environment'} yet; start one with: make local")
    return found[0].parent


def _runs(state: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The last run, and those before it, newest first."""
    last = read_run(state / "last-run.json")
    if last is None:
        where = state / "last-run.json"
        raise HarnessError(f"{where} cannot be read as a run; run the checklists again")
    return last, earlier_runs(state, last["run"])


# --- Allure ----------------------------------------------------------------------------------------------


def _allure(state: Path, run: dict[str, Any], target: Path) -> None:
    results = state / "allure-results"
    _is_of_this_run(results, run)
    program = ROOT / "tools" / "node_modules" / ".bin" / "allure"
    if not program.exists():
        raise HarnessError("Allure is not installed; install it with: npm ci --prefix tools")
    with tempfile.TemporaryDirectory(prefix="allure-") as scratch:
        out = Path(scratch) / "out"
        config = Path(scratch) / "allurerc.json"
        config.write_text(json.dumps(_configuration(state, run, out), indent=2), encoding="utf-8")
        said = _ran([str(program), "generate", "--config", str(config), str(results)], state)
        made = out / "index.html"
        if not made.is_file():
            raise HarnessError(f"Allure made no report:\n{said}")
        target.write_text(_sealed(made.read_text(encoding="utf-8")), encoding="utf-8")
    (state / "report" / "reported.txt").write_text(run["run"], encoding="utf-8")


def _sealed(page: str) -> str:
    """Allure's page without what it would load from elsewhere: it counts its readers at a third party.

    Raises:
        HarnessError: when the page does not look as expected; better none than one that calls home.
    """
    page = _COUNTER.sub("", page, count=1)
    if _ELSEWHERE.search(page) or "<head>" not in page:
        raise HarnessError(
            "Allure's page has changed: it loads something from elsewhere; it was thrown away"
        )
    return page.replace("<head>", f"<head>\n    {_ALONE}", 1)


def _is_of_this_run(results: Path, run: dict[str, Any]) -> None:
    about = results / "environment.properties"
    if not about.is_file():
        raise HarnessError(f"{results} holds no results of a run that has ended")
    if f"Run={run['run']}" not in about.read_text(encoding="utf-8").splitlines():
        raise HarnessError(f"{results} holds the results of another run than {run['run']}")


def _configuration(state: Path, run: dict[str, Any], out: Path) -> dict[str, Any]:
    waived = sum(scenario["verdict"] == "waived" for scenario in run["scenarios"])
    name = f"{run['environment']}: {run['decision']}" + (f", {waived} only by a waiver" if waived else "")
    seen = state / "report" / "reported.txt"
    new = not seen.is_file() or seen.read_text(encoding="utf-8") != run["run"]
    return {
        "name": name,
        "output": str(out),
        "historyPath": str(state / "allure-history.jsonl"),
        "historyLimit": _HISTORY,
        "appendHistory": new,  # reporting a run twice must not look like two runs
        "categories": CATEGORIES,
        "variables": {
            **({"Waived": "; ".join(run["waived"])} if waived else {}),
            "Decision": run["decision"],
            "Environment": run["environment"],
            "Run": run["run"],
        },
        "plugins": {
            "awesome": {
                "options": {
                    "singleFile": True,
                    "reportName": name,
                    "reportLanguage": "en",
                    "groupBy": ["feature", "story"],
                }
            }
        },
    }


def _ran(argv: list[str], cwd: Path) -> str:
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_ALLURE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise HarnessError(f"Allure did not end within {_ALLURE_SECONDS:g} s") from None
    except OSError as error:  # Node itself is missing
        raise HarnessError(f"Allure cannot be started: {error.strerror}; is Node.js installed?") from None
    said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-_TAIL:])
    if done.returncode != 0:
        raise HarnessError(f"Allure failed (exit {done.returncode}):\n{said}")
    return said


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; 0 when both pages were written, 1 when they were not."""
    parser = argparse.ArgumentParser(
        prog="python -m harness.report", description="The last run as one page."
    )
    parser.add_argument("--env", help="environment; without it, that of the newest run")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout; default: this one")
    options = parser.parse_args(arguments)
    try:
        pages = report(options.root, options.env)
    except HarnessError as error:
        sys.stderr.write(redact(f"{error}\n"))
        return 1
    for page in pages:
        sys.stdout.write(f"{page}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
