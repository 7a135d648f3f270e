"""Roles, schemas, default privileges, sequences, publications."""

from __future__ import annotations

from collections.abc import Iterator

from harness.database.catalogue import Catalogue, quoted
from harness.database.declaration import Declaration
from harness.database.findings import Found, Severity
from harness.database.static_relations import ancestor

__all__ = ["callers", "defaults", "publications", "schemas", "sequences"]

_POWERFUL = frozenset(
    {
        "pg_read_all_data",
        "pg_write_all_data",
        "pg_execute_server_program",
        "pg_read_server_files",
        "pg_write_server_files",
        "pg_monitor",
        "pg_signal_backend",
        "pg_checkpoint",
        "pg_database_owner",
        "pg_maintain",
        "pg_create_subscription",
    }
)
_HARMLESS_SCHEMAS = frozenset({"graphql_public", "storage"})
_KINDS = {"r": "tables", "S": "sequences", "f": "functions", "n": "schemas", "T": "types"}


def callers(catalogue: Catalogue, declaration: Declaration) -> Iterator[Found]:
    """Roles that callers have are weak, and every one of them is declared."""
    if catalogue.bypasses("authenticator"):
        yield Found(
            "role-bypasses-rls",
            "role authenticator",
            "the Data API connects as it, and it is a superuser or bypasses row level security",
            "the Data API connects as a role without rights of its own",
            "alter role authenticator nosuperuser nobypassrls;",
            ("authenticator",),
        )
    for role in catalogue.api_roles:
        yield from _rights(catalogue, declaration, role)
        yield from _owned(catalogue, declaration, role)
        yield from _joined(catalogue, declaration, role)


def _rights(catalogue: Catalogue, declaration: Declaration, role: str) -> Iterator[Found]:
    where = f"role {role}"
    if role not in declaration.callers:
        yield Found(
            "undeclared-role",
            where,
            "a token may ask for this role (authenticator is a member)",
            "every role of callers is declared",
            f"revoke {quoted(role)} from authenticator; or declare it under roles",
            (role,),
        )
    if catalogue.bypasses(role):
        yield Found(
            "role-bypasses-rls",
            where,
            "it bypasses row level security",
            "callers are subject to row level security",
            f"alter role {quoted(role)} nosuperuser nobypassrls;",
            (role,),
        )
    if catalogue.roles[role]["creates"]:
        yield Found(
            "role-powerful",
            where,
            "it may create roles or databases",
            "callers have no such right",
            f"alter role {quoted(role)} nocreaterole nocreatedb;",
            (role,),
        )


def _owned(catalogue: Catalogue, declaration: Declaration, role: str) -> Iterator[Found]:
    for relation in catalogue.relations:
        if relation.owner == role and relation.schema in declaration.schemas:
            yield Found(
                "owner-bypasses-rls",
                relation.title,
                f"{role} owns it, and may switch its row level security off",
                "callers own nothing",
                f"alter table {relation.title} owner to postgres;",
                (role,),
                relation.title,
            )


def _joined(catalogue: Catalogue, declaration: Declaration, role: str) -> Iterator[Found]:
    for other in sorted(catalogue.inherited(role) - {role}):
        strong = other in _POWERFUL or other in declaration.service or catalogue.bypasses(other)
        owns = any(r.owner == other and r.schema in declaration.schemas for r in catalogue.relations)
        above = role == declaration.anonymous and other == declaration.signed_in
        if strong or owns or above:
            yield Found(
                "role-membership",
                f"role {role}",
                f"it is a member of {other}",
                "callers are members of nothing with more rights",
                f"revoke {quoted(other)} from {quoted(role)};",
                (role,),
            )


