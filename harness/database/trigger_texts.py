"""What the texts of rewrite rules and of triggers' functions say that they write, and where that leads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from harness.database.catalogue import Catalogue, Relation
from harness.database.rewrites import rewrite_title, rules_of

__all__ = ["Writer", "names_written", "reached", "writers"]

_WRITES = re.compile(
    r"\b(update|delete\s+from|insert\s+into|merge\s+into)\s+(?:only\s+)?((?:\"[^\"]+\"|[\w$]+)(?:\s*\.\s*(?:\"[^\"]+\"|[\w$]+))*)",
    re.I,
)
_DYNAMIC = re.compile(r"\bexecute\b", re.I)


@dataclass(frozen=True)
class Writer:
    """A rule, or a trigger's function, and the names of what it writes: by the verb it does it with.

    ``open``: it may write anything, as its text is put together when it runs, or cannot be read.
    """

    title: str
    writes: frozenset[tuple[str, str]]
    open: bool

    def does(self, verb: str, relation: Relation) -> bool:
        """Whether its text does ``verb`` to the relation."""
        return (verb, relation.name) in self.writes


def writers(catalogue: Catalogue, relation: Relation) -> list[Writer]:
    """The rules on ``relation``, then its triggers' functions, that write anything."""
    known: list[Writer] | None = catalogue.memo.get(("writers", relation.oid))
    if known is None:
        known = [w for w in _writers(catalogue, relation) if w.writes or w.open]
        catalogue.memo["writers", relation.oid] = known
    return known


def _writers(catalogue: Catalogue, relation: Relation) -> Iterator[Writer]:
    for rule in rules_of(catalogue, relation):
        yield Writer(
            rewrite_title(rule, relation), names_written(rule.definition.partition(" DO ")[2]), open=False
        )
    for oid in dict.fromkeys(t["function"] for t in catalogue.triggers_of(relation)):
        called = catalogue.called([oid])
        text = "\n".join(function.body for function in called)
        closed = any(f.language not in ("sql", "plpgsql") for f in called) or bool(_DYNAMIC.search(text))
        if called:
            yield Writer(
                f"function {catalogue.function_by_oid[oid].title}", names_written(text), open=closed
            )


def names_written(text: str) -> frozenset[tuple[str, str]]:
    """What a text writes, by its name, and the verb that it does it with: insert, update, delete, merge."""
    found = ((verb, name) for verb, name in _WRITES.findall(text))
    return frozenset(
        (verb.split()[0].lower(), re.split(r"\s*\.\s*", name)[-1].strip('"')) for verb, name in found
    )


def reached(catalogue: Catalogue, relation: Relation) -> set[int] | None:
    """oids of everything that a write of ``relation`` may show up in, views too; None: of anything."""
    key = ("reached", relation.oid)
    if key not in catalogue.memo:
        catalogue.memo[key] = _reached(catalogue, relation)
    found: set[int] | None = catalogue.memo[key]
    return found


def _reached(catalogue: Catalogue, relation: Relation) -> set[int] | None:
    seen: set[int] = set()
    open_ = [relation]
    while open_:
        one = open_.pop()
        for writer in writers(catalogue, one):
            if writer.open:
                return None
            names = {name for _, name in writer.writes}
            new = [r for r in catalogue.relations if r.name in names and r.oid not in seen]
            new += [
                catalogue.by_oid[oid] for r in new for oid in catalogue.reach(r) if oid in catalogue.by_oid
            ]
            new = [r for r in new if r.oid not in seen]
            seen |= {r.oid for r in new}
            open_ += new
    if not seen:
        return seen
    seen |= {r.oid for r in catalogue.relations if seen & {c.target for c in r.constraints if c.target}}
    views = {r.oid for r in catalogue.relations if r.kind == "v" and seen & catalogue.reach(r)}
    above = {oid for r in catalogue.relations if r.oid in seen for oid in catalogue.ancestors(r)}
    return seen | views | above
