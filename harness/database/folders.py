"""In which folder a file of a user's lies: of their id, their group's, or that of a row of theirs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import psycopg

from harness.database.mentions import tables_in
from harness.database.oracle import Subject, predicate, record
from harness.database.planted import CannotPlant, World, as_text
from harness.database.session import raise_if_lost
from harness.database.static_functions import MANAGED
from harness.database.synthesise import constants

if TYPE_CHECKING:
    from harness.database.worlds import Planter

__all__ = ["folder_of"]

_MOST_IDS = 8
_READS_PATH = re.compile(r"foldername|split_part|path_tokens|\bname\b", re.I)
_WORD = re.compile(r"[A-Za-z][\w-]{1,30}")


def folder_of(planter: Planter, world: World, subject: Subject) -> str:
    """The folder for a file of ``world``: the first of which its rules let its user do something."""
    for rule in subject.rules:
        membership = planter.declaration.memberships.get(rule.of or "")
        if rule.by == "folder" and membership and rule.who == "members":
            relation = planter.catalogue.by_title.get(membership.table)
            if relation is not None:
                return as_text(planter.ensure(world, relation).data[membership.group])
    text = " ".join(f"{rule.where or ''} {rule.check or ''}" for rule in subject.rules)
    if any(rule.by == "folder" for rule in subject.rules) or not _READS_PATH.search(text):
        return world.user
    fitting = (
        path for path in _paths(planter, world, subject, text) if _lets(planter, world, subject, path)
    )
    return next(fitting, world.user)


def _paths(planter: Planter, world: World, subject: Subject, text: str) -> Iterator[str]:
    ids = list(itertools.islice(_ids(planter, world, text), _MOST_IDS))
    words = [w for w in dict.fromkeys(constants(text)) if _WORD.fullmatch(w) and w != subject.bucket]
    yield from (world.user, *ids)
    for one in (world.user, *ids):
        yield from (f"{before}/{one}" for before in ("probe", world.user, *words[:3]) if before != one)
        yield from (f"{one}/{within}" for within in (world.user, *words[:3]) if within != one)


def _ids(planter: Planter, world: World, text: str) -> Iterator[str]:
    """What the token says; keys of the rows that ``text`` reads, and of what those lead to."""
    yield from world.told.values()
    titles = tables_in(planter.catalogue, text)
    found = (r for r in planter.catalogue.relations if r.title in titles and r.schema not in MANAGED)
    seen: set[str] = set()
    for relation in sorted(found, key=lambda r: text.find(r.title)):
        try:
            data = planter.ensure(world, relation).data
        except CannotPlant:
            continue
        linked = [n for c in relation.constraints if c.kind == "f" for n in c.columns]
        for name in dict.fromkeys((*relation.key, *linked)):
            if data.get(name) is not None and (one := as_text(data[name])) not in seen:
                seen.add(one)
                yield one


def _lets(planter: Planter, world: World, subject: Subject, folder: str) -> bool:
    """Whether a rule lets the world's user, who acts, do something with a file in ``folder``."""
    row = {"bucket_id": subject.bucket or "", "name": f"{folder}/probe.txt"}
    rules = [
        f"({predicate(subject, rule, planter.declaration, world.actor, new='insert' in rule.may)})"
        for rule in subject.rules
        if _READS_PATH.search(f"{rule.where or ''} {rule.check or ''}")
    ]
    query = f"select coalesce({' or '.join(rules) or 'false'}, false) from {record(subject.relation, row)}"
    try:
        with planter.connection.transaction():
            answer = planter.connection.execute(query.encode()).fetchone()
    except psycopg.Error as error:  # a folder that is no uuid, say
        raise_if_lost(error)
        return False
    return bool(answer and answer[0])
