"""One check for each way in which a check can end."""

from __future__ import annotations

import threading

from harness.checks.base import Effect, check
from harness.errors import NoProvider
from harness.evidence import Evidence, Finding, holds, refuted
from harness.stack import Stack


@check("mini.holds", component="gateway")
def good(stack: Stack) -> Evidence:
    """It holds."""
    return holds("seen with own eyes", answer=42)


@check("mini.limit", component="gateway")
def limit(stack: Stack, tokens: int) -> Evidence:
    """The limit holds."""
    return holds(f"{tokens} tokens were refused", tokens=tokens)


@check("mini.refuted", component="gateway")
def bad(stack: Stack) -> Evidence:
    """The world contradicts it."""
    finding = Finding("RLS on every table", "public.notes has none", "table public.notes", "enable it")
    return refuted("public.notes is open", finding)


@check("mini.unreachable", component="gateway")
def gone(stack: Stack) -> Evidence:
    """Nothing answers."""
    raise ConnectionRefusedError("127.0.0.1:9")


@check("mini.breaks", component="gateway")
def breaks(stack: Stack) -> Evidence:
    """The check itself is broken."""
    raise ZeroDivisionError("in the check")


@check("mini.hangs", component="gateway", within=0.2)
def hangs(stack: Stack) -> Evidence:
    """Never answers."""
    threading.Event().wait()
    raise AssertionError


@check("mini.slow", component="gateway", within=120)
def slow(stack: Stack) -> Evidence:
    """Answers when the run has long been interrupted."""
    (stack.root / "asked.txt").touch()
    threading.Event().wait()
    raise AssertionError


@check("mini.unprovided", component="gateway")
def unprovided(stack: Stack) -> Evidence:
    """Nothing provides it."""
    raise NoProvider("nothing rolls back yet")


@check("mini.drill", component="gateway", effect=Effect.DISTURBS)
def drill(stack: Stack) -> Evidence:
    """Disturbs."""
    with (stack.root / "journal.txt").open("a") as journal:
        journal.write("disturbed\n")
    return holds("recovered in 0.1 s")


@check("mini.true", component="gateway")
def true(stack: Stack) -> Evidence:
    """Answers True instead of evidence."""
    return True
