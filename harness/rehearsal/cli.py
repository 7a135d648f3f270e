"""`harness rehearsal`: raise, look at and tear down a rehearsal's topology."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from harness.environment.loader import load

__all__ = ["app"]

app = typer.Typer(
    help="Raise staging's topology on this machine, look at it, tear it down.", no_args_is_help=True
)
console = Console(highlight=False, emoji=False)
Env = Annotated[str, typer.Option("--env", help="Environment whose machines are raised here.")]
ROOT = Path(__file__).resolve().parent.parent.parent


def _say(phrase: str) -> None:
    console.print(f"  … {phrase}", markup=False, soft_wrap=True)


@app.command()
def up(env: Env = "rehearsal") -> None:
    """Raise every machine of the environment as a container; what stands is left alone."""
    from harness.rehearsal.up import raise_rehearsal

    started = time.monotonic()
    raised = raise_rehearsal(load(env, ROOT).environment, ROOT, _say)
    seconds = time.monotonic() - started
    made = f"{len(raised.made)} raised" if raised.made else "nothing to do"
    stood = f", {len(raised.stood)} stood already" if raised.stood else ""
    console.print(f"{env} stands ({made}{stood}; {seconds:.1f} s)", markup=False)


@app.command()
def down(env: Env = "rehearsal") -> None:
    """Take away everything that belongs to the rehearsal, and say what was."""
    from harness.rehearsal.down import tear_down

    started = time.monotonic()
    removed = tear_down(load(env, ROOT).environment, ROOT)
    seconds = time.monotonic() - started
    parts = {
        "programs": removed.programs,
        "containers": removed.containers,
        "networks": removed.networks,
        "volumes": removed.volumes,
    }
    said = [f"{what} {', '.join(names)}" for what, names in parts.items() if names]
    said += ["routes"] if removed.routes else []
    said += ["the Docker engine, which the rehearsal had started"] if removed.engine else []
    text = f"removed: {'; '.join(said)}" if said else f"nothing of {env} was there"
    console.print(f"{text} ({seconds:.1f} s)", markup=False, soft_wrap=True)
