"""Of all that was found, the causes: one finding a culprit, without what merely follows from another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from harness.database.catalogue import Catalogue, Policy, Relation
from harness.database.findings import Found
from harness.database.sightings import Sighting

__all__ = ["at_fault", "gathered", "policy_title", "without_consequences"]

_ORDER = ("foreign-read", "foreign-update", "foreign-delete", "forged-insert", "owner-reassigned")


def policy_title(policy: Policy, relation: Relation) -> str:
    """As SQL names a policy."""
    return f'policy "{policy.name}" on {relation.title}'


@dataclass
class _Case:
    """A finding with everything that it lets happen, and where."""

    found: Found
    kinds: set[str]
    tables: set[str]


def gathered(pairs: list[tuple[Found, Sighting]]) -> list[_Case]:
    """One finding for each culprit: the worst of what it lets happen, with all roles and proofs."""
    kept: dict[Any, _Case] = {}
    for found, sighting in pairs:
        apart = found.rule if found.rule in ("missing-access", "policy-error", "trigger-escalates") else ""
        case = kept.get((found.object, apart))
        if case is None:
            kept[found.object, apart] = _Case(found, {sighting.kind}, {found.table})
            continue
        worse, lesser = (found, case.found) if _rank(found) < _rank(case.found) else (case.found, found)
        case.kinds.add(sighting.kind)
        case.tables.add(found.table)
        case.found = replace(
            worse,
            roles=tuple(dict.fromkeys(worse.roles + lesser.roles)),
            proofs=tuple(dict.fromkeys(worse.proofs + lesser.proofs)),
        )
    return list(kept.values())


def _rank(found: Found) -> int:
    return _ORDER.index(found.rule) if found.rule in _ORDER else -1


def without_consequences(catalogue: Catalogue, cases: list[_Case]) -> list[Found]:
    """Leave out what only happens because something that it reads is open (or closed) itself."""
    opened = {table for case in cases if "foreign-read" in case.kinds for table in case.tables}
    missing = [case.found for case in cases if case.found.rule == "missing-access"]
    unseen = {one.table for one in missing if one.object.endswith(", SELECT") or _of_function(one)}
    guilty = {case.found.object for case in cases if case.found.rule in _ORDER}
    kept = []
    for case in cases:
        found = case.found
        if guilty & _rests_on(catalogue, found) or opened & _read_by(catalogue, found):
            continue
        if found in missing and not _of_function(found) and _follows(found, unseen, catalogue):
            continue
        extra = sorted(case.kinds - {found.rule, "missing-access", "policy-error"})
        more = f"; also {', '.join(extra)}" if extra and found.rule in _ORDER else ""
        kept.append(replace(found, what=found.what + more))
    return kept


def _of_function(found: Found) -> bool:
    return found.object.startswith("function ")


def _read_by(catalogue: Catalogue, found: Found) -> set[str]:
    """The other tables that a policy reads, or that a view with its caller's rights does."""
    read: set[int] = set()
    for policy in catalogue.policies:
        on = catalogue.by_oid.get(policy.relation)
        if on is not None and policy_title(policy, on) == found.object:
            read |= set(policy.relations) - {on.oid}
    relation = catalogue.by_title.get(found.table)
    if relation is not None and relation.kind == "v" and relation.invoker:
        read |= catalogue.reach(relation)
    return {catalogue.by_oid[oid].title for oid in read if oid in catalogue.by_oid}


def _rests_on(catalogue: Catalogue, found: Found) -> set[str]:
    """The functions that a policy asks, as findings call them: what they say wrongly, it only repeats."""
    for policy in catalogue.policies:
        relation = catalogue.by_oid.get(policy.relation)
        if relation is not None and policy_title(policy, relation) == found.object:
            return {f"function {function.title}" for function in catalogue.called(policy.functions)}
    return set()


def _follows(found: Found, unseen: set[str], catalogue: Catalogue) -> bool:
    """Whether access is missing only because a row is not seen, here or in a table that a policy reads."""
    if not found.object.endswith(", SELECT") and found.table in unseen:
        return True
    relation = catalogue.by_title.get(found.table)
    reads = {
        catalogue.by_oid[oid].title
        for policy in (catalogue.policies_of(relation) if relation else ())
        for oid in policy.relations
        if oid in catalogue.by_oid and oid != policy.relation
    }
    reads |= {
        catalogue.by_oid[oid].title
        for oid in (catalogue.reach(relation) if relation else ())
        if oid in catalogue.by_oid
    }
    return bool(reads & unseen)


def at_fault(
    catalogue: Catalogue, leaking: Iterable[Found], known: list[Found], *, closed: bool
) -> list[Found]:
    """Of functions that leak, those that do so by themselves; ``closed``: no table is open.

    What runs with its caller's rights does no more than the tables let it.
    """
    return [
        one
        for one in leaking
        if (closed or _definer(catalogue, one)) and not _asks_another(catalogue, one, known)
    ]


def _definer(catalogue: Catalogue, found: Found) -> bool:
    return any(f.definer for f in catalogue.functions if found.object == f"function {f.title}")


def _asks_another(catalogue: Catalogue, found: Found, known: list[Found]) -> bool:
    """Whether a function leaks because it asks another that is found already."""
    named = {one.object for one in known}
    asked = [f.oid for f in catalogue.functions if found.object == f"function {f.title}"]
    return any(f"function {f.title}" in named for f in catalogue.called(asked))
