"""Tables and views as they are declared, granted and secured."""

from __future__ import annotations

from collections.abc import Iterator

from harness.database.catalogue import COMMANDS, Catalogue, Relation
from harness.database.declaration import Declaration, Table
from harness.database.findings import Found

__all__ = [
    "absent",
    "ancestor",
    "exposed",
    "held",
    "row_security",
    "undeclared",
    "unprotected",
    "views",
]

_OTHERS = ("TRUNCATE", "REFERENCES", "TRIGGER")


def exposed(catalogue: Catalogue, declaration: Declaration) -> list[Relation]:
    """Relations of the exposed schemas that no extension brought."""
    return [r for r in catalogue.relations if r.schema in declaration.schemas and not r.extension]


def held(relation: Relation, catalogue: Catalogue) -> dict[str, list[str]]:
    """Privileges of the callers on the relation or any column of it, by role."""
    usage = catalogue.schemas[relation.schema]["usage"]
    found = {
        role: [
            p
            for p in (*COMMANDS, *_OTHERS)
            if p in relation.privileges.get(role, ()) or (p in COMMANDS and relation.allows(role, p))
        ]
        for role in catalogue.api_roles
        if role in usage
    }
    return {role: privileges for role, privileges in found.items() if privileges}


def ancestor(catalogue: Catalogue, declaration: Declaration, relation: Relation) -> Table | None:
    """The declaration of the relation, or of a table that it is a part or heir of."""
    if relation.title in declaration.tables:
        return declaration.tables[relation.title]
    for oid in relation.parents:
        parent = catalogue.by_oid.get(oid)
        found = ancestor(catalogue, declaration, parent) if parent else None
        if found is not None:
            return found
    return None


def _unconditional(declaration: Declaration, table: Table, role: str, command: str) -> bool:
    return any(
        rule.who not in ("owner", "members")
        and not rule.where
        and not rule.check
        and command.lower() in rule.may
        and role in declaration.roles_of(rule)
        for rule in table.all_rules
    )


def undeclared(catalogue: Catalogue, declaration: Declaration) -> Iterator[Found]:
    """Everything in an exposed schema is declared."""
    for relation in exposed(catalogue, declaration):
        if ancestor(catalogue, declaration, relation) is not None:
            continue
        privileges = held(relation, catalogue)
        if privileges and (_open_table(relation) or _open_view(relation, catalogue)):
            continue  # a rule with more to say says it
        shown = (
            "; ".join(f"{role}: {', '.join(p)}" for role, p in privileges.items())
            or "no privileges of callers"
        )
        fix = (
            f"declare it, or: revoke all on {relation.title} from public, {', '.join(catalogue.api_roles)};"
        )
        yield Found(
            "undeclared",
            relation.title,
            f"it is not declared ({shown})",
            "every exposed relation is declared",
            fix,
            tuple(privileges),
            relation.title,
        )


def _open_table(relation: Relation) -> bool:
    return (relation.table and not relation.rls) or relation.kind in ("m", "f")


def _open_view(relation: Relation, catalogue: Catalogue) -> bool:
    return relation.kind == "v" and not relation.invoker and _owner_sees_more(catalogue, relation)


def absent(catalogue: Catalogue, declaration: Declaration) -> Iterator[Found]:
    """Everything that is declared exists."""
    for title in declaration.tables:
        if title not in catalogue.by_title:
            yield Found(
                "declared-absent",
                title,
                "there is no such relation",
                "what is declared exists",
                "-- apply the migrations, or take it out of the declaration",
                table=title,
            )
    known = {function.title for function in catalogue.functions}
    for title in declaration.functions:
        if title not in known:
            yield Found(
                "declared-absent",
                f"function {title}",
                "there is no such function",
                "what is declared exists",
                "-- apply the migrations, or take it out of the declaration",
            )


def row_security(catalogue: Catalogue, declaration: Declaration) -> Iterator[Found]:
    """Row level security is on wherever callers could get at rows."""
    for relation in exposed(catalogue, declaration):
        table = ancestor(catalogue, declaration, relation)
        if not relation.table or relation.rls:
            continue
        privileges = held(relation, catalogue)
        if table is None and not privileges:
            continue  # said by `undeclared`
        own = declaration.tables.get(relation.title)
        if not privileges and (own is None or not own.rls):
            continue
        if (
            own is not None
            and not own.rls
            and all(
                _unconditional(declaration, own, role, p) for role, ps in privileges.items() for p in ps
            )
        ):
            continue
        kind = "the partition" if relation.partition else "the table"
        policies = len(catalogue.policies_of(relation))
        what = f"row level security is off{f', and its {policies} policies do nothing' if policies else ''}"
        shown = "; ".join(f"{role}: {', '.join(p)}" for role, p in privileges.items())
        yield Found(
            "rls-disabled",
            relation.title,
            what + (f" ({shown})" if shown else ""),
            f"{kind} has row level security on",
            f"alter table {relation.title} enable row level security;",
            tuple(privileges),
            relation.title,
        )


def _owner_sees_more(catalogue: Catalogue, view: Relation) -> bool:
    """Whether the owner of ``view`` reads, through it, rows that policies would hide from its callers."""
    for oid in catalogue.reach(view):
        base = catalogue.by_oid.get(oid)
        if base is None or base.kind in ("v",):
            continue
        if not base.table:
            return True
        mine = base.owner in catalogue.inherited(view.owner) and not base.forced
        if base.rls and (mine or catalogue.bypasses(view.owner)):
            return True
        if not base.rls and base.schema in ("auth", "storage"):
            return True
    return False


def views(catalogue: Catalogue, declaration: Declaration) -> Iterator[Found]:
    """A view that callers may read reads with their rights."""
    for relation in exposed(catalogue, declaration):
        table = declaration.tables.get(relation.title)
        privileges = held(relation, catalogue)
        if (
            relation.kind != "v"
            or relation.invoker
            or not privileges
            or (table and table.rights == "owner")
        ):
            continue
        if not _owner_sees_more(catalogue, relation):
            continue
        tables = sorted(
            catalogue.by_oid[oid].title for oid in catalogue.reach(relation) if oid in catalogue.by_oid
        )
        yield Found(
            "view-bypasses-rls",
            relation.title,
            f"it reads {', '.join(tables)} with the rights of {relation.owner}",
            "views read with their caller's rights",
            f"alter view {relation.title} set (security_invoker = true);",
            tuple(privileges),
            relation.title,
        )


def unprotected(catalogue: Catalogue, declaration: Declaration) -> Iterator[Found]:
    """What cannot have row level security is not granted, unless it is declared as public."""
    for relation in exposed(catalogue, declaration):
        if relation.kind not in ("m", "f"):
            continue
        table = declaration.tables.get(relation.title, Table())
        open_to = [
            role
            for role, privileges in held(relation, catalogue).items()
            for p in privileges
            if p in COMMANDS and not _unconditional(declaration, table, role, p)
        ]
        if open_to:
            kind, rule = (
                ("a materialized view", "matview-exposed")
                if relation.kind == "m"
                else ("a foreign table", "foreign-table-exposed")
            )
            roles = tuple(dict.fromkeys(open_to))
            yield Found(
                rule,
                relation.title,
                f"{kind} has no row level security, and {', '.join(roles)} may read it",
                "not granted to callers",
                f"revoke all on {relation.title} from public, {', '.join(roles)};",
                roles,
                relation.title,
            )
