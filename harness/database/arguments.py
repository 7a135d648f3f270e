"""Ways to call a function: each argument takes A's ids, names, numbers and documents in turn."""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

from harness.database.catalogue import Function
from harness.database.mates import possible
from harness.database.oracle import Actor, literal
from harness.database.parts import groups
from harness.database.prober_base import ProberBase
from harness.database.prober_views import marks
from harness.database.synthesise import unique_columns

__all__ = ["argument_values", "arguments", "own_arguments"]

_MOST = 60
_MOST_OWN = 6
_MOST_DATES = 2
_NUMBERS = ("bigint", "integer", "smallint", "numeric", "real", "double precision")
_UUID = 36
"""Signs of one."""
_LISTED = re.compile(r"\bjsonb?_(?:array_elements|to_recordset|populate_recordset)\b")
_DATES = ("1990-01-01", "2100-01-01")


def arguments(
    prober: ProberBase, function: Function, actor: Actor, secret: set[str]
) -> Iterator[list[str]]:
    """Argument lists, as SQL; none holds one of A's secrets."""
    for way in argument_values(prober, function, actor, secret):
        yield [_sql(value, given) for given, value in way]


def own_arguments(prober: ProberBase, function: Function, actor: Actor) -> Iterator[list[str]]:
    """Argument lists about what is the actor's own: the answer may hold more than that."""
    world = next((w for w in prober.worlds.values() if w.actor.name == actor.name), None)
    if world is None or world is prober.worlds["A"]:
        return
    theirs = copy.copy(prober)
    theirs.worlds = {**prober.worlds, "A": world}
    yield from itertools.islice(arguments(theirs, function, actor, set()), _MOST_OWN)


def argument_values(
    prober: ProberBase, function: Function, actor: Actor, secret: set[str]
) -> Iterator[list[tuple[dict[str, Any], str | None]]]:
    """The same, as inputs (see Function) and what each is given."""
    required = [given for given in function.inputs if not given["optional"]]
    ways = [required, function.inputs] if len(required) < len(function.inputs) else [required]
    for inputs in ways:
        if not inputs:
            yield []
            continue
        dates = [i for i, given in enumerate(inputs) if given["category"] == "D"]
        pools = []
        for index, given in enumerate(inputs):
            pool = _pool(prober, function, actor, given, secret)
            if given["category"] == "D" and len(dates) > 1:
                pool = [_DATES[min(dates.index(index), 1)]]
            pools.append(list(dict.fromkeys(pool)) or [None])
        yield from (list(zip(inputs, values, strict=True)) for values in _lists(pools))


def _lists(pools: list[list[str | None]]) -> Iterator[tuple[str | None, ...]]:
    """Everything against everything, the likeliest first, up to a limit."""
    most = {1: 60, 2: 12, 3: 6}.get(len(pools), 3)
    together = [tuple(pool[min(i, len(pool) - 1)] for pool in pools) for i in range(max(map(len, pools)))]
    places = itertools.product(*(range(min(len(pool), most)) for pool in pools))
    crossed = (
        tuple(pool[i] for pool, i in zip(pools, place, strict=True)) for place in sorted(places, key=sum)
    )
    yield from itertools.islice(dict.fromkeys((*together[:20], *crossed)), _MOST)


def _pool(
    prober: ProberBase, function: Function, actor: Actor, given: dict[str, Any], secret: set[str]
) -> list[str | None]:
    """Values of one argument."""
    kind, category = given["type"], given["category"]
    if given["labels"]:
        return list(given["labels"])
    ids = _ids(prober, secret)
    # beside an id, a text is more likely a role than a name
    roles = _roles(prober) if any(i["type"] == "uuid" for i in function.inputs) else []
    own: list[str] = [actor.user] if actor.user else []
    own += list(map(str, groups(prober, actor).values()))  # where another's row would be moved to
    numbers = [one for one in own if one.isdigit()]
    made: dict[str, list[str | None]] = {
        "number": [*_numbers(prober), *numbers, "1", "-1", "100"],
        "uuid": [*ids[:2], *(one for one in own if len(one) == _UUID), *ids[2:], None],
        "document": [*_documents(prober, function), "{}"],
        "S": [*roles, *_texts(prober, secret), *ids[:4], "%", "", "a"],
        "A": [*_lists_of(prober, actor, ids if kind == "uuid[]" else _texts(prober, secret)), "{}", None],
        "R": ["(,)", "empty", None],
        "C": list(_records(prober, kind, actor)),
        "B": ["true", "false"],
        "D": [*_dates(prober), "2026-01-15"],
        "T": ["1 hour"],
    }
    special = {"uuid": "uuid", "json": "document", "jsonb": "document"} | dict.fromkeys(_NUMBERS, "number")
    return made.get(special.get(kind, category), [None])


