"""What a declaration was written from; where a rule cannot be tried, a change of that is a finding.

`harness db declare` notes a digest of every policy, function and view. What can be tried is judged by
trying alone: a policy that is written otherwise and does the same concerns nobody. But of a table that ends
as "not proven" nothing is known. And where trying would not notice that a condition is missing (it is blind
there, see told_apart.py), its text is looked for: its loss would be as silent as a correct change.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import yaml

from harness.database.catalogue import Catalogue, Function, Policy, Relation
from harness.database.causes import policy_title
from harness.database.conditions import RIGHTS, missing, unrestricted
from harness.database.declaration import Declaration
from harness.database.findings import Found, Gap
from harness.database.oracle import Subject
from harness.database.origin import ALL, Origin
from harness.database.static_functions import MANAGED, own_functions
from harness.database.weaker import plainly

__all__ = [
    "beneath",
    "changed",
    "concerns",
    "digests",
    "functions_in",
    "noted",
    "unchanged",
    "view_title",
]

_STORAGE = "storage.objects"
_HEAD = """
# What this was written from. Where something cannot be tried, a change of one of these is a finding. So is
# the loss of a condition under `blind`: a check would not notice it by trying.
"""
_GONE, _NEW = "is gone", "is new"
_MOST_NAMED = 3
_WHEN = re.compile(r'^CREATE (?:CONSTRAINT )?TRIGGER (?:"(?:[^"]|"")+"|\S+) | EXECUTE FUNCTION .*$', re.S)
"""All of a trigger's definition but when it fires: its name, and its function, which is told by itself."""
_LENGTH = 12
"""Hexadecimal digits of a digest: it tells a change from none, and guards against nobody."""


def digests(catalogue: Catalogue) -> dict[str, str]:
    """By what findings call it, a digest of each policy, view, trigger and function of one's own."""
    found: dict[str, str] = {}
    for policy in catalogue.policies:
        relation = catalogue.by_oid.get(policy.relation)
        if relation is not None and _own(relation):
            clauses = [plainly(text) if text else text for text in (policy.using, policy.check)]
            parts = (policy.command, policy.permissive, sorted(policy.roles), clauses)
            found[policy_title(policy, relation)] = _digest(*parts)
    for relation in catalogue.relations:
        if relation.kind in ("v", "m") and _own(relation):
            query = plainly(relation.definition or "")
            found[view_title(relation)] = _digest(query, sorted(relation.options))
    for title, trigger, _ in _own_triggers(catalogue):
        found[title] = _digest(trigger["enabled"], _WHEN.sub("", trigger["definition"]))
    for function in own_functions(catalogue):
        rights = (function.definer, function.owner_bypasses, sorted(function.settings))
        found[f"function {function.title}"] = _digest(*rights, function.body)
    return dict(sorted(found.items()))


def unchanged(catalogue: Catalogue, declaration: Declaration, name: str) -> bool | None:
    """Whether what findings call ``name`` is as the declaration was written from, if that is known."""
    if (then := declaration.written_from.get(name)) is None:
        return None
    if (live := catalogue.memo.get("digests")) is None:
        live = catalogue.memo["digests"] = digests(catalogue)
    same: bool = live.get(name) == then.digest
    return same


def beneath(
    catalogue: Catalogue, declaration: Declaration, policy: Policy, relation: Relation
) -> Function | None:
    """The function that ``policy`` asks and that alone has changed since the declaration was written."""
    if not unchanged(catalogue, declaration, policy_title(policy, relation)):
        return None
    asked = catalogue.called(policy.functions)
    found = [f for f in asked if unchanged(catalogue, declaration, f"function {f.title}") is False]
    return found[0] if len(found) == 1 else None


def noted(catalogue: Catalogue, unnoticed: Mapping[str, tuple[str, ...]] | None) -> str:
    """The part of a declaration that says what it was written from, a line for each.

    ``unnoticed`` is what told_apart.py found out; None, where it was not asked.
    """
    blind: dict[str, Literal["all"] | tuple[str, ...]] = {}
    if unnoticed is None:
        by_caller = {f"function {f.title}" for f in own_functions(catalogue) if not f.definer}
        blind |= dict.fromkeys(digests(catalogue), ()) | dict.fromkeys(by_caller, (RIGHTS,))
    else:
        blind |= dict(unnoticed) | _of_triggers(catalogue, unnoticed)
    found = {
        name: Origin(digest=digest, blind=blind.get(name, ALL)).written()
        for name, digest in digests(catalogue).items()
    }
    if not found:
        return ""
    return _HEAD + yaml.safe_dump({"written_from": found}, allow_unicode=True, width=100_000)


