"""`harness db …`: what can be asked about a database and its migrations without a whole run.

harness.database_cli adds the commands that look at a live database.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.plain import PlainConsole

__all__ = ["app"]

app = typer.Typer(help="Look at a database, its declaration and its migrations.", no_args_is_help=True)
console = PlainConsole(highlight=False, emoji=False)
ROOT = Path(__file__).resolve().parent.parent
Supabase = Annotated[Path, typer.Argument(help="A directory with migrations/ and rollbacks/ in it.")]


@app.command()
def lint(
    supabase: Supabase = ROOT / "supabase",
    sarif: Annotated[Path | None, typer.Option(help="Also write the objections as SARIF 2.1.0.")] = None,
) -> None:
    """Read migrations before they run: what loses data, locks tables, or is refused when hosted."""
    from harness.sarif import write
    from harness.sql.lint import as_sarif, read_tree

    reading = read_tree(supabase.resolve())
    if sarif:
        write(as_sarif(reading), sarif)
    for flag in reading.flags:
        console.print(str(flag), soft_wrap=True, markup=False)
    if reading.flags:
        count = len(reading.flags)
        noun = "objection" if count == 1 else "objections"
        console.print(f"[red]{count} {noun}[/] (meant so? put before it: -- accept RULE: the reason)")
        raise typer.Exit(1)
    for where, rule, reason in reading.accepted:
        console.print(f"{where}: accepted {rule}: {reason}", soft_wrap=True, markup=False)
    console.print(f"{reading.files} files of SQL read, nothing to object to")


@app.command()
def rules() -> None:
    """List the rules of `harness db lint`, and why each is one."""
    from harness.sql.lint import RULES

    width = max(map(len, RULES))
    for rule, why in RULES.items():
        console.print(f"{rule:<{width}}  {why}", soft_wrap=True, markup=False)
