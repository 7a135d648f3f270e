"""Values that a text of SQL wishes a column to have: what it compares, beyond it, and the opposite."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from harness.database.catalogue import Column, Relation
from harness.database.expressions import bare, split
from harness.database.mates import possible
from harness.database.patterns import from_regex
from harness.database.synthesise import constants, plausible

__all__ = ["combined", "documents", "mentioned", "moments", "pairs", "spans", "spells", "wishes"]

_STOP = re.compile(r"\b(AND|OR|SELECT|WHERE)\b", re.I)
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.I)
_ITEM = re.compile(r"[^,\"{}]+")
_ORDER = re.compile(r'(\w+)"? (<=?|>=?) "?(\w+)')
_LONGEST = 5_000
_SPELLS = ((30, 32), (-30, -28), (-1, 1), (-3, 10), (1, 3))
"""From and until when, in days from now: to come, over, now, long under way, at once."""
_MOST_COMBINED = 200
_MOST_PAIRED = 5


def moments(base: str) -> list[str]:
    """Long ago, lately, soon and never, of a type of dates: what is over did begin."""
    if base in ("time", "timetz", "interval"):
        return []
    now = datetime.now(UTC)
    near = [(now + timedelta(days=days)).isoformat(timespec="seconds") for days in (-2, 2)]
    return ["infinity", "-infinity", *near]


def spans(base: str) -> list[str]:
    """Ranges of dates that are over, and that are yet to come."""
    if base not in ("daterange", "tsrange", "tstzrange"):
        return []
    before, after = (moment.replace("T", " ") for moment in moments(base)[2:])
    return [f'(,"{before}")', f'("{after}",)']


def spells(base: str) -> list[str]:
    """Short ranges of dates that are over, that are now, and that are yet to come."""
    if base not in ("daterange", "tsrange", "tstzrange"):
        return []
    now = datetime.now(UTC)
    ends = [(now + timedelta(days=a), now + timedelta(days=b)) for a, b in _SPELLS]
    return [f"[{a:%Y-%m-%d %H:%M},{b:%Y-%m-%d %H:%M})" for a, b in ends]


def mentioned(name: str, text: str) -> bool:
    """Whether ``text`` speaks of the column."""
    return bool(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text))


def wishes(relation: Relation, row: dict[str, Any], text: str) -> Iterator[tuple[str, Any]]:
    """Columns of ``row``, each with a value that ``text`` would treat differently, as JSON has it."""
    linked = {n for c in relation.constraints if c.kind in ("p", "f") for n in c.columns}
    for column in relation.columns:
        if column.generated or column.name in relation.key or not mentioned(column.name, text):
            continue
        seen: list[Any] = []
        for value in _values(relation, column, row.get(column.name), text, linked=column.name in linked):
            if value not in seen:
                seen.append(value)
                yield column.name, value


def combined(relation: Relation, row: dict[str, Any], texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Changes of several columns at once: those that one alternative of a condition asks for together."""
    made = list(_in_order(relation, row, " ".join(texts)))
    for text in texts:
        for arm in _arms(text):
            pools: dict[str, list[Any]] = {}
            for name, value in wishes(relation, row, arm):
                if value is not None:
                    pools.setdefault(name, []).append(value)
            if len(pools) < 2:
                continue
            names = list(pools)[:4]
            # of dates all four: what was and is over has both of its ends in the past
            most = {c.name: 4 if c.category == "D" and len(names) < 4 else 2 for c in relation.columns}
            for values in itertools.product(*([*pools[n][: most[n]], row.get(n)] for n in names)):
                change = {n: v for n, v in zip(names, values, strict=True) if v != row.get(n)}
                if len(change) > 1 and change not in made:
                    made.append(change)
    yield from made[:_MOST_COMBINED]


def _in_order(relation: Relation, row: dict[str, Any], text: str) -> Iterator[dict[str, Any]]:
    """Dates with which another has to change: what begins later ends later still."""
    dates = {column.name for column in relation.columns if column.category == "D" and not column.generated}
    checks = [c.text or "" for c in relation.constraints if c.kind == "c"]
    for one, sign, other in (said for check in checks for said in _ORDER.findall(check)):
        before, after = (one, other) if sign.startswith("<") else (other, one)
        for name, value in wishes(relation, row, text) if {one, other} <= dates else ():
            if value is not None and name in (before, after):
                yield {name: value} | ({after: "infinity"} if name == before else {before: "-infinity"})