def _lists_of(prober: ProberBase, actor: Actor, items: list[str]) -> Iterator[str]:
    """Lists of A's: one each, and one behind the caller's own, which may be all that is looked at."""
    yield from ("{" + json.dumps(item) + "}" for item in items)
    world = next((w for w in prober.worlds.values() if w.actor.name == actor.name), None)
    own = [mark for mark in marks(world) if len(mark) == 36][:6] if world else []
    yield from (f"{{{json.dumps(mine)},{json.dumps(item)}}}" for item in items[:8] for mine in own)


def _records(prober: ProberBase, kind: str, actor: Actor) -> Iterator[str]:
    """Rows of the type: A's key alone, and with the caller as its owner."""
    for planted in prober.worlds["A"].rows.values():
        if kind.replace('"', "") not in (planted.relation.title.replace('"', ""), planted.relation.name):
            continue
        key = {name: planted.data.get(name) for name in planted.relation.key}
        users = [n for n, value in planted.data.items() if value == prober.worlds["A"].user]
        yield json.dumps(key | dict.fromkeys((n for n in users if n not in key), actor.user))
        yield json.dumps(key)


def _ids(prober: ProberBase, secret: set[str]) -> list[str]:
    """A's ids: the user, the groups, then everything else."""
    world = prober.worlds["A"]
    groups = [
        str(there.data[m.group])
        for m in prober.declaration.memberships.values()
        if (relation := prober.catalogue.by_title.get(m.table))
        and (there := world.rows.get((relation.oid, "")))
    ]
    found = [world.user, *groups, *marks(world)]
    return [mark for mark in dict.fromkeys(found) if len(mark) == 36 and mark not in secret][:40]


def _numbers(prober: ProberBase) -> list[str]:
    found = [
        str(value)
        for planted in prober.worlds["A"].rows.values()
        for name, value in planted.data.items()
        if name in planted.relation.key and isinstance(value, int)
    ]
    return list(dict.fromkeys(found))[:8]


def _dates(prober: ProberBase) -> list[str]:
    """Dates of A's, and at which ranges of A's begin: what is asked about a month may be of that one."""
    found = [
        date
        for planted in prober.worlds["A"].rows.values()
        for column in planted.relation.columns
        if column.category in "DR" and not column.default
        for date in re.findall(r"\d{4}-\d\d-\d\d", str(planted.data.get(column.name) or ""))[:1]
    ]
    return list(dict.fromkeys(found))[:_MOST_DATES]


def _texts(prober: ProberBase, secret: set[str]) -> list[str]:
    """A's addresses and names."""
    world = prober.worlds["A"]
    found = [m for m in marks(world) if "probe-" in m and m not in secret and "/" not in m]
    found += [  # what a row is found by, whoever made it up
        str(planted.data[name])
        for planted in world.rows.values()
        for name in unique_columns(planted.relation)
        if isinstance(planted.data.get(name), str) and len(planted.data[name]) not in (0, 36)
    ]
    found = [text for text in found if text not in secret]
    return sorted(dict.fromkeys(found), key=lambda mark: "@" not in mark)[:12]


def _roles(prober: ProberBase) -> list[str]:
    """The roles that somebody may give themselves, or take from another."""
    found: list[str] = []
    for membership in prober.declaration.memberships.values():
        relation = prober.catalogue.by_title.get(membership.table)
        column = relation.column(membership.role or "") if relation else None
        found += possible(relation, column) if relation and column else []
    return list(dict.fromkeys(reversed(found)))[:3]


def _documents(prober: ProberBase, function: Function) -> list[str]:
    """Documents with the keys that the function asks for, as they are in a row of A's."""
    keys = list(dict.fromkeys(re.findall(r"->>?\s*'([^']+)'", function.body)))
    found = [json.dumps(dict.fromkeys(keys, "probe"))] if keys else []
    for planted in prober.worlds["A"].rows.values():
        known = {key: planted.data[key] for key in keys if planted.data.get(key) is not None}
        if known:
            found.append(json.dumps(dict.fromkeys(keys, "probe") | known))
            found += [json.dumps(dict.fromkeys(keys, "probe") | {k: v}) for k, v in known.items()]
            found += [json.dumps(known)] if len(known) < len(keys) else []
            found += [json.dumps({key: value}) for key, value in known.items() if len(known) > 1]
    found = list(dict.fromkeys(found))[:12]
    if _LISTED.search(function.body):
        return [f"[{document}]" for document in found] + found[:2]
    return found


def _sql(value: str | None, given: dict[str, Any]) -> str:
    if value is not None and given["category"] == "C" and not given["labels"]:
        return f"jsonb_populate_record(null::{given['type']}, {literal(value)}::jsonb)"
    return f"{literal(value)}::{given['type']}"
