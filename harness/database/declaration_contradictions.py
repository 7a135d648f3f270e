"""What in a declaration contradicts itself, each with where it stands and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.environment.yaml_tree import Path as TreePath

if TYPE_CHECKING:
    from harness.database.declaration import Declaration, Rule

__all__ = ["contradictions"]


def contradictions(declaration: Declaration) -> list[tuple[TreePath, str, str]]:
    """Where, what, and what to do; nothing when it can be kept."""
    found: list[tuple[TreePath, str, str]] = []
    for name, table in declaration.tables.items():
        at: TreePath = ("tables", name)
        if table.service_only and table.all_rules:
            found.append((at, "is service_only and has rules", "keep one of them"))
        if table.owner is not None and not table.may:
            found.append((at, "names an owner who may do nothing", "add may: [select, …]"))
        for index, rule in enumerate(table.rules):
            found += _rule_problems(declaration, rule, (*at, "rules", index))
    for name, bucket in declaration.buckets.items():
        for index, rule in enumerate(bucket.rules):
            found += _rule_problems(declaration, rule, ("buckets", name, "rules", index))
    return found


def _rule_problems(declaration: Declaration, rule: Rule, at: TreePath) -> list[tuple[TreePath, str, str]]:
    if rule.who in ("owner", "members") and rule.by is None:
        return [(at, f"{rule.who} needs `by`: the column that names the {rule.who}", "")]
    if rule.who == "members" and rule.of not in declaration.memberships:
        known = ", ".join(declaration.memberships) or "none is declared"
        return [(at, f"there is no membership {rule.of!r}", f"under memberships: {known}")]
    return []
