"""Privileges against the rules: none too many, and none too few."""

from __future__ import annotations

from collections.abc import Iterator

from harness.database.catalogue import COMMANDS, Catalogue, Relation
from harness.database.declaration import Declaration, Table
from harness.database.findings import Found
from harness.database.static_relations import ancestor, exposed, held

__all__ = ["grants", "lacking"]


def grants(catalogue: Catalogue, declaration: Declaration) -> Iterator[Found]:
    """Callers hold no privilege beyond the rules."""
    if declaration.grants == "wide":
        return
    for relation in exposed(catalogue, declaration):
        table = ancestor(catalogue, declaration, relation)
        if table is None or (relation.table and not relation.rls):
            continue
        for role, privileges in held(relation, catalogue).items():
            wanted = {
                c.upper()
                for rule in table.all_rules
                if role in declaration.roles_of(rule)
                for c in rule.may
            }
            excess = [p for p in privileges if p not in wanted]
            if excess:
                by = "public" if set(excess) <= set(relation.public) else role
                yield Found(
                    "excess-grant",
                    relation.title,
                    f"{role} holds {', '.join(excess)}",
                    "callers hold what the rules let them do",
                    f"revoke {', '.join(excess).lower()} on {relation.title} from {by};",
                    (role,),
                    relation.title,
                )
            yield from _columns(relation, table, role)


def lacking(catalogue: Catalogue, declaration: Declaration) -> Iterator[Found]:
    """Callers hold the privileges that the rules speak of: without one, no policy is ever asked."""
    for title, table in declaration.tables.items():
        relation = catalogue.by_title.get(title)
        for role in catalogue.api_roles if relation else ():
            for command in COMMANDS:
                wanted = any(
                    command.lower() in rule.may and role in declaration.roles_of(rule)
                    for rule in table.all_rules
                )
                if relation is None or not wanted or relation.allows(role, command):
                    continue
                yield Found(
                    "missing-access",
                    f"{title}, {command}",
                    "no grant",
                    f"{role} may {command.lower()} as declared",
                    f"grant {command.lower()} on {title} to {role};",
                    (role,),
                    title,
                )


def _columns(relation: Relation, table: Table, role: str) -> Iterator[Found]:
    for command, names in table.columns.get(role, {}).items():
        granted = [c.name for c in relation.columns_for(role, command.upper())]
        excess = [name for name in granted if name not in names]
        if excess:
            fix = (
                f"revoke {command} on {relation.title} from {role}; grant {command} ({', '.join(names)})"
                f" on {relation.title} to {role};"
            )
            yield Found(
                "excess-grant",
                relation.title,
                f"{role} may {command} the columns {', '.join(excess)}",
                f"{role} may {command} {', '.join(names)} alone",
                fix,
                (role,),
                relation.title,
            )
