"""Views, tried as others: does anything of A's come out?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.database.oracle import Actor, Subject, literal
from harness.database.planted import World
from harness.database.prober import Prober
from harness.database.sightings import Sighting

__all__ = ["foreign_marks", "marks", "view"]

_ROWS = 50


def marks(world: World) -> list[str]:
    """Texts that give a row away as one of this user's: ids and made-up texts."""
    found: dict[str, None] = {world.user: None}
    for planted in world.rows.values():
        for value in planted.data.values():
            if isinstance(value, str) and (len(value) == 36 or "probe-" in value):
                found[value] = None
            elif isinstance(value, int) and value >= 10**8:
                found[str(value)] = None
    return list(found)


def foreign_marks(prober: Prober, actor: Actor) -> list[str]:
    """Those of A that are not the actor's own as well, as the id of a group that both belong to is."""
    world = next((w for w in prober.worlds.values() if w.actor.name == actor.name), None)
    own = set(marks(world)) if world else set()
    return [mark for mark in marks(prober.worlds["A"]) if mark not in own]


def view(prober: Prober, subject: Subject) -> Iterator[Sighting]:
    """Rows of A that come through a view: who else sees them, and does A?"""
    relation = subject.relation
    owner = prober.worlds["A"].actor
    usage = prober.catalogue.schemas[relation.schema]["usage"]
    for actor in [owner, *prober.intruders]:
        if actor.role in usage and "SELECT" in relation.privileges.get(actor.role, ()):
            yield from _through(prober, subject, actor)
        elif actor is owner and prober.expected(subject, actor, {})["SELECT"]:
            yield _sighting("missing-access", subject, actor, {}, "no privilege")


def _through(prober: Prober, subject: Subject, actor: Actor) -> Iterator[Sighting]:
    """What ``actor`` sees of A through a view that they may ask."""
    relation, owner = subject.relation, prober.worlds["A"].actor
    mine = marks(prober.worlds["A"]) if actor is owner else foreign_marks(prober, actor)
    wanted = " or ".join(f"strpos(to_jsonb(v)::text, {literal(mark)}) > 0" for mark in mine)
    query = f"select to_jsonb(v) from {relation.sql} v where {wanted} limit {_ROWS}"
    outcome = prober.session.attempt(actor, query)
    if outcome.policy_error or (actor is owner and outcome.refused):
        kind = "policy-error" if outcome.policy_error else "missing-access"
        yield _sighting(kind, subject, actor, {}, f"{outcome.message} [{outcome.sqlstate}]")
    if actor is owner:
        return
    for (row,) in outcome.result:
        if not prober.expected(subject, actor, row)["SELECT"]:
            shown = str({k: str(v)[:40] for k, v in list(row.items())[:3]})
            yield _sighting("foreign-read", subject, actor, row, f"saw {shown} of user A")
            return


def _sighting(kind: str, subject: Subject, actor: Actor, row: dict[str, Any], saw: str) -> Sighting:
    return Sighting(kind, subject, actor, "SELECT", row, f"select from {subject.relation.title}", saw)
