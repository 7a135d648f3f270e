"""Values that a column takes, made up from its type, domain, enum, checks and partition bound."""

from __future__ import annotations

import itertools
import json
import random
import re
import uuid
from collections.abc import Iterator

from harness.database.catalogue import Catalogue, Column, Constraint, Relation
from harness.database.patterns import from_like, from_regex, patterns_in

__all__ = [
    "alternatives",
    "candidates",
    "constants",
    "constraint_called",
    "fresh",
    "partition_values",
    "plausible",
    "unique_columns",
]

_BY_BASE = {
    "json": "{}",
    "jsonb": "{}",
    "bytea": "\\x00",
    "xml": "<a/>",
    "tsvector": "a",
    "tsquery": "a",
    "point": "(0,0)",
    "line": "{1,1,1}",
    "lseg": "[(0,0),(1,1)]",
    "box": "(1,1),(0,0)",
    "path": "[(0,0),(1,1)]",
    "polygon": "((0,0),(0,1),(1,1))",
    "circle": "<(0,0),1>",
    "macaddr": "08:00:2b:01:02:03",
    "macaddr8": "08:00:2b:01:02:03:04:05",
    "int4range": "[1,2)",
    "int8range": "[1,2)",
    "numrange": "[1,2)",
    "daterange": "[2026-01-01,2026-01-02)",
    "tsrange": "[2026-01-01,2026-01-02)",
    "tstzrange": "[2026-01-01,2026-01-02)",
    "pg_lsn": "0/0",
    "ltree": "a",
    "hstore": "",
    "interval": "1 hour",
    "time": "12:00",
    "timetz": "12:00+00",
    "date": "2026-01-15",
}
_BY_CATEGORY = {"B": "false", "D": "2026-01-15 12:00:00+00", "A": "{}", "R": "empty", "I": "127.0.0.1"}
_POOL = (
    "a",
    "abc",
    "ABC",
    "Abc1",
    "a-b",
    "probe@probe.invalid",
    "https://probe.invalid",
    "+15555550100",
    "EUR",
    "en",
    "en-GB",
    "127.0.0.1",
    "1",
    "0",
    "10",
    "2026-01-15",
    "00000",
    "12345",
    "#000000",
    "1.0.0",
    "{}",
    "[]",
    '{"a": 1}',
)
_LITERAL = re.compile(r"'((?:[^']|'')*)'")
_ENDS = re.compile(r"(^|_)(ends?|until|expir\w*|valid_(to|till)|deadline|due)(_|$)", re.I)
_NUMBER = re.compile(r"(?<![\w'.])(-?\d+(?:\.\d+)?)(?![\w'.])")


def unique_columns(relation: Relation) -> set[str]:
    """Columns that are part of a primary key or a unique constraint."""
    return {name for c in relation.constraints if c.kind in ("p", "u") for name in c.columns}


