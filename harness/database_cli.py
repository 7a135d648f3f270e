"""`harness db check | declare | sweep`: any PostgreSQL, held against a declaration."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import psycopg
import typer
from psycopg.conninfo import conninfo_to_dict
from rich.text import Text

from harness.database.declaration import Declaration
from harness.database.findings import Found, Gap, Report
from harness.db_cli import app
from harness.errors import ConfigurationError, DeployError, Problem
from harness.plain import PlainConsole

__all__ = ["app"]

console = PlainConsole(highlight=False, emoji=False, soft_wrap=True)

Dsn = Annotated[
    str,
    typer.Option(
        "--dsn",
        envvar="HARNESS_DSN",
        show_envvar=True,
        help="Connection string or URL; keep its password in PGPASSWORD or PGPASSFILE.",
    ),
]
DeclarationFile = Annotated[Path, typer.Option("--declaration", help="The declaration: who may do what.")]
_ROOT = Path(__file__).resolve().parent.parent
_DECLARATION = Path("supabase/declaration.yaml")


@app.command()
def check(
    dsn: Dsn,
    declaration: DeclarationFile = _DECLARATION,
    migrations: Annotated[
        Path | None, typer.Option(help="Migrations: findings name their file and line.")
    ] = None,
    sarif: Annotated[Path | None, typer.Option(help="Also write the findings as SARIF 2.1.0.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the report as JSON.")] = None,
    static: Annotated[bool, typer.Option("--static", help="Read only: plant and try nothing.")] = False,
    advisors: Annotated[
        bool,
        typer.Option("--advisors", help="Also ask the Supabase CLI's advisors (make setup installs it)."),
    ] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that one statement may take.")] = 5.0,
) -> None:
    """Read the database, try what must not work, undo it, and say what was found.

    Exit code 0: it holds. 1: something was found. 2: nothing was found, but not everything could be proven.
    3: the database did not answer. 4: the declaration, or an argument, is wrong.
    """
    from harness.database.check import Options
    from harness.database.check import check as run
    from harness.database.declaration import load
    from harness.database.sarif import located, write_json, write_sarif

    _readable(dsn)
    wanted = load(declaration)
    if not static:
        console.print("plants users and rows inside one transaction, which is rolled back: nothing stays")
    try:
        with _progress() as told:
            report = run(dsn, wanted, Options(not static, timeout, told))
    except psycopg.OperationalError as error:
        console.print(f"[red]unreachable[/]  {_first_line(error)}", markup=True)
        raise typer.Exit(3) from None
    if advisors:
        _add_advice(dsn, report, wanted)
    report.found = located(report.found, migrations)
    if sarif:
        write_sarif(report, sarif)
    if json_file:
        write_json(report, json_file)
    _print(report)
    raise typer.Exit(1 if report.found else 2 if report.gaps else 0)


@app.command()
def declare(
    dsn: Dsn,
    output: Annotated[Path, typer.Option(help="Where to write it; - for standard output.")] = Path("-"),
    schemas: Annotated[
        list[str] | None, typer.Option("--schema", help="An exposed schema; several times.")
    ] = None,
    seconds: Annotated[
        float,
        typer.Option(min=0.0, help="To find out what trying would not notice; locks tables."),
    ] = 30.0,
) -> None:
    """Write a first declaration from what the database allows now, for a person to correct.

    Then it leaves out one condition at a time (and undoes it), to see what a check would not notice.
    """
    from harness.database.declaration import parse
    from harness.database.declare import declared_text

    _readable(dsn)
    try:
        with _progress() as told:
            text = declared_text(dsn, tuple(schemas or ()), told, seconds)
    except psycopg.OperationalError as error:
        console.print(f"[red]unreachable[/]  {_first_line(error)}", markup=True)
        raise typer.Exit(3) from None
    if str(output) == "-":
        typer.echo(text, nl=False)
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _wrong("--output", f"{output} cannot be written: {error.strerror}") from None
    console.print(f"written: {output}; read it: it says what is allowed, not what is meant")
    if blind := sum(bool(then.blind) for then in parse(text).written_from.values()):
        console.print(f"blind: {blind} policies, views, functions and triggers, see written_from: trying")
        console.print(
            "would not notice the loss of the conditions named there; a check says where one goes"
        )


@app.command()
def sweep(dsn: Dsn, declaration: DeclarationFile = _DECLARATION) -> None:
    """Remove planted users (`probe-…@probe.invalid`) of a killed run on another machine, and their rows.

    Not while a checklist runs on the same database: it would lose the rows that it has just planted.
    """
    from harness.database.declaration import load
    from harness.database.planting_journal import swept_users

    _readable(dsn)
    try:
        removed = swept_users(dsn, load(declaration))
    except psycopg.OperationalError as error:
        console.print(f"[red]unreachable[/]  {_first_line(error)}", markup=True)
        raise typer.Exit(3) from None
    except psycopg.Error as error:
        console.print(f"[red]nothing removed[/]  {_first_line(error)}", markup=True)
        raise typer.Exit(2) from None
    console.print(f"removed: {removed} planted users")


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """A line on the terminal that says what is tried now; nothing where there is no terminal."""
    with console.status("reading") as shown:
        yield lambda text: shown.update(Text(text))


def _readable(dsn: str) -> None:
    """Whether libpq understands the connection string; what is wrong is said without repeating it."""
    try:
        conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        raise _wrong(
            "--dsn", "is no connection string", "postgresql://user@host:5432/name, or: host=… dbname=…"
        ) from None


def _wrong(where: str, what: str, hint: str = "") -> ConfigurationError:
    return ConfigurationError([Problem(where, what, hint)], title="arguments")


def _add_advice(dsn: str, report: Report, wanted: Declaration) -> None:
    """Add what the advisors say; that they could not be asked is a gap, and loses nothing else."""
    try:
        report.found += _advised(dsn, report, wanted)
    except DeployError as error:
        report.gaps.append(
            Gap("the advisors", f"they could not be asked: {_first_line(error)}", "make setup")
        )


def _advised(dsn: str, report: Report, wanted: Declaration) -> list[Found]:
    """What Supabase's advisors say beyond the report, and against the declaration.

    Raises:
        DeployError: when they cannot run.
    """
    from harness.database.advisors import advice, beyond, without_duplicates
    from harness.providers.supabase_cli import SupabaseCli, Target, asked_advisors

    with tempfile.TemporaryDirectory() as state:
        lints = asked_advisors(SupabaseCli(_ROOT, Path(state)), Target.from_dsn(dsn))
    found, _ = advice(lints)
    return beyond(without_duplicates(found, report.found), wanted)


def _print(report: Report) -> None:
    for found in report.found:
        style = "red" if found.severity == "error" else "yellow"
        roles = f" as {', '.join(found.roles)}" if found.roles else ""
        console.print(f"[{style}]{found.severity}[/]  ", end="")
        console.print(f"{found.rule}  {found.object}{roles}", markup=False)
        lines = [("observed", found.what), ("expected", found.expected)]
        lines += [("proof", proof) for proof in found.proofs[:3]]
        lines += [("to do", found.fix)] + ([("defined", found.source)] if found.source else [])
        for label, text in lines:
            console.print(f"    {label:<9} {text}", markup=False)
    for gap in report.gaps:
        console.print("[yellow]not proven[/]  ", end="")
        console.print(str(gap), markup=False)
    count = f"{report.tables} tables and buckets, {report.probes} tries"
    if report.holds:
        console.print(f"[green]holds[/]  {count}: nothing found")
    else:
        console.print(f"{len(report.found)} found, {len(report.gaps)} not proven; {count}")


def _first_line(error: Exception) -> str:
    from harness.secrets import redact

    return redact(str(error).strip().partition("\n")[0])
