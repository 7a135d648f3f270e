"""A file of SQL as statements with their lines, parsed by PostgreSQL's own parser (pglast)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pglast import ast, parser

__all__ = ["Acceptance", "SqlError", "SqlSource", "Statement", "parsed", "tokens"]

_ACCEPT = re.compile(r"^--\s*accept\s+(?P<rule>[\w-]+)\s*(?::\s*(?P<reason>.*?)\s*)?$")
_BEYOND = re.compile(r"[^\x00-\x7f]")
_COMMENTS = ("SQL_COMMENT", "C_COMMENT")


class SqlError(Exception):
    """The text is no SQL: ``what`` is wrong at ``line``."""

    def __init__(self, what: str, line: int) -> None:
        self.what, self.line = what, line
        super().__init__(f"line {line}: {what}")


@dataclass(frozen=True)
class Statement:
    """One statement: its tree, its text, the line on which it begins (1 is the first), and its place.

    ``start`` and ``end`` are offsets in characters. ``nested`` statements stand in a DO block.
    """

    node: ast.Node
    text: str
    line: int
    start: int
    end: int
    nested: bool = False


@dataclass(frozen=True)
class Acceptance:
    """A comment `-- accept RULE: reason` and the statement that it stands before (or beside)."""

    rule: str
    reason: str
    line: int
    statement: Statement | None


@dataclass(frozen=True)
class SqlSource:
    """A file of SQL: what it does, and which rules its author has accepted, with the reason."""

    statements: tuple[Statement, ...]
    acceptances: tuple[Acceptance, ...]

    def flat(self) -> Iterator[Statement]:
        """Every statement, and after each DO block those inside it."""
        for statement in self.statements:
            yield statement
            yield from _inside(statement)


def parsed(text: str) -> SqlSource:
    """``text`` read as PostgreSQL reads it.

    Raises:
        SqlError: when it is not SQL; says at which line.
    """
    if "\0" in text:
        raise SqlError("a NUL character", text.count("\n", 0, text.index("\0")) + 1)
    try:
        raw = parser.parse_sql(text)
        comments = [token for token in parser.scan(_ascii(text)) if token.name in _COMMENTS]
    except parser.ParseError as error:
        raise SqlError(str(error.args[0]), _line(text, _offset(error))) from None
    statements = tuple(_statement(text, node) for node in raw)
    return SqlSource(statements, tuple(_acceptances(text, comments, statements)))


def tokens(text: str) -> list[str]:
    """The words of ``text`` without comments, white space and semicolons: what makes two files one.

    Raises:
        SqlError: when it is not SQL; says at which line.
    """
    try:
        found = parser.scan(_ascii(text))
    except parser.ParseError as error:
        raise SqlError(str(error.args[0]), _line(text, _offset(error))) from None
    return [text[t.start : t.end + 1] for t in found if t.name not in (*_COMMENTS, "ASCII_59")]


def _ascii(text: str) -> str:
    """The same words in the same places: to the scanner every letter beyond ASCII is one of a name.

    It counts bytes, and finding the characters again takes pglast quadratic time.
    """
    return _BEYOND.sub("x", text)


def _statement(text: str, node: ast.RawStmt) -> Statement:
    start = node.stmt_location
    end = start + node.stmt_len if node.stmt_len else len(text)
    return Statement(node.stmt, text[start:end], _line(text, start), start, end)


def _line(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1


def _offset(error: parser.ParseError) -> int:
    return int(error.args[1]) if len(error.args) > 1 and isinstance(error.args[1], int) else 0


def _acceptances(text: str, comments: list[Any], statements: tuple[Statement, ...]) -> Iterator[Acceptance]:
    for token in comments:
        match = _ACCEPT.match(text[token.start : token.end + 1])
        if match:
            line = _line(text, token.start)
            yield Acceptance(match["rule"], match["reason"] or "", line, _target(text, token, statements))


def _target(text: str, token: Any, statements: tuple[Statement, ...]) -> Statement | None:
    """The statement that ends on the comment's line or contains it, else the next one."""
    for statement in statements:
        ends_here = statement.end <= token.start and "\n" not in text[statement.end : token.start]
        if token.start < statement.end or ends_here:
            return statement
    return None


def _inside(statement: Statement) -> Iterator[Statement]:
    """What a DO block runs, as far as it is written out; a string that it puts together is `None`'s."""
    if not isinstance(statement.node, ast.DoStmt):
        return
    try:
        tree = json.loads(parser.parse_plpgsql_json(statement.text))
    except parser.ParseError:  # another language than PL/pgSQL
        return
    body = statement.text.find("$")
    first = statement.line + statement.text.count("\n", 0, max(body, 0)) - 1
    for kind, query, line in _queries(tree, 1):
        yield from _nested(kind, query, first + line, statement)


def _nested(kind: str, query: str, line: int, outer: Statement) -> Iterator[Statement]:
    """The statements in ``query``; a query that is put together at run time is an ExecuteStmt."""
    place = (line, outer.start, outer.end, True)
    if kind == "PLpgSQL_stmt_dynexecute":
        constant = _constant(query)
        if constant is None:
            yield Statement(ast.ExecuteStmt(name=query), query, *place)
            return
        query = constant
    try:
        for raw in parser.parse_sql(query):
            yield Statement(raw.stmt, query, *place)
    except parser.ParseError:  # such as an assignment to a variable: no statement of SQL
        return


def _constant(expression: str) -> str | None:
    try:
        value = parser.parse_sql(f"select {expression}")[0].stmt.targetList[0].val
    except parser.ParseError:
        return None
    if isinstance(value, ast.A_Const) and isinstance(value.val, ast.String):
        return str(value.val.sval)
    return None


def _queries(tree: Any, line: int) -> Iterator[tuple[str, str, int]]:
    """Kind, text and line within the body of everything that a parsed block runs as SQL."""
    if isinstance(tree, list):
        for item in tree:
            yield from _queries(item, line)
    elif isinstance(tree, dict):
        for key, value in tree.items():
            if key in ("PLpgSQL_stmt_execsql", "PLpgSQL_stmt_dynexecute", "PLpgSQL_stmt_perform"):
                inner = value.get("sqlstmt") or value.get("query") or value.get("expr")
                yield key, inner["PLpgSQL_expr"]["query"], value.get("lineno", line)
            else:
                at = value.get("lineno", line) if isinstance(value, dict) else line
                yield from _queries(value, at)
