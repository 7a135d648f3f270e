"""`harness rehearsal`: raise, look at and tear down a rehearsal's topology."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from harness.environment.loader import load
from harness.plain import PlainConsole

__all__ = ["app"]

app = typer.Typer(
    help="Raise staging's topology on this machine, look at it, tear it down.", no_args_is_help=True
)
console = PlainConsole(highlight=False, emoji=False)
Env = Annotated[str, typer.Option("--env", help="Environment whose machines are raised here.")]
Stop = Annotated[bool, typer.Option("--stop", help="Stop the one that this command started.")]
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
    text = f"removed: {removed}" if str(removed) else f"nothing of {env} was there"
    console.print(f"{text} ({seconds:.1f} s)", markup=False, soft_wrap=True)


@app.command()
def status(env: Env = "rehearsal") -> None:
    """Show which machines stand, where, and how to log in."""
    from harness.rehearsal.engine import connect
    from harness.rehearsal.hosts import standing
    from harness.rehearsal.topology import topology_of

    topology = topology_of(load(env, ROOT).environment, ROOT)
    states = {container.name: container.status for container in standing(connect(), topology)}
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for heading in ("machine", "state", "address", "private", "container"):
        table.add_column(heading)
    for host in topology.hosts:
        state = states.get(host.container, "absent")
        style = "green" if state == "running" else "red"
        row = (f"[{style}]{state}[/]", host.address, host.private_address or "", host.container)
        table.add_row(host.name, *row)
    console.print(table)
    key, hosts = topology.deploy_key.relative_to(ROOT), topology.known_hosts.relative_to(ROOT)
    user = topology.machines.ssh.user
    console.print(f"log in: ssh -i {key} -o UserKnownHostsFile={hosts} {user}@ADDRESS", soft_wrap=True)
    if any(states.get(host.container) != "running" for host in topology.hosts):
        raise typer.Exit(1)


@app.command()
def engine(
    stop: Stop = False,
    clear: Annotated[
        bool,
        typer.Option("--clear", help="If it has to be started: remove what rehearsals had left in it."),
    ] = False,
) -> None:
    """Install and start a Docker engine where none answers; it stays until it is stopped."""
    from harness.rehearsal.down import clear as clear_leftovers
    from harness.rehearsal.engine import engine_answers, ensure_engine, stop_engine

    if stop:
        console.print("the Docker engine was stopped" if stop_engine() else "no engine of ours was running")
        return
    new = not engine_answers()
    client = ensure_engine(_say, keep=True)
    if clear and new and (removed := str(clear_leftovers(client))):
        _say(f"removed what a rehearsal had left when its engine ended: {removed}")
    console.print(f"a Docker engine answers: {client.version()['Version']}", markup=False)
