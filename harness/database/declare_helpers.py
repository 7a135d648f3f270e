"""SQL helper functions written out where a policy calls them, as subqueries that say the same.

A condition that calls a helper would change its meaning together with the helper; written out, it
contradicts what the helper becomes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from harness.database.catalogue import Catalogue, Function, Relation, quoted
from harness.database.declare_subqueries import NO_ALIAS
from harness.database.expressions import calls, closing, outside, split
from harness.database.static_functions import MANAGED

__all__ = ["Seen", "as_owner", "written_out"]

Seen = Callable[[Function, str, Callable[[str], str]], str]
"""The body of a function as its caller sees it, once the last argument has given it its arguments."""

_DEPTH = 4
"""Helpers call helpers."""
_COMMENT = re.compile(r"('(?:[^']|'')*')|--[^\n]*|/\*.*?\*/", re.S)
_GUARD = r"if\s([^;]*?)\sthen\s+return\s([^;]+);\s*end\s+if\s*;\s*"
_RETURN = re.compile(rf"(?:begin\s+)?((?:{_GUARD})*)return\s+(query\s+)?([^;]+?)\s*(?:;\s*end)?", re.I)
_ATOMIC = re.compile(r"begin\s+atomic\s+(select\b[^;]*);\s*end", re.I)
_TABLE = re.compile(r'\b(from|join)(\s+(?:only\s+)?\(*)("(?:[^"]|"")+"|\w+)(?!\s*[.(]|\w)', re.I)
_CALLED = re.compile(r'(?<![."\w])("(?:[^"]|"")+"|\w+)\(')
_NAME = r'(?:"(?:[^"]|"")+"|\w+)'
_NAMED = re.compile(
    rf"(?:\b(?:from|join)\s+(?:only\s+)?\(*|,\s*)({_NAME}(?:\.{_NAME})?)"
    rf"(?:\s+(?:as\s+)?(?!(?:{NO_ALIAS})\b)({_NAME}))?",
    re.I,
)


def written_out(catalogue: Catalogue, relation: Relation, text: str, seen: Seen) -> str:
    """``text``, a condition of ``relation``, with the helpers that it calls written out."""
    for _ in range(_DEPTH):
        before = text
        for function in catalogue.functions:
            if function.name not in text:
                continue
            key = ("query", function.oid)
            if key not in catalogue.memo:
                catalogue.memo[key] = _query(catalogue, function)
            if (query := catalogue.memo[key]) is not None:
                text = _each(catalogue, relation, text, _Helper(function, query, seen))
        if text == before:
            break
    return text


def as_owner(_: Function, query: str, given: Callable[[str], str]) -> str:
    """What a function reads, as one sees it who may see everything."""
    return given(query)


@dataclass(frozen=True)
class _Helper:
    """A function that is one query."""

    function: Function
    query: str
    seen: Seen

    def called(self, relation: Relation, columns: set[str], arguments: list[str]) -> str:
        """The query with ``arguments``, which are written as in a condition of ``relation``.

        ``columns`` are those of every table that the query reads.
        """
        inputs = self.function.inputs
        names = {str(given["name"]) for given in inputs} - {""}
        qualified = any(re.search(rf"\b{re.escape(self.function.name)}\.{n}\b", self.query) for n in names)
        hides = relation.name in _aliases(self.query)
        if names & columns or qualified or hides:  # what a name means depends on where it stands
            return self.seen(self.function, self.query, lambda query: self._aside(query, arguments))
        return self.seen(self.function, self.query, lambda query: self._in_place(query, arguments))

    def _in_place(self, query: str, arguments: list[str]) -> str:
        for index, (given, value) in enumerate(zip(self.function.inputs, arguments, strict=True), 1):
            query = re.sub(rf"\${index}(?!\d)", _literally(value), query)
            if given["name"]:
                query = re.sub(rf"(?<![.\w]){re.escape(given['name'])}(?![\w(])", _literally(value), query)
        return query

    def _aside(self, query: str, arguments: list[str]) -> str:
        """The arguments as columns of a row around the query, whose own columns come first, as in it."""
        row = []
        for index, (given, value) in enumerate(zip(self.function.inputs, arguments, strict=True), 1):
            name = given["name"] or f"argument_{index}"
            query = re.sub(rf"\${index}(?!\d)", f"{self.function.name}.{quoted(name)}", query)
            row.append(f"({value})::{given['type']} as {quoted(name)}")
        around = f"(select {', '.join(row)}) {quoted(self.function.name)}"
        if self.function.set:
            return f"select given.* from {around}, lateral ({query}) given"
        return f"select ({query}) from {around}"


def _each(catalogue: Catalogue, relation: Relation, text: str, helper: _Helper) -> str:
    function = helper.function
    for call in dict.fromkeys(calls(text, function.name)):
        title = call[: call.index("(")]
        schema = title.rpartition(".")[0].strip('"') or "public"
        given = _arguments(function, call[len(title) + 1 : -1])
        if schema != function.schema or given is None or _overloaded(catalogue, function, len(given)):
            continue
        columns = {c.name for r in _read_by(catalogue, helper.query) for c in r.columns}
        written = f"({helper.called(relation, columns, [_correlated(relation, one) for one in given])})"
        text = _put(text, call, written, function)
    return text


def _put(text: str, call: str, written: str, function: Function) -> str:
    if not function.set:
        # ANY of a bare subquery would compare with its rows
        typed = f"({written}::{function.returns})" if function.returns.endswith("[]") else written
        return text.replace(call, typed)
    here = re.escape(call)
    listed = rf"\bselect\s+{here}(?:\s+as\s+(\w+|\"[^\"]+\"))?(?=\s*\))"
    text = re.sub(listed, lambda _: f"SELECT * FROM {written} {quoted(function.name)}", text, flags=re.I)
    read = rf"(\b(?:from|join|lateral)\s+\(*){here}(\s+(?:as\s+)?(?!(?:{NO_ALIAS})\b)[\w\"])?"
    alias = f" {quoted(function.name)}"
    return re.sub(read, lambda found: f"{found[1]}{written}{found[2] or alias}", text, flags=re.I)


def _query(catalogue: Catalogue, function: Function) -> str | None:
    """The one query that the function is, on one line; nothing, when it is more."""
    if function.schema in MANAGED or function.extension or function.language not in ("sql", "plpgsql"):
        return None
    if "variadic" in function.arguments.lower():
        return None
    body = " ".join(_COMMENT.sub(lambda found: found[1] or " ", function.body).split()).rstrip("; ")
    if returned := _RETURN.fullmatch(body):
        body = _returned(returned[1], returned[5], rows=returned[4] is not None)
    elif atomic := _ATOMIC.fullmatch(body):
        body = atomic[1]
    elif function.language != "sql":
        return None
    if not body.lower().startswith("select") or ";" in outside(body):
        return None
    return _resolved(catalogue, function, body)


def _returned(guards: str, last: str, *, rows: bool) -> str:
    """What PL/pgSQL returns, at once or after it has returned something else in some cases, as a query."""
    cases = [f"when {asked} then {then}" for asked, then in re.findall(_GUARD, guards, re.I)]
    if rows:
        return "" if cases else last
    return f"select case {' '.join(cases)} else {last} end" if cases else f"select {last}"


def _resolved(catalogue: Catalogue, function: Function, body: str) -> str:
    """The names of tables and functions with the schema in which the function finds them."""
    path = next((s.partition("=")[2] for s in function.settings if s.startswith("search_path=")), "public")
    schemas = [part.strip().strip('"') for part in path.split(",")]
    tables = {(r.schema, r.name) for r in catalogue.relations}
    functions = {(f.schema, f.name) for f in catalogue.functions if not f.extension}

    def qualified(known: set[tuple[str, str]], name: str) -> str:
        schema = next((schema for schema in schemas if (schema, _plain(name)) in known), None)
        return f"{quoted(schema)}.{name}" if schema else name

    body = _TABLE.sub(lambda found: f"{found[1]}{found[2]}{qualified(tables, found[3])}", body)
    return _CALLED.sub(lambda found: qualified(functions, found[1]) + "(", body)


def _arguments(function: Function, text: str) -> list[str] | None:
    """What each parameter is given, defaults included; nothing, when the call is of another function."""
    given: dict[str, str] = {}
    for index, argument in enumerate(one.strip() for one in split(text, ",") if one.strip()):
        name, arrow, value = argument.partition(" => ")
        if index >= len(function.inputs):
            return None
        named = re.fullmatch(r"\w+", name) and arrow
        given[name if named else str(function.inputs[index]["name"] or index)] = (
            value if named else argument
        )
    values = [
        given.get(str(one["name"] or index), one["default"]) for index, one in enumerate(function.inputs)
    ]
    return None if None in values else [str(value) for value in values]


def _overloaded(catalogue: Catalogue, function: Function, count: int) -> bool:
    """Whether another function of that name takes as many: only the database knows which is meant."""
    return any(
        other.oid != function.oid
        and (other.schema, other.name) == (function.schema, function.name)
        and len(other.inputs) >= count >= sum(not one["optional"] for one in other.inputs)
        for other in catalogue.functions
    )


def _read_by(catalogue: Catalogue, query: str) -> Iterator[Relation]:
    names = {_plain(match[1].rpartition(".")[2]) for match in _NAMED.finditer(query)}
    return (relation for relation in catalogue.relations if relation.name in names)


def _aliases(query: str) -> set[str]:
    """What the query calls the tables that it reads."""
    return {_plain(match[2] or match[1].rpartition(".")[2]) for match in _NAMED.finditer(query)}


def _plain(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()


def _literally(value: str) -> Callable[[re.Match[str]], str]:
    """As a replacement in which no backslash means anything."""
    return lambda _: f"({value})"


def _correlated(relation: Relation, expression: str) -> str:
    """An argument with the relation's columns named in full; what stands in a subquery is so already."""
    found = re.search(r"\(\s*select\b", expression, re.I)
    if found is not None:
        end = found.start() + closing(expression[found.start() :]) + 1
        before, after = expression[: found.start()], expression[end:]
        return (
            _correlated(relation, before) + expression[found.start() : end] + _correlated(relation, after)
        )
    alias = '"' + relation.name.replace('"', '""') + '"'
    for column in relation.columns:
        written = re.escape(quoted(column.name))  # as the database writes it
        named = f"{alias}.{column.sql}".replace("\\", r"\\")
        expression = re.sub(rf"(?<![.\w'\"]){written}(?![\w('\"])", named, expression)
    return expression
