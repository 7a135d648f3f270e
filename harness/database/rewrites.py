"""Rewrite rules (CREATE RULE): what they do besides, or instead of, what their caller asked for.

A rule acts with the rights of its relation's owner, so policies on what it reads and writes ask nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.database.catalogue import Catalogue, Relation, Rewrite, quoted
from harness.database.declaration import Declaration
from harness.database.findings import Found
from harness.database.static_relations import ancestor, held

__all__ = ["escalating", "losing", "lost", "rewrite_title", "rules_of", "static_rules"]

_ACTION = re.compile(r"\bDO\s+(?:INSTEAD\s+|ALSO\s+)?(.*)$", re.I | re.S)
_BOUND = re.compile(r"\b(?:new|old)\.|\bauth\.(?:uid|jwt)\b", re.I)
_SWEEP = re.compile(r"^\s*(?:UPDATE|DELETE\s+FROM)\s+(?:ONLY\s+)?(\S+)", re.I)


def rewrite_title(rule: Rewrite, relation: Relation) -> str:
    """As SQL names a rule."""
    return f'rule "{rule.name}" on {relation.title}'


def rules_of(catalogue: Catalogue, relation: Relation, command: str = "") -> list[Rewrite]:
    """The rules on ``relation`` (those for ``command``)."""
    return [r for r in catalogue.rewrites if r.relation == relation.oid and command in ("", r.command)]


def _actions(rule: Rewrite) -> list[str]:
    """What the rule does, one statement each."""
    match = _ACTION.search(rule.definition)
    text = match[1].strip().rstrip(";").strip() if match else ""
    text = text[1:-1] if text.startswith("(") and text.endswith(")") else text
    return [part.strip() for part in text.split(";\n") if part.strip()]


def losing(catalogue: Catalogue, relation: Relation, command: str) -> Rewrite | None:
    """The rule that puts something else in the place of ``command``, always."""
    for rule in rules_of(catalogue, relation, command):
        kept = any(_names(relation, action) for action in _actions(rule))
        base = relation.kind == "v" and _actions(rule) != [
            "NOTHING"
        ]  # that is how such a view is written to
        if rule.instead and not rule.conditional and not kept and not base:
            return rule
    return None


def _names(relation: Relation, action: str) -> bool:
    return bool(
        re.search(
            rf"(?<![\w.])(?:{re.escape(quoted(relation.schema))}\.)?{re.escape(quoted(relation.name))}\b",
            action,
        )
    )


def lost(rule: Rewrite, relation: Relation, roles: tuple[str, ...], proof: str = "") -> Found:
    """The finding that a rule loses what callers may write."""
    done = "nothing" if _actions(rule) == ["NOTHING"] else "something else"
    return Found(
        "rule-loses-rows",
        rewrite_title(rule, relation),
        f"instead of what {', '.join(roles)} may {rule.command.lower()}, it does {done}",
        f"{', '.join(roles)} may {rule.command.lower()} as declared",
        f"drop rule {quoted(rule.name)} on {relation.title};",
        roles,
        relation.title,
        (proof,) if proof else (),
    )


def static_rules(catalogue: Catalogue, declaration: Declaration) -> Iterator[Found]:
    """Rules lose nothing that callers may write, and reach no more than the row that is written."""
    for relation in catalogue.relations:
        table = ancestor(catalogue, declaration, relation)
        if table is None or relation.extension:
            continue
        for rule in rules_of(catalogue, relation):
            wanted = [
                role
                for role in catalogue.api_roles
                for one in table.all_rules
                if rule.command.lower() in one.may and role in declaration.roles_of(one)
            ]
            roles = tuple(dict.fromkeys(wanted))
            if roles and losing(catalogue, relation, rule.command) == rule:
                yield lost(rule, relation, roles)
            writers = tuple(r for r, held_ in held(relation, catalogue).items() if rule.command in held_)
            if writers and (what := _reach(rule, relation)):
                yield escalating(rule, relation, writers, what)


def _reach(rule: Rewrite, relation: Relation) -> str:
    """What the rule does beyond the row that is written, as far as its text tells."""
    for action in _actions(rule):
        bound = _BOUND.search(action)
        if (swept := _SWEEP.match(action)) and not bound:
            return f"it changes every row of {swept[1]}"
        if action.upper().startswith("SELECT") and " from " in action.lower() and not bound:
            return "it answers with rows that its owner sees"
    return ""


def escalating(rule: Rewrite, relation: Relation, roles: tuple[str, ...], what: str) -> Found:
    """The finding that a rule reaches what its caller may not."""
    return Found(
        "rule-escalates",
        rewrite_title(rule, relation),
        f"{', '.join(roles)} may {rule.command.lower()} there, and {what}, with the rights of its owner",
        "a rule reaches the row that is written, and nothing of others",
        f"drop rule {quoted(rule.name)} on {relation.title};",
        roles,
        relation.title,
    )
