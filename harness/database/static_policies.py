"""Policies by their text, for when nothing may be tried: does every way through one lead by the owner?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from harness.database.catalogue import COMMANDS, Catalogue, Policy, Relation
from harness.database.declaration import Declaration, Rule
from harness.database.declare_helpers import written_out
from harness.database.expressions import bare, split
from harness.database.findings import Found
from harness.database.oracle import Subject, subjects
from harness.database.synthesise import constants

__all__ = ["binds", "loose"]

_KINDS = {
    "SELECT": "foreign-read",
    "INSERT": "forged-insert",
    "UPDATE": "foreign-update",
    "DELETE": "foreign-delete",
}
_CALLER = re.compile(r"[\w\"]\(|current_setting|= ANY|\bIN\b|EXISTS", re.I)


def loose(catalogue: Catalogue, declaration: Declaration, *, dormant: bool = False) -> Iterator[Found]:
    """Permissive policies that let a caller through without a word about whose the row is.

    ``dormant``: only those of tables whose row level security is off, where nothing can be tried.
    """
    for subject in subjects(catalogue, declaration):
        relation = subject.relation
        if not relation.table or relation.rls == dormant:
            continue
        applying = catalogue.policies_of(relation)
        for policy in applying:
            for role in policy.applies if policy.permissive else ():
                yield from _policy(catalogue, declaration, subject, policy, role, applying)


def _policy(
    catalogue: Catalogue,
    declaration: Declaration,
    subject: Subject,
    policy: Policy,
    role: str,
    applying: list[Policy],
) -> Iterator[Found]:
    relation = subject.relation
    for command in COMMANDS:
        if not policy.concerns(role, command) or not relation.allows(role, command):
            continue
        if any(not other.permissive and other.concerns(role, command) for other in applying):
            continue  # what is left over only trying tells
        rules = [r for r in subject.rules if command.lower() in r.may and role in declaration.roles_of(r)]
        for clause, text in _clauses(policy, command):
            if clause == "with check" and _set_by_trigger(catalogue, subject):
                continue
            if subject.bucket and f"'{subject.bucket}'" not in text and "bucket_id" in text:
                continue
            # a helper function's name says nothing of what it asks
            if not binds(text, relation, rules, subject.rules) and not binds(
                written_out(catalogue, relation, text, lambda _, query, given: given(query)),
                relation,
                rules,
                subject.rules,
            ):
                kind = (
                    "owner-reassigned"
                    if command == "UPDATE" and clause == "with check"
                    else _KINDS[command]
                )
                yield Found(
                    kind,
                    f'policy "{policy.name}" on {relation.title}',
                    f"{clause} ({' '.join(text.split())[:240]})",
                    "every way through a policy leads by the row's owner or group",
                    f'-- correct policy "{policy.name}" on {relation.title}',
                    (role,),
                    subject.title,
                )


def _clauses(policy: Policy, command: str) -> Iterator[tuple[str, str]]:
    if command != "INSERT":
        yield "using", policy.using or "true"
    if command in ("INSERT", "UPDATE") and (policy.check is not None or command == "INSERT"):
        yield "with check", policy.new_rows or "true"


def _set_by_trigger(catalogue: Catalogue, subject: Subject) -> bool:
    """Whether a trigger sets the owner itself, whatever was sent."""
    owners = [rule.by for rule in subject.rules if rule.who == "owner" and rule.by]
    bodies = [
        function.body
        for trigger in catalogue.triggers
        if trigger["relation"] == subject.relation.oid and trigger["enabled"] != "D"
        if (function := catalogue.function_by_oid.get(trigger["function"])) is not None
    ]
    return any(
        re.search(rf"new\.\"?{re.escape(name)}\"?\s*:?=", body, re.I) for name in owners for body in bodies
    )


def binds(expression: str, relation: Relation, rules: list[Rule], others: Sequence[Rule] = ()) -> bool:
    """Whether each alternative of ``expression`` asks for something that one of ``rules`` names."""
    if any(
        rule.who not in ("owner", "members", "own") and not rule.where and not rule.check for rule in rules
    ):
        return True
    text = bare(" ".join(expression.split()))
    arms = split(text, " OR ")
    if len(arms) > 1:
        return all(binds(arm, relation, rules, others) for arm in arms)
    parts = split(text, " AND ")
    if len(parts) > 1:
        return any(binds(part, relation, rules, others) for part in parts)
    if text.lower() == "false" or any(_names(text, relation, rule) for rule in rules):
        return True
    # callers without a token have no id: what asks for the owner or a member shuts them out
    owned = [rule for rule in others if rule.who in ("owner", "members")]
    return bool(re.search(r"uid\(\)|jwt\(\)", text)) and any(_names(text, relation, rule) for rule in owned)


def _names(text: str, relation: Relation, rule: Rule) -> bool:
    if rule.by == "folder":
        return bool(re.search(r"foldername|split_part|path_tokens|\bname\b.*uid\(|owner", text))
    if rule.by and re.search(rf"(?<!\w){re.escape(rule.by)}(?!\w)", text) and _CALLER.search(text):
        return True
    asked = f"{rule.where or ''} {rule.check or ''}"
    if set(constants(asked)) & set(constants(text)) - {""}:
        return True
    words = set(re.findall(r"\w+", asked))
    return any(
        c.name in words and re.search(rf"(?<!\w){re.escape(c.name)}(?!\w)", text) for c in relation.columns
    )