def _of_triggers(
    catalogue: Catalogue, unnoticed: Mapping[str, tuple[str, ...]]
) -> dict[str, Literal["all"] | tuple[str, ...]]:
    """A trigger is as blind as its function: without it, nothing of what that asks is asked."""
    found: dict[str, Literal["all"] | tuple[str, ...]] = {}
    for title, _, function in _own_triggers(catalogue):
        blind = set(unnoticed.get(f"function {function.title}", (ALL,))) - {RIGHTS}
        found[title] = ALL if blind else ()
    return found


def changed(
    catalogue: Catalogue,
    declaration: Declaration,
    known: Iterable[Subject],
    gaps: Iterable[Gap],
    found: Iterable[Found],
) -> Iterator[Found]:
    """What is not as the declaration was written from, where trying cannot judge: where ``gaps`` are, or
    it is blind. What is among ``found`` already is not said again.
    """
    written = declaration.written_from
    if not written:
        return
    different = _different({name: then.digest for name, then in written.items()}, digests(catalogue))
    said = {one.object for one in found}
    by_title = {subject.title: subject for subject in known}
    for gap in gaps:
        for name in sorted(_behind(catalogue, by_title, gap, different) - said):
            said.add(name)
            yield _found(name, different[name], f"not all of {gap.object} could be tried", gap.object)
    for name in sorted(different.keys() & written.keys() - said):
        if why := _lost(catalogue, name, written[name], different):
            yield _found(name, different[name], why)


def _lost(catalogue: Catalogue, name: str, then: Origin, different: Mapping[str, str]) -> str:
    """What trying may have overlooked: a condition that is not there any more; nothing, when all are."""
    if not then.blind:
        return ""
    if then.blind == ALL:
        return "trying does not tell its conditions apart"
    try:
        gone = _missing(catalogue, name, then.blind, different)
    except ValueError as error:
        return f"not all of it can be read: {error}"
    named = ", ".join(sorted(gone)[:_MOST_NAMED])
    return f"trying would not notice that a condition is missing now: {named}" if gone else ""


def _missing(
    catalogue: Catalogue, name: str, blind: tuple[str, ...], different: Mapping[str, str]
) -> set[str]:
    """The conditions that neither it nor what is there in its place has."""
    if name.startswith("function ") and different[name] == _GONE:
        new = [f for f in own_functions(catalogue) if different.get(f"function {f.title}") == _NEW]
        return set() if any(not missing(blind, function) for function in new) else set(blind)
    table = _table(name)
    titled = ((catalogue.by_oid.get(policy.relation), policy) for policy in catalogue.policies)
    others = [policy for relation, policy in titled if relation is not None and relation.title == table]
    gone = unrestricted(blind, others) if different[name] == _GONE else set()
    for now in _in_its_place(catalogue, name, different):
        gone |= missing(blind, now, others)
    return gone


def _in_its_place(
    catalogue: Catalogue, name: str, different: Mapping[str, str]
) -> Iterator[Policy | Function | Relation]:
    """What has the name now; in the place of a policy that is gone, those that are new on its table."""
    for policy in catalogue.policies:
        relation = catalogue.by_oid.get(policy.relation)
        title = policy_title(policy, relation) if relation is not None else ""
        replaces = different[name] == _GONE and different.get(title) == _NEW and policy.permissive
        if title == name or (replaces and _table(title) == _table(name)):
            yield policy
    yield from (f for f in own_functions(catalogue) if f"function {f.title}" == name)
    yield from (r for r in catalogue.relations if view_title(r) == name)


