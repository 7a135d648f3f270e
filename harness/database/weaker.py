"""SQL with one of its conditions left out: the mistakes that a person makes, made by a machine.

PostgreSQL's own parser (pglast) reads and writes it, so a condition is found however deep it stands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from pglast import ast, enums, parse_plpgsql, parse_sql
from pglast.parser import ParseError
from pglast.stream import RawStream

from harness.database.catalogue import Function

__all__ = ["Weaker", "of_condition", "of_function", "of_query", "plainly"]

_CONDITIONS = ("whereClause", "quals", "havingClause")
_STATEMENT = re.compile(r"\s*(select|insert|update|delete|with)\b", re.I)
_WAY = "… or "
"""Stands before a condition once for each `or` that it is beneath: there are other ways than to meet it."""


class Weaker(NamedTuple):
    """SQL without one of its conditions, and which, as `plainly` writes it."""

    text: str
    lost: str


class _Place(NamedTuple):
    """How something is set, what stands there, and what can take its place: each with what it lacks."""

    set: Callable[[Any], None]
    old: Any
    others: list[tuple[Any, Any]]
    ways: int


def of_condition(text: str) -> Iterator[Weaker]:
    """A condition as a policy has it, each time without one of its parts; without all, if it has none.

    Raises:
        ValueError: when it cannot be read.
    """
    seen = {plainly("true"), plainly(text)}
    found = []
    for weaker, lost in _weaker(f"select ({text})"):
        condition = weaker[len("select ") :]
        if plainly(condition) not in seen:
            seen.add(plainly(condition))
            found.append(Weaker(condition, lost))
    whole = [Weaker("true", _shown(plainly(text)))] if plainly(text) != plainly("true") else []
    yield from found or whole


def of_query(text: str) -> Iterator[Weaker]:
    """Statements, each time without one of their conditions.

    Raises:
        ValueError: when they cannot be read.
    """
    yield from _weaker(text)


def plainly(text: str) -> str:
    """A condition or query as it would be written without what makes no difference.

    The order of conditions is none, nor is a caller's id that is asked for in a query of its own. What
    cannot be read is returned as it is, in one line.
    """
    for whole in (text, f"select ({text})"):
        try:
            return "; ".join(_written(_ordered(raw.stmt)) for raw in parse_sql(whole))
        except (ParseError, ValueError):
            continue
    return " ".join(text.split())


def _written(node: Any) -> str:
    """``node`` as SQL.

    Raises:
        ValueError: when pglast's printer does not know how (it says so in several ways).
    """
    try:
        return str(RawStream()(node))
    except (NotImplementedError, LookupError, AttributeError, TypeError, AssertionError) as error:
        raise ValueError(f"it cannot be written: {type(error).__name__}") from None


def _ordered(node: Any) -> Any:
    if isinstance(node, tuple | list):
        return tuple(_ordered(one) for one in node)
    if not isinstance(node, ast.Node):
        return node
    for name in node:
        setattr(node, name, _ordered(getattr(node, name)))
    if isinstance(node, ast.BoolExpr) and node.boolop != enums.BoolExprType.NOT_EXPR:
        node.args = tuple(sorted(node.args, key=_written))
    if _symmetric(node):
        sides = (node.lexpr, node.rexpr)
        node.lexpr, node.rexpr = sorted(sides, key=_written)
    return _asked_once(node)


def _symmetric(node: Any) -> bool:
    if not isinstance(node, ast.A_Expr) or node.kind != enums.A_Expr_Kind.AEXPR_OP or node.lexpr is None:
        return False
    return [name.sval for name in node.name] in (["="], ["<>"])


def _asked_once(node: Any) -> Any:
    """What `(select auth.uid() as uid)` asks for; anything else as it is."""
    if isinstance(node, ast.SubLink) and node.subLinkType == enums.SubLinkType.EXPR_SUBLINK:
        query = node.subselect
        values = list(query.targetList or [])
        bare = not (query.fromClause or query.whereClause or query.larg)
        if bare and len(values) == 1 and isinstance(values[0].val, ast.FuncCall):
            return values[0].val
    return node


def of_function(function: Function) -> Iterator[tuple[Weaker, ...]]:
    """Bodies without one of their conditions; of several, one is weaker, which one only trying can tell.

    Raises:
        ValueError: when it cannot be read.
    """
    body = function.body
    if function.language == "sql" and body.strip():
        yield from ((weaker,) for weaker in of_query(body))
    elif function.language == "plpgsql":
        for old, others in _of_plpgsql(function):
            if body.count(old) == 1:
                yield tuple(Weaker(body.replace(old, f" {new} "), lost) for new, lost in others)
    else:
        raise ValueError(f"{function.title} cannot be read")


def _of_plpgsql(function: Function) -> Iterator[tuple[str, tuple[Weaker, ...]]]:
    """A query of the body, and the same without one of its conditions, or without any."""
    arguments = ", ".join(f'"{given["name"]}" text' for given in function.inputs if given["name"])
    returns = "trigger" if function.returns == "trigger" else "setof record" if function.set else "text"
    head = f"create function f({arguments}) returns {returns} language plpgsql"
    try:
        told = parse_plpgsql(f"{head} as $probe${function.body}$probe$")
    except (ParseError, json.JSONDecodeError) as error:
        raise ValueError(f"it cannot be read: {error}") from None
    for query, place in _queries(told):
        if _STATEMENT.match(query):
            yield from ((query, (weaker,)) for weaker in _weaker(query))
        elif place == "cond" or (place == "PLpgSQL_stmt_return" and function.returns == "boolean"):
            found = list(_weaker(f"select ({query})", positive=place != "cond"))
            for weaker, lost in found:
                yield query, (Weaker(weaker[len("select ") :], lost),)
            if not found:
                whole = _shown(plainly(query))
                yield query, (Weaker("true", whole), Weaker("false", whole))


def _queries(told: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """What stands under ``query`` in what PL/pgSQL's parser says, and in what: an IF asks a ``cond``."""
    for key, value in told.items() if isinstance(told, dict) else (("", one) for one in told):
        if key == "query" and isinstance(value, str):
            yield value, place
        elif isinstance(value, dict | list) and key != "PLpgSQL_stmt_raise":
            inner = key if key == "cond" or key.startswith("PLpgSQL_stmt_") else place
            yield from _queries(value, "" if key.endswith("_body") else inner)


