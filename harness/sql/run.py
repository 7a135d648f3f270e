"""Runs files of SQL as the Supabase CLI does, in a database of one's own to try them in."""

from __future__ import annotations

import psycopg
from pglast import ast

from harness.sql.locks import outside_transaction
from harness.sql.source import SqlError, parsed

__all__ = ["run_file", "sow"]


def run_file(connection: psycopg.Connection, text: str) -> None:
    """Run ``text`` in one transaction, but for the statements that PostgreSQL lets run in none.

    ``connection`` is in autocommit mode.

    Raises:
        psycopg.Error: what the statement that failed said; the transaction is rolled back.
    """
    try:
        statements = parsed(text).statements
    except SqlError:
        statements = ()  # the server says better what is wrong
    alone = [statement for statement in statements if outside_transaction(statement.node)]
    if not alone:
        with connection.transaction():
            connection.execute(text.encode())
        return
    for statement in statements:
        connection.execute(statement.text.encode())


def sow(connection: psycopg.Connection, text: str) -> int:
    """Insert those rows of a seed whose tables exist by now; how many there were.

    ``connection`` is in autocommit mode. A seed is written for the newest schema; on an older one, what
    does not fit yet is left out.

    Raises:
        psycopg.OperationalError: when the database does not answer.
    """
    sown = 0
    with connection.transaction():
        for statement in parsed(text).statements:
            if isinstance(statement.node, ast.InsertStmt):
                sown += _sown(connection, statement.text)
    return sown


def _sown(connection: psycopg.Connection, statement: str) -> int:
    try:
        with connection.transaction():
            return max(connection.execute(statement.encode()).rowcount, 0)
    except (psycopg.ProgrammingError, psycopg.IntegrityError):
        return 0
