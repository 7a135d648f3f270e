"""`harness pipeline`: the stages of .github/workflows/pipeline.yaml on one machine, without a forge."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import typer

from harness.cli_promotion import ROOT, Root, console, promotion_of, say, write_page
from harness.environment import Environment
from harness.errors import HarnessError, Problem

__all__ = ["mount"]

_NAMED = 3  # things that are out of reach, before the rest is only counted


def mount(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(pipeline)


def pipeline(root: Root = ROOT) -> None:
    """Build the release, prove it locally, then walk the environments: deploy where this machine can, and
    ask the gate everywhere. Where approvals are asked for, it is always a dry run. Exit 0: what could run
    has passed, and the gates have answered.
    """
    from harness.promotion import RELEASE_FILE, current_release

    release = current_release(root)  # keeps the image of a release.json that names this tree
    release.write(root / RELEASE_FILE)
    _heading(f"build: {release.name}")
    for name, why in release.missing.items():
        console.print(f"  {name}: missing: {why}", style="yellow", markup=False)
    for environment in _in_order(root):
        _heading(environment.environment)
        if not _walk(environment, root):
            console.print(f"stopped: {environment.environment} has not passed", style="bold red")
            raise typer.Exit(1)
    console.print("the pipeline has been walked to its end", style="bold green")


def _walk(environment: Environment, root: Path) -> bool:
    """Deploy and prove, or only ask; false when it was tried and did not pass."""
    name = environment.environment
    lacking = _lacking(environment, root)
    dry, closed = bool(environment.gate.approvals), False
    if environment.predecessor is not None:
        promotion, secrets = promotion_of(root, name, None, None, None)
        decision = promotion.decide()
        say(promotion, decision)
        _, page = write_page(promotion, decision, secrets)
        console.print(f"  page      {page}", style="dim", markup=False)
        closed = not decision.open
    if dry or closed or lacking:
        reach = f"out of reach from here ({len(lacking)} problems)"
        why = "approvals are asked for" if dry else "its gate is closed" if closed else reach
        console.print(f"  dry run: nothing was deployed to {name}: {why}", markup=False)
        for problem in [] if dry else lacking[:_NAMED]:
            console.print(f"    {problem}", style="dim", markup=False)
        return True
    argv = [sys.executable, "-m", "pytest", "-p", "no:hypothesispytest", "--env", name, "features/"]
    return subprocess.run(argv, cwd=root, check=False).returncode == 0


def _lacking(environment: Environment, root: Path) -> list[Problem]:
    from harness.environment.loader import preflight
    from harness.secrets import SecretStore

    return preflight(environment, SecretStore(root, root / ".harness" / environment.environment))


def _in_order(root: Path) -> list[Environment]:
    """Every environment after the one from which its releases come.

    Raises:
        ConfigurationError: when one of the files is not right.
        HarnessError: when none of them is the first.
    """
    from harness.environment.loader import load

    names = sorted(path.stem for path in (root / "environments").glob("*.yaml"))
    waiting = [load(name, root).environment for name in names]
    ordered: list[Environment] = []
    while waiting:
        known = {environment.environment for environment in ordered}
        ready = [e for e in waiting if e.predecessor is None or e.predecessor in known]
        if not ready:
            raise HarnessError("no environment is the first: each names a predecessor")
        ordered += ready
        waiting = [environment for environment in waiting if environment not in ready]
    return ordered


def _heading(text: str) -> None:
    console.print(f"\n[bold]== {text}[/]")