def _weaker(text: str, *, positive: bool = True) -> Iterator[Weaker]:
    try:
        statements = parse_sql(text)
    except ParseError as error:
        raise ValueError(f"it cannot be read: {error}") from None
    for place in [place for raw in statements for place in _places(raw.stmt, positive)]:
        for other, lost in place.others:
            told = _WAY * place.ways + _named(lost)
            place.set(other)
            yield Weaker("; ".join(_written(raw.stmt) for raw in statements), told)
        place.set(place.old)


def _named(condition: Any) -> str:
    """A condition in a line; what it asks for in subqueries are conditions of their own."""
    (raw,) = parse_sql(f"select ({_written(condition)})")
    _unasked(raw.stmt.targetList)
    return _shown(_written(_ordered(raw.stmt)))


def _unasked(node: Any) -> None:
    if isinstance(node, tuple | list):
        for one in node:
            _unasked(one)
    elif isinstance(node, ast.Node):
        if isinstance(node, ast.SelectStmt) and node.fromClause:
            node.whereClause = None
        for name in node:
            _unasked(getattr(node, name))


def _shown(plain: str) -> str:
    return plain.removeprefix("SELECT ")


def _places(node: Any, positive: bool, ways: int = 0) -> Iterator[_Place]:
    """Wherever a condition stands in ``node``, or a part of one.

    ``positive``: more is let through where more conditions are true; beneath a NOT it is the other way.
    ``ways`` counts where one of several conditions is enough.
    """
    if isinstance(node, tuple | list):
        for one in node:
            yield from _places(one, positive, ways)
    if not isinstance(node, ast.Node):
        return
    if isinstance(node, ast.BoolExpr) and node.boolop == enums.BoolExprType.NOT_EXPR:
        yield from _places(node.args, not positive, ways)
        return
    if _chain(node, positive):
        parts = node.args
        others = [(tuple(p for p in parts if p is not left), left) for left in parts]
        yield _Place(_setter(node, "args"), parts, others, ways)
    ways += _chain(node, not positive)
    for name in node:
        value = getattr(node, name)
        alone = name in _CONDITIONS or (
            isinstance(node, ast.ResTarget) and name == "val" and _boolean(value)
        )
        if alone and isinstance(value, ast.Node) and not _chain(value, positive):
            yield _Place(_setter(node, name), value, [(_constant(positive), value)], ways)
        yield from _places(value, positive, ways)


def _chain(node: Any, positive: bool) -> bool:
    """Whether it is several conditions of which one less lets more through."""
    wanted = enums.BoolExprType.AND_EXPR if positive else enums.BoolExprType.OR_EXPR
    return isinstance(node, ast.BoolExpr) and node.boolop == wanted


def _boolean(node: Any) -> bool:
    """Whether a value is surely true or false."""
    if isinstance(node, ast.SubLink):
        return node.subLinkType in (enums.SubLinkType.EXISTS_SUBLINK, enums.SubLinkType.ANY_SUBLINK)
    if isinstance(node, ast.A_Expr):
        signs = {str(name.sval) for name in node.name}
        return bool(signs & {"=", "<>", "<", ">", "<=", ">=", "~~"})
    return isinstance(node, ast.BoolExpr | ast.NullTest | ast.BooleanTest)


def _setter(node: Any, name: str) -> Callable[[Any], None]:
    return lambda value: setattr(node, name, value)


def _constant(value: bool) -> Any:
    return parse_sql(f"select {value}")[0].stmt.targetList[0].val
