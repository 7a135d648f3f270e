"""Trusted roles and what they need: a table for the service alone, which it cannot use, is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator

from harness.database.catalogue import Catalogue, Relation
from harness.database.declaration import Declaration, Table
from harness.database.findings import Found

__all__ = ["in_use", "trusted"]

_WRITES = ("INSERT", "UPDATE", "DELETE")


def trusted(catalogue: Catalogue, declaration: Declaration) -> Iterator[Found]:
    """The service role reads and writes what is its alone, and does what rules say of it by name."""
    for title, table in declaration.tables.items():
        relation = catalogue.by_title.get(title)
        for role in declaration.service if relation else ():
            if relation is None or role not in catalogue.roles:
                continue
            for command in _lacking(catalogue, declaration, relation, table, role):
                yield _missing(
                    relation, role, command, "no grant", _grant(catalogue, relation, role, command)
                )
            if _shut_out(catalogue, relation, table, role):
                what = f"{role} does not bypass row level security, and no policy is for it"
                yield _missing(relation, role, "SELECT", what, f"alter role {role} bypassrls;")


def _lacking(
    catalogue: Catalogue, declaration: Declaration, relation: Relation, table: Table, role: str
) -> Iterator[str]:
    """Commands that ``role`` needs and has no privilege for."""
    power = catalogue.roles[role]
    held = ("SELECT", *_WRITES) if power.get("super") else relation.trusted.get(role, ())
    named = {command.upper() for rule in table.all_rules if rule.who == role for command in rule.may}
    yield from (command for command in ("SELECT", *_WRITES) if command in named and command not in held)
    if not table.service_only or not in_use(catalogue, declaration, role):
        return
    if "SELECT" not in held:
        yield "SELECT"
    if relation.table and not set(held) & set(_WRITES) and not _written_by_itself(catalogue, relation):
        yield "INSERT"


def _written_by_itself(catalogue: Catalogue, relation: Relation) -> bool:
    """Whether a function with its owner's rights fills the table, such as a log's trigger."""
    names = rf'(?:"?{re.escape(relation.schema)}"?\s*\.\s*)?"?{re.escape(relation.name)}"?'
    fills = re.compile(rf"\binsert\s+into\s+{names}(?![\w\"])", re.I)
    return any(f.definer and fills.search(f.body) for f in catalogue.functions if not f.extension)


def in_use(catalogue: Catalogue, declaration: Declaration, role: str) -> bool:
    """Whether the role reads anything that is exposed: else it is not how one works here."""
    exposed = (r for r in catalogue.relations if r.schema in declaration.schemas)
    return any("SELECT" in relation.trusted.get(role, ()) for relation in exposed)


def _shut_out(catalogue: Catalogue, relation: Relation, table: Table, role: str) -> bool:
    """Whether policies hide from the service what is its alone."""
    if not table.service_only or not relation.rls or catalogue.bypasses(role):
        return False
    mine = catalogue.inherited(role)
    if relation.owner in mine and not relation.forced:
        return False
    policies = catalogue.policies_of(relation)
    return "SELECT" in relation.trusted.get(role, ()) and not any(
        p.permissive and p.command in ("SELECT", "ALL") and ("public" in p.roles or mine & set(p.roles))
        for p in policies
    )


def _grant(catalogue: Catalogue, relation: Relation, role: str, command: str) -> str:
    grant = f"grant {command.lower()} on {relation.title} to {role};"
    return (
        grant if role in relation.trusted else f"grant usage on schema {relation.schema} to {role}; {grant}"
    )


def _missing(relation: Relation, role: str, command: str, what: str, fix: str) -> Found:
    return Found(
        "missing-access",
        f"{relation.title}, {command}",
        what,
        f"{role} may {command.lower()} what is declared to be its own",
        fix,
        (role,),
        relation.title,
    )
