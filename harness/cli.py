"""The command line beside pytest: look, stop, sign in, lint, write the generated docs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from harness import cli_approve, cli_history, cli_pipeline, cli_promotion, cli_release
from harness.database_cli import app as db_app
from harness.errors import HarnessError
from harness.plain import PlainConsole
from harness.rehearsal.cli import app as rehearsal
from harness.secrets import redact
from harness.visible import visible

if TYPE_CHECKING:
    from harness.providers.local.processes import LocalProcesses

__all__ = ["main"]

app = typer.Typer(
    help="Deploys a private AI chat stack, proves it against its checklists, gates its promotion.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for commands in (cli_release, cli_promotion, cli_approve, cli_history, cli_pipeline):
    commands.mount(app)
app.add_typer(db_app, name="db")
app.add_typer(rehearsal, name="rehearsal")
console = PlainConsole(highlight=False, emoji=False)  # file.py:100: is a line
Env = Annotated[str, typer.Option("--env", help="Environment: the name of a file in environments/.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Override a setting: path=value.")]
ROOT = Path(__file__).resolve().parent.parent


def _processes(env: str) -> LocalProcesses:
    """The programs of ``env`` on this machine, also when its file is gone: what runs can still be stopped.

    Raises:
        ConfigurationError: when there is no such environment, and there never was.
    """
    from harness.environment.loader import find
    from harness.providers.registry import local_processes

    if env not in {path.name for path in (ROOT / ".harness").glob("*/")}:
        find(env, ROOT)
    return local_processes(ROOT, env)


@app.command()
def status(env: Env = "local") -> None:
    """Show what runs, since when, and where it logs."""
    processes = _processes(env)
    programs = processes.programs()
    if not programs:
        console.print(f"nothing of {env} is running; start it with: make local")
        raise typer.Exit(1)
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for heading in ("program", "state", "pid", "up", "log"):
        table.add_column(heading)
    for program in programs:
        style = "green" if program.state == "RUNNING" else "red"
        log = processes.log_path(program.name)
        shown = log.relative_to(ROOT) if log.is_relative_to(ROOT) else log
        up = f"{program.uptime_seconds:.0f} s" if program.pid else ""
        table.add_row(program.name, f"[{style}]{program.state}[/]", str(program.pid or ""), up, str(shown))
    console.print(table)
    if any(program.state != "RUNNING" for program in programs):
        raise typer.Exit(1)


@app.command()
def down(env: Env = "local") -> None:
    """Stop everything that was started for the environment, and say what was stopped."""
    from harness.runlock import run_lock

    processes = _processes(env)
    with run_lock(processes.state):
        names = [program.name for program in processes.programs() if program.pid]
        strays = processes.shutdown()
    console.print(f"stopped: {', '.join(names)}" if names else f"nothing of {env} was running")
    if strays:
        console.print(f"also stopped, left behind by a run that was killed: {', '.join(strays)}")


@app.command()
def up(env: Env = "local", overrides: Set = None) -> None:
    """Deploy the environment without asking any check (for daily work)."""
    from harness.up import deploy_all

    if not deploy_all(ROOT, env, overrides or [], console):
        raise typer.Exit(1)


@app.command("sign-in")
def sign_in(name: str = typer.Argument("alice", help="A test user."), env: Env = "local") -> None:
    """Print a link that signs the test user in to the local web app (valid for an hour)."""
    from harness.environment.loader import load
    from harness.providers.registry import build_stack

    stack = build_stack(load(env, ROOT).environment, ROOT)
    token = stack.identities.token(name, ttl_seconds=3600)
    url = f"{stack.environment.web.url}/auth/callback"
    # a link to sign in with is the one thing that this command is for
    sys.stdout.write(f"{url}#access_token={token.reveal()}&token_type=bearer&expires_in=3600\n")


@app.command()
def lint() -> None:
    """Find steps, scenarios, tags and controls that do not fit together."""
    from harness.lint import lint as find

    problems = find(ROOT)
    for problem in problems:
        console.print(str(problem), soft_wrap=True, markup=False)
    if problems:
        console.print(f"[red]{len(problems)} problems[/]")
        raise typer.Exit(1)
    console.print("the features, steps, checks and controls fit together")


@app.command()
def docs() -> None:
    """Write the generated tables of docs/ and environments/schema.json again."""
    from harness.generated import write_all

    for path in write_all(ROOT):
        console.print(f"written: {path.relative_to(ROOT)}")


@contextlib.contextmanager
def _readable_errors() -> Iterator[None]:
    try:
        yield
    except HarnessError as error:
        sys.stderr.write(visible(redact(f"{error}\n")))
        raise SystemExit(4) from None


def main() -> None:
    """Entry point of the console script ``harness``."""
    with _readable_errors():
        app()