def _different(written: dict[str, str], live: dict[str, str]) -> dict[str, str]:
    """What differs, and how; a policy that has only been given another name does not."""
    gone = {name: written[name] for name in written if name not in live}
    new = {name: live[name] for name in live if name not in written}
    renamed = {(_table(name), digest) for name, digest in gone.items()}
    renamed &= {(_table(name), digest) for name, digest in new.items()}
    how = {name: "has changed" for name in written if live.get(name, written[name]) != written[name]}
    for names, told in ((gone, _GONE), (new, _NEW)):
        how |= {name: told for name, digest in names.items() if (_table(name), digest) not in renamed}
    return dict(sorted(how.items()))


def _table(name: str) -> str:
    """The table of a policy, as findings call it; of anything else it itself."""
    return name.rpartition('" on ')[2]


def _found(name: str, how: str, why: str, table: str = "") -> Found:
    return Found(
        rule="changed-unproven",
        object=name,
        what=f"it {how} since the declaration was written, and {why}",
        expected="what trying cannot judge is as it was when the declaration was written",
        fix="-- read the change; if it is meant, write the declaration anew: harness db declare",
        table=table,
    )


def _behind(
    catalogue: Catalogue, by_title: dict[str, Subject], gap: Gap, different: Iterable[str]
) -> set[str]:
    """Of what is ``different``, what decides about that which ``gap`` is about; all, if that is no such."""
    names = set(different)
    subject = by_title.get(gap.object)
    if subject is not None:
        return names & set(_of_relation(catalogue, subject.relation, subject.bucket, names))
    functions = [f for f in own_functions(catalogue) if f"function {f.title}" == gap.object]
    if functions:
        return names & {f"function {f.title}" for f in catalogue.called(f.oid for f in functions)}
    return names


def _of_relation(
    catalogue: Catalogue, relation: Relation, bucket: str | None, names: Iterable[str]
) -> Iterator[str]:
    """The policies of a relation and of what they and views read, the functions that these call."""
    seen: set[int] = set()
    open_ = [relation.oid, *catalogue.reach(relation)]
    while open_:
        oid = open_.pop()
        if oid in seen or (table := catalogue.by_oid.get(oid)) is None:
            continue
        seen.add(oid)
        policies = catalogue.policies_of(table)
        if table is relation and bucket is not None:
            policies = [policy for policy in policies if concerns(policy, bucket)]
        else:
            yield from (name for name in names if name.endswith(f'" on {table.title}'))  # or were
        yield from (policy_title(policy, table) for policy in policies)
        called = [function for policy in policies for function in policy.functions]
        if table.kind in ("v", "m"):
            yield view_title(table)
            called += functions_in(catalogue, table.definition or "")
        yield from (f"function {function.title}" for function in catalogue.called(called))
        open_ += [other for policy in policies for other in policy.relations]


def functions_in(catalogue: Catalogue, text: str) -> list[int]:
    """The functions of one's own that a query calls, by their oids."""
    words = set(re.findall(r"\w+(?=\"?\s*\()", text))
    return [function.oid for function in own_functions(catalogue) if function.name in words]


def concerns(policy: Policy, bucket: str) -> bool:
    """Whether a policy on storage.objects speaks of ``bucket``, or of all."""
    text = f"{policy.using or ''} {policy.check or ''}"
    return "bucket_id" not in text or f"'{bucket}'" in text


def _own(relation: Relation) -> bool:
    return relation.title == _STORAGE or (relation.schema not in MANAGED and not relation.extension)


def view_title(relation: Relation) -> str:
    """What a view is called among the digests."""
    return f"view {relation.title}"


def _own_triggers(catalogue: Catalogue) -> Iterator[tuple[str, dict[str, Any], Function]]:
    """Those that call a function of one's own, each with what findings call it; the platform has others."""
    own = {function.oid: function for function in own_functions(catalogue)}
    for trigger in catalogue.triggers:
        relation = catalogue.by_oid.get(trigger["relation"])
        function = own.get(trigger["function"])
        if relation is not None and function is not None and _own(relation):
            yield f'trigger "{trigger["name"]}" on {relation.title}', trigger, function


def _digest(*parts: Any) -> str:
    plain = [" ".join(part.split()) if isinstance(part, str) else part for part in parts]
    digest = hashlib.sha256(json.dumps(plain).encode()).hexdigest()[:_LENGTH]
    return f"x{digest}"  # digits alone, or 12e34, would be read as a number
