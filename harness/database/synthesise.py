"""Values that a column takes, made up from its type, domain, enum, checks and partition bound."""

from __future__ import annotations

import itertools
import random
import re
import uuid
from collections.abc import Iterator

from harness.database.catalogue import Catalogue, Column, Constraint, Relation

__all__ = [
    "candidates",
    "constants",
    "fresh",
    "from_pattern",
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
    return _special(column) or _BY_BASE.get(column.base) or _BY_CATEGORY.get(column.category, "a")


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
) -> Iterator[dict[str, str]]:
    """Values to try after a check refused a row: by column, the likeliest first."""
    check = next((c for c in relation.constraints if c.name == constraint), None)
    if check is not None:
        linked = {name for c in relation.constraints if c.kind == "f" for name in c.columns}
        columns = [c for c in relation.columns if c.name in check.columns and not c.generated]
        columns = [c for c in columns if c.name not in linked and c.base != "uuid"] or columns
        texts = [check.text or ""]
    else:
        columns = [
            c for c in relation.columns if c.domain and c.domain.rpartition(".")[2].strip('"') == datatype
        ]
        texts = [text for c in columns for text in catalogue.domains.get(c.domain or "") or ()]
    pools = {c.name: list(_pool(c, " ".join(texts), owner, mark)) for c in columns}
    for name, pool in pools.items():
        for value in pool:
            yield {name: value}
    for first, second in itertools.combinations(pools, 2):
        for one, other in itertools.product(pools[first][:12], pools[second][:12]):
            yield {first: one, second: other}


def _pool(column: Column, text: str, owner: str, mark: str) -> Iterator[str]:
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
        yield from ("2026-01-01", "2026-06-01", "2100-01-01", "1990-01-01")
    elif column.category == "B":
        yield from ("true", "false")
    elif column.category == "A":
        yield from ("{}", "{1}", "{a}", f"{{{owner}}}")
        yield from (f'{{"{value}"}}' for value in found)
    elif column.category == "R":
        yield from ("[1,2)", "[2026-01-01,2026-01-02)")
    else:
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
        yield from from_pattern(found)
        yield from _POOL


def from_pattern(found: list[str]) -> Iterator[str]:
    """A text for each of the simple regular expressions among ``found``."""
    for pattern in found:
        if not pattern.startswith("^"):
            continue
        made = ""
        body = pattern.strip("^$")
        for part in re.findall(r"(\[[^\]]+\]|\\d|\\w|\\.|.)(\{(\d+)(?:,\d*)?\}|[+*?])?", body):
            unit, times, least = part
            sign = {"\\d": "1", "\\w": "a"}.get(unit, unit[-1])
            if unit.startswith("["):
                sign = next(iter(unit[1:].replace("^", "")), "a")
            made += sign * (int(least) if least else 0 if times in ("*", "?") else 1)
        yield made.replace("(", "").replace(")", "")


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