def pairs(relation: Relation, row: dict[str, Any], texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Any two columns: what one alternative does not ask for, another rule may forbid."""
    pools: dict[str, list[Any]] = {}
    for name, value in wishes(relation, row, " ".join(texts)):
        if value is not None:
            pools.setdefault(name, []).append(value)
    for one, other in itertools.combinations(list(pools)[:_MOST_PAIRED], 2):
        for a, b in itertools.product(pools[one][:3], pools[other][:3]):
            yield {one: a, other: b}


def _arms(text: str) -> Iterator[str]:
    text = bare(" ".join(text.split()))
    arms = split(text, " OR ")
    if len(arms) > 1:
        for arm in arms:
            yield from _arms(arm)
        return
    yield text
    for part in split(text, " AND "):
        if " OR " in part and part != text:
            yield from (text.replace(part, arm) for arm in split(bare(part), " OR "))


def _values(relation: Relation, column: Column, now: Any, text: str, *, linked: bool) -> Iterator[Any]:
    near = _near(column.name, text)
    if not column.not_null and now is not None:
        yield None
    if column.base == "uuid":
        yield from (value for value in near if _UUID.fullmatch(value) and not linked)
        return
    if linked:
        return
    if column.category == "B":
        yield not now
    elif column.category == "D":
        yield from moments(column.base)
    elif column.category == "R":
        yield from (*spells(column.base), "(,)", "empty", *spans(column.base))
    elif column.category == "N":
        numbers = [c for c in (*near, *possible(relation, column)) if _NUMBER.fullmatch(c)]
        yield from (v for n in numbers for v in (n, f"{float(n) + 1:g}", f"{float(n) - 1:g}"))
    elif column.base in ("json", "jsonb"):
        yield from _within(now, column.name, text)
    elif column.category == "A":
        yield from _lists(now, near)
    elif column.category in ("S", "E") or column.labels:
        yield from _texts(relation, column, now, text, near)
    if not column.not_null and now is None and column.category not in ("D", "B", "R") and not near:
        yield plausible(column, "variant")


def _lists(now: Any, near: list[str]) -> Iterator[list[str]]:
    """Each value by itself, and none of them: `roles && '{admin,owner}'` tells no editor from an owner."""
    named = [word for value in near for word in _ITEM.findall(value)]
    yield from ([word] for word in dict.fromkeys(named))
    if now and named:
        yield []


def _texts(relation: Relation, column: Column, now: Any, text: str, near: list[str]) -> Iterator[str]:
    around = " ".join(_around(column.name, text))
    if known := possible(relation, column):  # it takes nothing else
        yield from (value for value in known if value != now)
        return
    for value in near:
        if re.search(rf"(?<!~)~\*?\s*'{re.escape(value)}'", around):
            yield from filter(None, [from_regex(value)])
        elif not _NUMBER.fullmatch(value) and value != now:
            yield value.replace("%", "x")
    if re.search(r"length\(", around):
        for number in (int(v) for v in near if v.isdigit() and int(v) < _LONGEST):
            yield from ("a" * size for size in (number + 1, number, max(number - 1, 0)))


def _around(name: str, text: str) -> Iterator[str]:
    """What stands beside each mention of a column, up to the next AND or OR."""
    for match in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", text):
        after = _STOP.split(text[match.end() : match.end() + 160])[0]
        before = _STOP.split(text[max(0, match.start() - 60) : match.start()])[-1]
        yield before + " " + name + after if not constants(after) or "length(" in before else name + after


def _near(name: str, text: str) -> list[str]:
    """Literals that stand beside the column."""
    found: dict[str, None] = {}
    for around in _around(name, text):
        found |= dict.fromkeys(constants(around))
    return list(found)[:6]


def _within(now: Any, name: str, text: str) -> Iterator[Any]:
    """What is there, with what a text looks for; and with another answer where it looks for a yes."""
    there = now if isinstance(now, dict) else {}
    for document in documents(name, text):
        if not isinstance(document, dict):
            yield document
            continue
        yield there | document
        if any(value is True for value in document.values()):
            others: tuple[Any, ...] = (False, "no", [])
            yield from (there | dict.fromkeys(document, other) for other in others)


def documents(name: str, text: str) -> Iterator[Any]:
    """Documents that hold what a text looks for in one."""
    step = r"(?:\s*\)*\s*->>?\s*'[^']+'(?:::text)?)+"
    for path, value in re.findall(
        rf"(?<!\w){re.escape(name)}(?!\w)({step})\)*(?:::\w+)?\)*\s*(?:(?:=|~~\*?)\s*'([^']*)')?", text
    ):
        yield _nested(re.findall(r"'([^']+)'", path), value or True)
    for path, value in re.findall(
        rf"(?<!\w){re.escape(name)}(?!\w)\s*#>>?\s*'\{{([^}}]*)\}}'(?:::text\[\])?\)*(?:::\w+)?\)*\s*(?:=\s*'([^']*)')?",
        text,
    ):
        yield _nested(path.split(","), value or True)
    for key in re.findall(rf"(?<!\w){re.escape(name)}(?!\w)\s*\?[|&]?\s*'([^']+)'", text):
        yield {key: True}
    for document in re.findall(rf"(?<!\w){re.escape(name)}(?!\w)\s*@>\s*'([^']+)'", text):
        try:
            yield json.loads(document)
        except ValueError:
            continue


def _nested(path: list[str], value: Any) -> Any:
    for key in reversed(path):
        value = {key: value}
    return value
