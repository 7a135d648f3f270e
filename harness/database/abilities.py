"""Whether a connection can prove anything, said before anything is tried."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import psycopg

from harness.database.catalogue import Catalogue
from harness.database.declaration import Declaration
from harness.database.findings import Gap
from harness.database.oracle import Subject

__all__ = ["misplanted", "unable"]


def unable(
    connection: psycopg.Connection[Any], catalogue: Catalogue, declaration: Declaration
) -> list[Gap]:
    """Why nothing can be tried with this connection and declaration; nothing, when it can."""
    server, user = catalogue.server, catalogue.server["user"]
    database = f"database {server['database']}"
    if server["replica"]:
        why = "it is a read-only replica: rows cannot be planted"
        return [Gap(database, why, "check the primary")]
    row = connection.execute(b"show transaction_read_only").fetchone()
    if row and row[0] == "on":
        hint = "see default_transaction_read_only of the database and the role"
        return [Gap(database, "cannot execute INSERT in a read-only transaction", hint)]
    if not server["bypasses"]:
        why = f"{user} does not bypass row level security"
        return [Gap(database, why, "connect as postgres or a superuser")]
    return [*_roles(connection, catalogue, declaration), *_memberships(catalogue, declaration)]


def misplanted(known: Iterable[Subject]) -> Iterator[Gap]:
    """Values for columns that do not exist: what they are meant to do is not done."""
    for subject in known:
        absent = [name for name in subject.declared.plant if subject.relation.column(name) is None]
        if absent and not subject.heir:
            yield Gap(
                subject.title, f"`plant` names {', '.join(absent)}: no such column", "correct `plant`"
            )


def _roles(
    connection: psycopg.Connection[Any], catalogue: Catalogue, declaration: Declaration
) -> Iterator[Gap]:
    """Callers that do not exist, or whom the connection may not become."""
    user, version = catalogue.server["user"], int(catalogue.server["version"])
    # a plain PostgreSQL has no `anon`; but whom the declaration calls so by name must be there
    nobody = () if declaration.anonymous == "anon" else (declaration.anonymous,)
    for role in dict.fromkeys((*nobody, declaration.signed_in, *declaration.roles, *_named(declaration))):
        if role not in catalogue.roles:
            hint = "correct the declaration, or create the role"
            yield Gap(f"role {role}", "the declaration speaks of it, and it does not exist", hint)
    roles = [r for r in dict.fromkeys((*catalogue.api_roles, *_named(declaration))) if r in catalogue.roles]
    privilege = "SET" if version >= 160000 else "MEMBER"  # from 16 on a membership may leave SET ROLE out
    rows = connection.execute(
        "select r from unnest(%s::text[]) r where not pg_has_role(current_user, r, %s)", [roles, privilege]
    ).fetchall()
    if missing := [str(row[0]) for row in rows]:
        hint = f"grant {missing[0]} to {user}" + (" with set true;" if version >= 160000 else ";")
        yield Gap(
            f"database {catalogue.server['database']}", f"{user} may not become {', '.join(missing)}", hint
        )


def _named(declaration: Declaration) -> list[str]:
    """Roles that rules of tables and buckets name."""
    words = ("owner", "own", "members", "signed-in", "anyone")
    rules = [r for t in declaration.tables.values() for r in t.all_rules]
    rules += [r for b in declaration.buckets.values() for r in b.rules]
    return list(dict.fromkeys(rule.who for rule in rules if rule.who not in words))


def _memberships(catalogue: Catalogue, declaration: Declaration) -> Iterator[Gap]:
    """Memberships whose columns do not exist: everything that rests on them would fail."""
    for name, membership in declaration.memberships.items():
        relation = catalogue.by_title.get(membership.table)
        wanted = (membership.user, membership.group, membership.role)
        absent = [c for c in wanted if c and relation is not None and relation.column(c) is None]
        if relation is None:
            yield Gap(f"membership {name}", f"there is no table {membership.table}", "correct `table`")
        elif absent:
            why = f"{membership.table} has no column {', '.join(absent)}"
            yield Gap(f"membership {name}", why, f"it has {', '.join(c.name for c in relation.columns)}")
