"""The project's own tests in SQL (pgTAP), each in a transaction that is rolled back."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from pglast import ast, enums

from harness.checks.base import Effect, check
from harness.errors import DeployError
from harness.evidence import Evidence, Finding, judge
from harness.providers.database import database_provider
from harness.providers.pgtap import lay_pgtap
from harness.sql.source import SqlError, Statement, parsed
from harness.sql.tap import TapResult, read_tap
from harness.stack import Stack

__all__ = ["tested"]

_SECONDS = 30
_LOCK_SECONDS = 5
"""A statement of a test may take so long, and wait so long for a lock: others wait meanwhile."""
_ONE_TRANSACTION = "begin first, rollback last, and neither commit nor rollback between"


@dataclass(frozen=True)
class _Ran:
    tests: int
    todo: tuple[str, ...]
    findings: tuple[Finding, ...]
    seconds: float


@check("supabase.pgtap", component="supabase", effect=Effect.PLANTS)
def tested(stack: Stack) -> Evidence:
    """Every pgTAP test of the project holds in the environment's database; all is rolled back."""
    provider = database_provider(stack)
    directory = provider.source / "tests"
    files = sorted(path for path in directory.rglob("*") if path.suffix in (".sql", ".pg"))
    if not files:
        remedy = "write a test: select plan(1); select has_table('public', 'profiles'); …"
        return judge("", [Finding("pgTAP tests", "there are none", "supabase/tests", remedy)])
    ran = {}
    for path in files:
        name = str(path.relative_to(provider.source.parent))
        try:
            ran[name] = _run(provider.dsn(), stack.root, path, name)
        except psycopg.OperationalError as error:
            raise type(error)(f"{name}: {error}") from error  # an outage, and during which test
    findings = [finding for file in ran.values() for finding in file.findings]
    todo = [text for file in ran.values() for text in file.todo]
    summary = f"{sum(f.tests for f in ran.values())} tests in {len(ran)} files hold, all rolled back"
    summary += f"; known not to hold yet: {'; '.join(todo)}" if todo else ""
    facts = {name: f"{file.tests} tests in {file.seconds:.2f} s" for name, file in ran.items()}
    return judge(summary, findings, files=facts, todo=todo)


def _run(dsn: str, root: Path, path: Path, name: str) -> _Ran:
    started = time.monotonic()
    try:
        statements = parsed(path.read_text(encoding="utf-8")).statements
    except (SqlError, UnicodeDecodeError) as error:
        where = f"{name}:{error.line}" if isinstance(error, SqlError) else name
        return _Ran(0, (), (_died(where, str(error)),), 0.0)
    inner, findings = _without_transaction(statements, name)
    if findings:
        return _Ran(0, (), tuple(findings), 0.0)
    with contextlib.closing(psycopg.connect(dsn)) as connection:
        connection.execute(f"set local statement_timeout = '{_SECONDS}s'")
        connection.execute(f"set local lock_timeout = '{_LOCK_SECONDS}s'")
        _lay(connection, root)
        result, died = _said(connection, inner, name)
        connection.rollback()
    findings = [*died, *_judged(result, name, complete=not died)]
    todo = tuple(f"{name}:{a.at} {a.description} ({a.reason})" for a in result.todo)
    return _Ran(len(result.assertions), todo, tuple(findings), time.monotonic() - started)


def _lay(connection: psycopg.Connection, root: Path) -> None:
    try:
        lay_pgtap(connection, root)
    except psycopg.errors.InsufficientPrivilege as error:
        remedy = "connect as a role that may create functions: postgres"
        raise DeployError("supabase", f"pgTAP cannot be laid: {error}".strip(), remedy) from error


def _without_transaction(
    statements: Sequence[Statement], name: str
) -> tuple[list[Statement], list[Finding]]:
    """The statements between begin and rollback; a finding for each other place where one ends."""
    inner = list(statements)
    kinds = enums.TransactionStmtKind
    if inner and _kind(inner[0]) in (kinds.TRANS_STMT_BEGIN, kinds.TRANS_STMT_START):
        inner.pop(0)
    if inner and _kind(inner[-1]) == kinds.TRANS_STMT_ROLLBACK:
        inner.pop()
    nested = (kinds.TRANS_STMT_SAVEPOINT, kinds.TRANS_STMT_RELEASE, kinds.TRANS_STMT_ROLLBACK_TO)
    ends = [s for s in inner if _kind(s) is not None and _kind(s) not in nested]
    findings = [
        Finding(
            _ONE_TRANSACTION, " ".join(s.text.split()), f"{name}:{s.line}", "leave it out; split the file"
        )
        for s in ends
    ]
    return [s for s in inner if not _asks_for_pgtap(s)], findings


def _kind(statement: Statement) -> enums.TransactionStmtKind | None:
    return statement.node.kind if isinstance(statement.node, ast.TransactionStmt) else None


def _asks_for_pgtap(statement: Statement) -> bool:
    return isinstance(statement.node, ast.CreateExtensionStmt) and statement.node.extname == "pgtap"


def _said(
    connection: psycopg.Connection, statements: Sequence[Statement], name: str
) -> tuple[TapResult, list[Finding]]:
    """What the statements wrote, up to the one that failed, if one did."""
    lines: list[tuple[str, int]] = []
    for statement in statements:
        try:
            lines += [(line, statement.line) for line in _lines(connection, statement)]
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            return read_tap(lines), [_died(f"{name}:{statement.line}", str(error))]
    return read_tap(lines), []


def _lines(connection: psycopg.Connection, statement: Statement) -> Iterator[str]:
    cursor = connection.execute(statement.text.encode())
    if cursor.description is None:
        return
    for row in cursor.fetchall():
        if row and isinstance(row[0], str):
            yield from row[0].splitlines()


def _judged(result: TapResult, name: str, *, complete: bool) -> Iterator[Finding]:
    for failed in result.failures:
        observed = "; ".join(["not ok", *failed.diagnostics])[:400]
        remedy = "mend what it tests; or, when it tests the wrong thing, the test"
        yield Finding(
            failed.description or f"test {failed.number}", observed, f"{name}:{failed.at}", remedy
        )
    if complete:  # of a file that died, the count is wrong for that reason alone
        for expected, observed in result.flaws():
            yield Finding(expected, observed, name, "let the file plan and run every test that it has")


def _died(where: str, message: str) -> Finding:
    remedy = "mend the statement: nothing after it was tested"
    return Finding("the test runs to its end", f"it died: {' '.join(message.split())[:300]}", where, remedy)
