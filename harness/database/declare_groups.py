"""Which tables of a database say who belongs to which group, and in which role."""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.database.catalogue import Catalogue, Column, Relation
from harness.database.declaration import Declaration
from harness.database.mates import possible
from harness.database.static_functions import MANAGED

__all__ = ["memberships_of"]


def memberships_of(catalogue: Catalogue, base: Declaration) -> Iterator[tuple[str, dict[str, str]]]:
    """Tables whose key is a user and something else."""
    users = {base.users} | {
        r.title
        for r in catalogue.relations
        for c in r.constraints
        if c.kind == "f"
        and c.columns == r.key
        and (t := catalogue.by_oid.get(c.target or 0))
        and t.title == base.users
    }
    for relation in catalogue.relations:
        if not relation.table or relation.schema in MANAGED or relation.partition:
            continue
        targets = {
            c.columns[0]: catalogue.by_oid.get(c.target or 0)
            for c in relation.constraints
            if c.kind == "f" and len(c.columns) == 1
        }
        for key in (
            c.columns for c in relation.constraints if c.kind in ("p", "u") and len(c.columns) == 2
        ):
            user = [n for n in key if (t := targets.get(n)) and t.title in users]
            group = [n for n in key if (t := targets.get(n)) and t.title not in users]
            if len(user) == 1 and len(group) == 1:
                found = {"table": relation.title, "user": user[0], "group": group[0]}
                if role := _role(catalogue, relation, {*user, *group}):
                    found["role"] = role
                yield relation.name, found
                break


def _role(catalogue: Catalogue, relation: Relation, bound: set[str]) -> str | None:
    """The column that says in which role: by its name, or what helpers answer with and policies compare."""
    if relation.column("role"):
        return "role"
    bodies = [f.body for f in catalogue.functions if not f.extension and f.schema not in MANAGED]
    policies = [f"{p.using} {p.check}" for p in catalogue.policies]
    texts = " ".join((*bodies, *policies))

    def weight(column: Column) -> tuple[bool, int]:
        table = rf"\s+from\s+\S*{re.escape(relation.name)}\b"
        answered = rf"\bselect\s+(?:\w+\.)?\"?{re.escape(column.name)}\"?(?:::\w+)?{table}"
        compared = sum(f"'{value}'" in texts for value in possible(relation, column))
        return bool(re.search(answered, texts, re.I)), compared

    free = [
        c
        for c in relation.columns
        if c.name not in bound
        and not c.generated
        and (c.labels or c.category == "S")
        and re.search(rf"(?<!\w){re.escape(c.name)}(?!\w)", texts)
    ]
    ranked = sorted(free, key=weight, reverse=True)
    return ranked[0].name if ranked and weight(ranked[0]) >= (False, 2) else None
