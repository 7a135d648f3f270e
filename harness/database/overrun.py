"""Planted rows that are gone because other rows were planted: something removes what is another's.

What is concluded of a row that is not there any more would be wrong, so it is taken out of its world.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.database.catalogue import Catalogue
from harness.database.findings import Found, Gap
from harness.database.oracle import Subject
from harness.database.planted import Planted, World
from harness.database.trigger_texts import writers

__all__ = ["overrun"]


def overrun(
    catalogue: Catalogue, gone: list[tuple[World, tuple[int, str]]], known: list[Subject]
) -> Iterator[Found | Gap]:
    """Who removed the rows that are gone; that they are, where nobody says so."""
    seen: set[str] = set()
    oids = {key[0] for _, key in gone}
    for world, key in gone:
        planted = world.rows.pop(key)
        title = planted.relation.title
        if title in seen or oids & {c.target for c in planted.relation.constraints if c.kind == "f"}:
            continue  # said already, or gone with what it refers to
        seen.add(title)
        who = [
            (writer.title, subject)
            for subject in known
            if subject.relation.oid != planted.relation.oid
            for writer in writers(catalogue, subject.relation)
            if writer.does("delete", planted.relation)
        ]
        if who:
            yield _found(*who[0], planted)
        else:
            yield Gap(title, "its planted rows are gone: a trigger removed them, or moved them elsewhere")


def _found(culprit: str, subject: Subject, planted: Planted) -> Found:
    rule = "rule-escalates" if culprit.startswith("rule ") else "trigger-escalates"
    return Found(
        rule,
        culprit,
        f"a row of {subject.title} takes rows of {planted.relation.title} away",
        "what callers write changes nothing that they may not change",
        "-- let it look at whose rows it changes",
        (),
        subject.title,
        (f"insert into {subject.title}: the row of another user in {planted.relation.title} was gone",),
    )
