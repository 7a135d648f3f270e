"""`harness pipeline`: the stages of .github/workflows/pipeline.yaml on one machine, without a forge."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import typer

from harness.cli_promotion import ROOT, Root, console, promotion_of, say, write_page
from harness.environment import Environment
from harness.errors import HarnessError

__all__ = ["mount"]

_NAMED = 3  # things that are out of reach, before the rest is only counted


def mount(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(pipeline)


def pipeline(root: Root = ROOT) -> None:
    """Build the release, prove it locally, then walk the environments: deploy where this machine can (a
    rehearsal is raised and taken down again), and ask the gate everywhere. Where they ask for approvals, it
    is always a dry run. Exit 0: what could run has passed, and the gates have answered.
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
    raised, lacking = _reach(environment, root)
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
    if not raised:
        return _proven(name, root)
    try:
        passed = _harness(root, "rehearsal", "up", "--env", name) and _proven(name, root)
    finally:  # Ctrl-C included
        gone = _harness(root, "rehearsal", "down", "--env", name)
    return passed and gone


def _proven(name: str, root: Path) -> bool:
    argv = [sys.executable, "-m", "pytest", "--env", name, "features/"]
    return subprocess.run(argv, cwd=root, check=False).returncode == 0


def _harness(root: Path, *arguments: str) -> bool:
    argv = [str(Path(sys.executable).with_name("harness")), *arguments]
    return subprocess.run(argv, cwd=root, check=False).returncode == 0


def _reach(environment: Environment, root: Path) -> tuple[bool, list[str]]:
    """Whether its machines can be raised here; and what keeps this machine from deploying to it."""
    from harness.environment.loader import preflight
    from harness.rehearsal.engine import lacks
    from harness.rehearsal.topology import can_be_raised
    from harness.secrets import SecretStore

    if can_be_raised(environment, root):
        return True, list(lacks([]))
    secrets = SecretStore(root, root / ".harness" / environment.environment)
    return False, [str(problem) for problem in preflight(environment, secrets)]


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