def schemas(catalogue: Catalogue, declaration: Declaration) -> Iterator[Found]:
    """Nothing else is exposed, and callers create nothing."""
    shown = [part.strip() for part in (catalogue.server["exposed"] or "").split(",") if part.strip()]
    for name in shown:
        if name not in declaration.schemas and name not in _HARMLESS_SCHEMAS:
            yield Found(
                "undeclared-schema",
                f"schema {name}",
                "the Data API exposes it (pgrst.db_schemas)",
                "only declared schemas are exposed",
                f"alter role authenticator set pgrst.db_schemas = '{', '.join(declaration.schemas)}';",
            )
    for name, facts in catalogue.schemas.items():
        creators = [r for r in facts["create"] if r in declaration.callers]
        if creators and name not in ("pg_temp",):
            yield Found(
                "schema-create",
                f"schema {name}",
                f"{', '.join(creators)} may create objects in it",
                "callers create nothing",
                f"revoke create on schema {quoted(name)} from public, {', '.join(creators)};",
                tuple(creators),
            )


def defaults(catalogue: Catalogue, declaration: Declaration) -> Iterator[Found]:
    """New tables are not granted to callers by themselves."""
    if declaration.grants == "wide":
        return
    for entry in catalogue.defaults:
        if entry["kind"] not in ("r", "S", "f") or entry["to"] not in ("public", *declaration.callers):
            continue
        if entry["kind"] == "f" and entry["to"] != declaration.anonymous:
            continue  # PUBLIC may call new functions anyway, until that is revoked
        if entry["schema"] not in (None, *declaration.schemas) or entry["by"].startswith("supabase_"):
            continue
        place = f" in schema {entry['schema']}" if entry["schema"] else ""
        what = f"new {_KINDS[entry['kind']]}{place} are granted to {entry['to']}"
        kind = _KINDS[entry["kind"]]
        by, to = entry["by"], entry["to"]
        fix = f"alter default privileges for role {by}{place} revoke all on {kind} from {to};"
        yield Found(
            "default-grants",
            f"default privileges of {entry['by']}{place}",
            what,
            "a migration grants what it means to",
            fix,
            (entry["to"],),
            severity=Severity.WARNING,
        )


def sequences(catalogue: Catalogue, declaration: Declaration) -> Iterator[Found]:
    """Callers neither read nor set counters."""
    if declaration.grants == "wide":
        return
    for sequence in catalogue.sequences:
        if sequence["schema"] not in declaration.schemas:
            continue
        title = f"{quoted(sequence['schema'])}.{quoted(sequence['name'])}"
        for role, privileges in sequence["privileges"].items():
            excess = [p for p in privileges if p in ("SELECT", "UPDATE")]
            if excess and role in declaration.callers:
                yield Found(
                    "sequence-exposed",
                    f"sequence {title}",
                    f"{role} holds {', '.join(excess)}",
                    "callers hold USAGE at most",
                    f"revoke {', '.join(excess).lower()} on sequence {title} from public, {role};",
                    (role,),
                    severity=Severity.WARNING,
                )


def publications(catalogue: Catalogue, declaration: Declaration) -> Iterator[Found]:
    """Nothing is published that callers may not read."""
    for publication in catalogue.publications:
        where = f"publication {publication['name']}"
        if publication["all"]:
            yield Found(
                "publication-leaks",
                where,
                "it publishes every table",
                "it names the tables that it publishes",
                f"drop publication {quoted(publication['name'])}; -- then name the tables that are meant",
            )
            continue
        for title in publication["tables"]:
            relation = next((r for r in catalogue.relations if f"{r.schema}.{r.name}" == title), None)
            if relation is None:
                continue
            declared = ancestor(catalogue, declaration, relation)
            above = [
                catalogue.by_oid[oid] for oid in catalogue.ancestors(relation) if oid in catalogue.by_oid
            ]
            if any(f"{r.schema}.{r.name}" in publication["tables"] for r in above):
                continue  # said of the table that it is a part of
            hidden = declared is None or not any("select" in rule.may for rule in declared.all_rules)
            if hidden and not (declared and declared.replicated):
                yield Found(
                    "publication-leaks",
                    where,
                    f"it publishes {relation.title}, which no caller may read",
                    "it publishes what callers may read",
                    f"alter publication {quoted(publication['name'])} drop table {relation.title};",
                    table=relation.title,
                )
