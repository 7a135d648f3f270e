"""Commands about what was: the journal of an environment, its drift, and what retention lets go."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from harness.errors import HarnessError
from harness.plain import PlainConsole
from harness.secrets import redact

if TYPE_CHECKING:
    from harness.attestation.keys import PublicKey
    from harness.environment import Environment
    from harness.history import Entry, Running
    from harness.release import Release
    from harness.store import Store

__all__ = ["mount"]

ROOT = Path(__file__).resolve().parent.parent
console = PlainConsole(highlight=False, emoji=False, soft_wrap=True)
Root = Annotated[Path, typer.Option("--root", help="The checkout; default: this one.", hidden=True)]
Env = Annotated[str, typer.Option("--env", help="Environment: the name of a file in environments/.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def mount(app: typer.Typer) -> None:
    """Add these commands to ``app``."""
    app.command()(history)
    app.command()(drift)


def history(
    env: Env = "local",
    most: Annotated[int, typer.Option("--most", min=1, help="How many runs to show.")] = 20,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove what is older than gate.keep_days; say what.")
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option("--export", help="Copy the evidence of this machine's last run into a directory."),
    ] = None,
    as_json: AsJson = False,
    root: Root = ROOT,
) -> None:
    """What ran, by whom, which release, how it ended, and where the evidence is; newest first."""
    from harness.claims import unended
    from harness.history import expired, journal

    environment, store, key = _opened(env, root)
    if export is not None:
        _export(environment, store, export, root)
        return
    if prune:
        gone = expired(store, environment.environment, environment.gate, dt.datetime.now(dt.UTC), key)
        for name in gone:
            store.delete(name)
        console.print(f"removed {len(gone)} objects of runs older than {environment.gate.keep_days} days")
    entries = list(itertools.islice(journal(store, environment.environment, key), most))
    if as_json:
        sys.stdout.write(redact(json.dumps([_as_dict(entry) for entry in entries], indent=2)) + "\n")
        return
    if not entries:
        console.print(f"nothing has run in {env} yet; pytest --env {env} features/")
        raise typer.Exit(1)
    for entry in entries:
        console.print(_line(entry))
        console.print(f"    {entry.where}", style="dim", markup=False)
    for promotion, told in unended(store, environment.environment, dt.datetime.now(dt.UTC)).items():
        console.print(f"promotion {promotion}: {told}", style="yellow", markup=False)


def _export(environment: Environment, store: Store, directory: Path, root: Path) -> None:
    from harness.aftermath import export
    from harness.sinks.files import read_run

    name = environment.environment
    run = read_run(root / ".harness" / name / "last-run.json")
    if run is None:
        raise HarnessError(f"nothing of {name} has been run on this machine: there is nothing to export")
    for path in export(store, name, run["run"], directory):
        console.print(str(path), markup=False)


def _opened(env: str, root: Path) -> tuple[Environment, Store, PublicKey | None]:
    from harness.environment.loader import load
    from harness.history import own_key
    from harness.secrets import SecretStore
    from harness.store import open_store

    environment = load(env, root).environment
    secrets = SecretStore(root, root / ".harness" / environment.environment)
    return environment, open_store(environment, root, secrets), own_key(environment, secrets)


def _line(entry: Entry) -> Text:
    """When, how it ended, which release, by whom."""
    result = entry.result
    if result is None or not entry.believed:
        return Text.assemble(f"{entry.run:<24}", ("not believed", "red"), f"  {entry.trust}")
    style = "green" if entry.passed else "cyan" if result.mode == "verify-only" else "red"
    release = f"release-{result.release.removeprefix('sha256:')[:12]}" + (
        "+changes" if result.dirty else ""
    )
    tail = [part for part in (result.mode, result.by, entry.trust) if part not in ("deploy", "verified")]
    return Text.assemble(
        f"{result.finished_on}  ",
        (f"{result.result:<6}", style),
        f"  {release:<20}  {', '.join(tail)}",
    )


def _as_dict(entry: Entry) -> dict[str, Any]:
    result = entry.result
    told = {"run": entry.run, "evidence": entry.where, "trust": entry.trust}
    if result is None:
        return told
    return told | {
        "environment": result.environment,
        "mode": result.mode,
        "result": result.result,
        "reasons": list(result.reasons),
        "release": result.release,
        "dirty": result.dirty,
        "by": result.by,
        "started": result.started_on,
        "finished": result.finished_on,
        "passed": len(result.passed_tests),
        "expected": len(result.expected_tests),
    }


def drift(env: Env = "local", as_json: AsJson = False, root: Root = ROOT) -> None:
    """Ask everything again, change nothing, and compare with what the last evidence said. Exit 1: drift."""
    from harness.drift import drift as find
    from harness.history import running_release

    environment, store, key = _opened(env, root)
    running = running_release(store, environment.environment, key)
    if running is None or running.entry.result is None:
        raise HarnessError(f"no run of {env} has passed yet: there is nothing to have drifted from")
    now = _asked_again(env, running.release, root, quiet=as_json)
    found = find(running.entry.result, now, root)
    if as_json:
        told = {"environment": env, "since": running.entry.run, "run": now["run"], "drift": found}
        told |= {"unproven": running.unproven or None}
        sys.stdout.write(redact(json.dumps(told, indent=2)) + "\n")
    else:
        _tell(env, running, found)
    if found:
        raise typer.Exit(1)


def _asked_again(env: str, release: Release, root: Path, *, quiet: bool) -> dict[str, Any]:
    """The record of a verify-only run of ``release`` in ``env``; its output goes to stderr if ``quiet``.

    Raises:
        HarnessError: when the tree is another release, or the run did not begin.
    """
    from harness.promotion import not_this_tree
    from harness.release import Release
    from harness.sinks.files import read_run

    if differences := not_this_tree(release, Release.build(root)):
        raise HarnessError(
            f"{release.name} runs in {env}, and this tree is another release: {differences[0]}\n"
            f"compare from its own commit: git checkout {release.source.commit[:12]}"
        )
    last = root / ".harness" / env / "last-run.json"
    before = read_run(last)
    told = last.with_name("drift.release.json")  # the image, which no tree tells, is among what is asked
    release.write(told)
    argv = [sys.executable, "-m", "pytest", "--env", env, "--verify-only", "--release", str(told)]
    subprocess.run([*argv, "features/"], cwd=root, check=False, stdout=sys.stderr if quiet else None)
    now = read_run(last)
    if now is None or (before is not None and now["run"] == before["run"]):
        raise HarnessError("the check did not begin: see above")
    return now


def _tell(env: str, running: Running, found: list[str]) -> None:
    if running.unverified:
        console.print(f"run {running.entry.run} is {running.unverified}", style="red", markup=False)
    verdict = f"[bold red]DRIFT[/]  {len(found)}" if found else "[bold green]NO DRIFT[/]"
    console.print(f"{verdict}  {env} against run {running.entry.run}")
    for line in found:
        console.print(f"  ✗ {line}", markup=False)
    if running.unproven:
        console.print(f"  {running.unproven}", style="yellow", markup=False)