def plausible(column: Column, mark: str, *, unique: bool = False) -> str:
    """A value of the column's type, as text; texts contain ``mark``."""
    if column.labels:
        return column.labels[0]
    if column.category == "S":
        return fresh(mark)[-column.length :] if column.length else fresh(mark)
    if column.category == "N":
        most = {"int2": 30_000, "numeric": 9}.get(column.base, 2_000_000_000)
        return str(random.randrange(most // 2, most)) if unique else "1"  # noqa: S311 - no secret
    if column.base in ("date", "timestamp", "timestamptz") and _ENDS.search(column.name):
        return "2100-01-15 12:00:00+00"  # what has expired proves nothing of what is still to be had
    if unique and column.category in ("D", "R") and column.base not in ("interval", "time", "timetz"):
        return _span(column) if column.category == "R" else _day()
    return _special(column) or _BY_BASE.get(column.base) or _BY_CATEGORY.get(column.category, "a")


def _day() -> str:
    """A day that hardly anything else is about."""
    return f"{random.randrange(2030, 2090)}-{random.randrange(1, 13):02}-{random.randrange(1, 28):02}"  # noqa: S311


def _span(column: Column) -> str:
    """A short range that hardly overlaps with another."""
    if column.base.startswith(("int", "num")):
        start = random.randrange(10**6, 10**9)  # noqa: S311 - no secret
        return f"[{start},{start + 1})"
    day = _day()
    return f"[{day},{day[:-2]}{int(day[-2:]) + 1:02})"


def _special(column: Column) -> str:
    """A value of a type whose size is part of it, or that must differ each time."""
    if column.base == "uuid":
        return str(uuid.uuid4())
    size = re.search(r"\((\d+)\)", column.type)
    if column.base == "vector" and size:
        return "[" + ",".join(["0"] * int(size[1])) + "]"
    if column.base in ("bit", "varbit"):
        return "0" * (int(size[1]) if size else 1)
    return ""


def fresh(mark: str) -> str:
    """A text that nobody else has; it contains ``mark``."""
    return f"probe-{mark}-{uuid.uuid4().hex[:6]}"


def constants(text: str) -> list[str]:
    """The literals of an SQL expression: quoted ones, then numbers."""
    quoted = [match.replace("''", "'") for match in _LITERAL.findall(text)]
    return list(dict.fromkeys((*quoted, *_NUMBER.findall(_LITERAL.sub("", text)))))


def candidates(
    catalogue: Catalogue, relation: Relation, constraint: str, datatype: str, owner: str, mark: str
) -> Iterator[dict[str, str | None]]:
    """Values to try after a check refused a row: by column, the likeliest first."""
    check = next((c for c in relation.constraints if c.name == constraint), None)
    linked = {name for c in relation.constraints if c.kind == "f" for name in c.columns}
    if check is not None:
        columns = [c for c in relation.columns if c.name in check.columns and not c.generated]
        yield from _without(columns)
        columns = [c for c in columns if c.name not in linked and c.base != "uuid"]
        texts = [
            c.text or ""
            for c in relation.constraints
            if c.kind == "c" and set(c.columns) & set(check.columns)
        ]
    else:
        columns = [
            c for c in relation.columns if c.domain and c.domain.rpartition(".")[2].strip('"') == datatype
        ]
        texts = [text for c in columns for text in catalogue.domains.get(c.domain or "") or ()]
    day = _day()
    pools = {c.name: list(dict.fromkeys(_pool(c, " ".join(texts), owner, mark, day))) for c in columns}
    for name, pool in pools.items():
        for value in pool:
            yield {name: value}
    for first, second in itertools.combinations(pools, 2):
        for one, other in itertools.product(pools[first][:12], pools[second][:12]):
            yield {first: one, second: other}


def _without(columns: list[Column]) -> Iterator[dict[str, str | None]]:
    """Nothing in some of the columns that may be empty: "exactly one of these"."""
    free = [c.name for c in columns if not c.not_null]
    if len(columns) > 1:
        for kept in (*free, None):
            if change := dict.fromkeys(name for name in free if name != kept):
                yield change


def alternatives(
    catalogue: Catalogue, relation: Relation, names: list[str], owner: str, mark: str
) -> Iterator[dict[str, str | None]]:
    """Other values for columns whose values somebody has already: at most a few dozen."""
    linked = {name for c in relation.constraints if c.kind == "f" for name in c.columns}
    columns = [c for n in names if (c := relation.column(n)) and n not in linked and not c.generated]
    pools = {}
    for column in columns:
        checks = [c.text or "" for c in relation.constraints if c.kind == "c" and column.name in c.columns]
        checks += catalogue.domains.get(column.domain or "") or []
        pools[column.name] = list(_pool(column, " ".join(checks), owner, mark, _day())) if checks else []
    for turn in range(48):
        change: dict[str, str | None] = {}
        for column in columns:
            pool = pools[column.name] or column.labels or []
            made = pool[turn] if turn < len(pool) else None
            if made is None and not pool:
                made = "false" if column.category == "B" else plausible(column, mark, unique=True)
            if made is not None:
                change[column.name] = made
        if change:
            yield change


def _pool(column: Column, text: str, owner: str, mark: str, day: str) -> Iterator[str]:
    found = constants(text)
    if column.labels:
        yield from column.labels
    elif column.category == "N":
        for value in found:
            if re.fullmatch(r"-?\d+(\.\d+)?", value):
                yield from (
                    value,
                    f"{float(value) + 1:g}",
                    f"{float(value) - 1:g}",
                    f"{float(value) / 2:g}",
                )
        yield from ("1", "0", "-1", "100")
    elif column.category == "D":
        yield from (f"{day} 08:00", f"{day} 09:00", "2026-01-01", "2026-06-01", "2100-01-01", "1990-01-01")
    elif column.base in ("json", "jsonb"):
        yield from _documents(found)
    elif column.category == "B":
        yield from ("true", "false")
    elif column.category == "A":
        yield from ("{}", "{1}", "{a}", f"{{{owner}}}")
        yield from (f'{{"{value}"}}' for value in found)
    elif column.category == "R":
        yield from (_span(column), "[1,2)", "[2026-01-01,2026-01-02)")
    else:
        yield from _from_patterns(text)
        lengths = [int(value) for value in found if value.isdigit() and 0 < int(value) <= 2000]
        yield from found
        yield from (
            f"{owner}/{fresh(mark)}.txt",
            fresh(mark),
            fresh(mark)[-6:],
            f"{fresh(mark)}@probe.invalid",
        )
        yield from (("a" * length) for length in lengths)
        yield from (("1" * length) for length in lengths)
        yield from (("A" * length) for length in lengths)
        yield from _POOL


_DRAWN = 60
"""Texts that are made for a pattern: where three of sixteen are free, they all miss once in 10^5 times."""


def _from_patterns(text: str) -> Iterator[str]:
    """Some texts for each pattern that the checks in ``text`` compare with, different each time."""
    for kind, pattern in patterns_in(text):
        made = from_like if kind == "like" else from_regex
        yield from dict.fromkeys(value for _ in range(_DRAWN) if (value := made(pattern)))


def _documents(found: list[str]) -> Iterator[str]:
    """JSON that has the keys which a check names."""
    values: tuple[object, ...] = (1, "a", {}, [])
    yield from (json.dumps(dict.fromkeys(found, value)) for value in values)
    yield from (json.dumps({key: value}) for key in found for value in (1, "a"))
    yield from ("{}", "[]")


def partition_values(catalogue: Catalogue, relation: Relation) -> Iterator[dict[str, str]]:
    """For each partition with a bound, values of the partition key that it takes."""
    parents = [catalogue.by_oid[oid] for oid in relation.parents if oid in catalogue.by_oid]
    if relation.partition and relation.bound and parents:
        for own in _bound(parents[0], relation.bound):
            for above in above_bounds(catalogue, parents[0]):
                yield above | own
    for child in catalogue.relations:
        if relation.oid in child.parents and child.partition and child.bound:
            for own in _bound(relation, child.bound):
                if child.kind == "p":
                    for deeper in partition_values(catalogue, child):
                        yield own | deeper
                yield own


def above_bounds(catalogue: Catalogue, relation: Relation) -> list[dict[str, str]]:
    """What the tables that ``relation`` is a part of ask of their keys; one empty answer for a root."""
    parents = [catalogue.by_oid[oid] for oid in relation.parents if oid in catalogue.by_oid]
    if not (relation.partition and relation.bound and parents):
        return [{}]
    found = [
        above | own
        for own in _bound(parents[0], relation.bound)
        for above in above_bounds(catalogue, parents[0])
    ]
    return found or above_bounds(catalogue, parents[0])


def _bound(parent: Relation, bound: str) -> Iterator[dict[str, str]]:
    key = re.search(r"\((.*)\)", parent.partition_key or "")
    names = [name.strip().strip('"') for name in key[1].split(",")] if key else []
    if bound.startswith("FOR VALUES FROM"):
        lower = bound.partition("(")[2].partition(") TO")[0]
        values = [value.strip().strip("'") for value in lower.split(", ")]
        pairs = dict(zip(names, values, strict=False))
        yield {name: value for name, value in pairs.items() if value not in ("MINVALUE", "MAXVALUE")}
    elif bound.startswith("FOR VALUES IN") and names:
        for value in constants(bound):
            yield {names[0]: value}


def constraint_called(relation: Relation, name: str | None) -> Constraint | None:
    """The constraint of that name."""
    return next((c for c in relation.constraints if c.name == name), None)
