"""Which tables of a database say who belongs to which group, and in which role."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from harness.database.catalogue import Catalogue, Column, Relation
from harness.database.declaration import Declaration
from harness.database.findings import Report
from harness.database.mates import possible
from harness.database.static_functions import MANAGED

__all__ = ["crowded", "memberships_of", "users_of"]

_PERSON = re.compile(r"(^|_)(user|member|person|profile|participant)(_?id)?$", re.I)


def users_of(catalogue: Catalogue, base: Declaration) -> str | None:
    """The table of users: the platform's, unless references lead to another whose key is the caller."""
    own = [r for r in catalogue.relations if r.table and r.schema not in MANAGED and not r.extension]
    referred = [c.target for r in own for c in r.constraints if c.kind == "f" and c.target != r.oid]
    platform = catalogue.by_title.get(base.users or "")
    if platform is not None and platform.oid in referred:
        return base.users
    callers = [r for r in own if r.oid in referred and _is_caller(catalogue, r)]
    return max(callers, key=lambda r: referred.count(r.oid)).title if callers else base.users


def _is_caller(catalogue: Catalogue, relation: Relation) -> bool:
    """Whether a policy of the table compares its key with the caller."""
    if len(relation.key) != 1:
        return False
    key = rf'"?\b{re.escape(relation.key[0])}"?'
    caller = r"\(*\s*(?:select\s+)?auth\.uid\(\)"
    policies = " ".join(f"{p.using} {p.check}" for p in catalogue.policies_of(relation))
    return bool(re.search(rf"{key} = {caller}|auth\.uid\(\)[^=]{{0,12}} = {key}", policies, re.I))


def memberships_of(catalogue: Catalogue, base: Declaration) -> Iterator[tuple[str, dict[str, str]]]:
    """Tables whose key is a user and a group; those with one group for each user that policies ask for."""
    users = {base.users} | {
        r.title
        for r in catalogue.relations
        for c in r.constraints
        if c.kind == "f"
        and c.columns == r.key
        and (t := catalogue.by_oid.get(c.target or 0))
        and t.title == base.users
    }
    texts = _texts(catalogue)
    for relation in catalogue.relations:
        if not relation.table or relation.schema in MANAGED or relation.partition:
            continue
        leads = _leads(catalogue, relation)
        if (key := _many(relation, leads, users) or _one(relation, leads, users, texts)) is not None:
            found = {"table": relation.title, "user": key[0], "group": key[1]}
            if role := _role(catalogue, relation, set(key)):
                found["role"] = role
            yield relation.name, found


def crowded(catalogue: Catalogue, data: dict[str, Any], report: Report) -> list[str]:
    """Memberships with one group for each user to which nobody could be added: a plan is full, say.

    What policies ask about them can be tried without further members, who would all end as not proven.
    """
    said = [gap.reason for gap in report.gaps if gap.object == "memberships"]
    found = []
    for name, described in data.get("memberships", {}).items():
        relation = catalogue.by_title[described["table"]]
        keys = [c.columns for c in relation.constraints if c.kind in ("p", "u")]
        if [described["user"]] in keys and any(f"{relation.title}: " in reason for reason in said):
            found.append(name)
    return found


def _texts(catalogue: Catalogue) -> str:
    bodies = [f.body for f in catalogue.functions if not f.extension and f.schema not in MANAGED]
    return " ".join((*bodies, *(f"{p.using} {p.check}" for p in catalogue.policies)))


def _leads(catalogue: Catalogue, relation: Relation) -> dict[str, str]:
    """Columns that are keys of other tables, with the titles of those."""
    return {
        c.columns[0]: target.title
        for c in relation.constraints
        if c.kind == "f" and len(c.columns) == 1 and (target := catalogue.by_oid.get(c.target or 0))
    }


def _many(relation: Relation, leads: dict[str, str], users: set[str | None]) -> tuple[str, str] | None:
    """User and group of a table in which a user may have many groups."""
    keys = [c.columns for c in relation.constraints if c.kind in ("p", "u") and len(c.columns) == 2]
    for key in keys:
        group = [n for n in key if n in leads and leads[n] not in users]
        user = [n for n in key if leads.get(n) in users]
        # to the database a user's id may be a mere number
        user = user or [n for n in key if n not in leads and _PERSON.search(n)]
        if len(user) == 1 and len(group) == 1:
            return user[0], group[0]
    return None


def _one(
    relation: Relation, leads: dict[str, str], users: set[str | None], texts: str
) -> tuple[str, str] | None:
    """User and group of a table with one row for each user, where policies ask for the caller's group."""
    keys = [c.columns for c in relation.constraints if c.kind in ("p", "u") and len(c.columns) == 1]
    for user in dict.fromkeys(key[0] for key in keys if leads.get(key[0]) in users):
        for group in (name for name, target in leads.items() if target not in users):
            if _asks(relation, user, group, texts):
                return user, group
    return None


def _asks(relation: Relation, user: str, group: str, texts: str) -> bool:
    """Whether a subquery selects the caller's ``group``, or looks for one."""
    name = rf'"?{re.escape(relation.name)}"?'
    caller = rf'"?\b{re.escape(user)}"?\s*=\s*\(*\s*(?:select\s+)?auth\.uid\('
    named = rf'"?\b{re.escape(group)}\b"?'
    selected = rf"select\s[^;()]*{named}[^;()]*\sfrom\s[^;]{{0,40}}{name}\b[^;]{{0,200}}?{caller}"
    compared = rf"from\s[^;]{{0,40}}{name}\b[^;]{{0,100}}?{named}\s*=[^;]{{0,100}}?{caller}"
    return bool(re.search(f"{selected}|{compared}", texts, re.I))


def _role(catalogue: Catalogue, relation: Relation, bound: set[str]) -> str | None:
    """The column that says in which role: by its name, or what helpers answer with and policies compare."""
    if relation.column("role"):
        return "role"
    texts = _texts(catalogue)

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
