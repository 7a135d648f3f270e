"""A first declaration from what a live database allows now: for a person to correct, not to trust.

Policies that compare a column with the caller become owner rules; anything else becomes a `where` with the
policy's own condition, in which SQL helper functions are written out: so that a later change of a helper
contradicts the declaration.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
import yaml

from harness.database import static_grants, static_relations, static_roles
from harness.database.catalogue import COMMANDS, Catalogue, Relation, read
from harness.database.check import FUNCTIONS, Options, check_connection
from harness.database.conditions import RIGHTS
from harness.database.declaration import Declaration, parse
from harness.database.declare_functions import opened
from harness.database.declare_groups import crowded, memberships_of, users_of
from harness.database.declare_members import narrower_buckets, narrower_tables
from harness.database.declare_rules import Valid, rules_of
from harness.database.declare_tried import Part, Try, evaluable, settle
from harness.database.declare_views import granted_columns, named_columns, narrower_views, unsaid, widest
from harness.database.findings import Report
from harness.database.hiding import Hidden, hidden
from harness.database.static_functions import MANAGED
from harness.database.told_apart import told_apart
from harness.database.written_from import concerns, noted
from harness.errors import ConfigurationError, Problem

__all__ = ["declared_text"]

_HEAD = """\
# Written by `harness db declare` from what the database allows: it says what is, not what is meant.
# Read every rule; take out what nobody should have; docs/database-checks.md describes the keys.
"""


def declared_text(
    dsn: str,
    schemas: tuple[str, ...] = (),
    told: Callable[[str], None] = lambda _: None,
    seconds: float = 0.0,
) -> str:
    """The YAML of a declaration that the database behind ``dsn`` keeps; ``told`` hears what is tried now.

    For ``seconds`` at most, conditions are left out to see what trying would not notice (told_apart.py).

    Raises:
        psycopg.OperationalError: when it cannot be reached.
        ConfigurationError: when there is no such schema.
    """
    with psycopg.connect(dsn) as connection:
        base = Declaration(schemas=schemas or ("public",))
        catalogue = read(connection, base.callers, base.service)
        if absent := [name for name in base.schemas if name not in catalogue.schemas]:
            there = ", ".join(name for name in catalogue.schemas if name not in MANAGED)
            what = f"there is no schema {', '.join(absent)}"
            raise ConfigurationError([Problem("--schema", what, f"there are: {there}")], title="declare")
        connection.rollback()
        extra = [role for role in catalogue.api_roles if role not in base.callers]
        base = base.model_copy(update={"roles": tuple(extra), "users": users_of(catalogue, base)})
        valid = evaluable(connection, base.schemas)
        data = _declared(catalogue, base, valid)
        connection.rollback()

        def checked(attempted: dict[str, Any], options: Options) -> Report:
            report = check_connection(connection, parse(_text(attempted)), options)
            connection.rollback()
            return report

        def tried(attempted: dict[str, Any], only: frozenset[str] | None = None) -> Report:
            return checked(attempted, Options(told=told, only=only))

        said = opened(catalogue, data, tried, None)
        for name in crowded(catalogue, data, said):
            del data["memberships"][name]
        settle(data, _candidates(catalogue, base, valid, data), tried, said)
        if data.get("functions"):
            # whom a membership lets in is known only now
            opened(catalogue, data, tried, frozenset({FUNCTIONS}))
        named_columns(base, catalogue, data)
        learnt: dict[str, Hidden] = {}
        nothing: frozenset[str] = frozenset()
        checked(data, Options(watch=lambda prober: learnt.update(hidden(prober)), only=nothing))
        _hide(data, learnt, tried)
        _defined(connection, catalogue, data)
        apart = told_apart(connection, parse(_text(data)), seconds, told) if seconds else None
        connection.rollback()  # else leaving the block would commit what was planted
        _drop_idle_definitions(catalogue, data, apart)
    return _text(data, unsaid(catalogue, base, data)) + noted(catalogue, apart)


def _candidates(
    catalogue: Catalogue, base: Declaration, valid: Valid, data: dict[str, Any]
) -> dict[Part, list[dict[str, Any]]]:
    found: dict[Part, list[dict[str, Any]]] = {}
    for title, entries in narrower_views(catalogue, base, data):
        found["tables", title] = entries
    plain = {
        title: _table(catalogue, base, valid, catalogue.by_title[title], plainly=True)
        for title in data.get("tables", {})
        if catalogue.by_title[title].table
    }
    for title, entry in plain.items():
        if entry != data["tables"][title]:
            found["tables", title] = [entry]
    for title, entry in narrower_tables(catalogue, {**data, "tables": plain}):
        found["tables", title] = [entry, *found.get(("tables", title), [])]
    buckets = {
        one.id: _bucket(catalogue, base, valid, one, plainly=True) for one in catalogue.buckets or ()
    }
    for bucket, entry in narrower_buckets(catalogue, {**data, "buckets": buckets}):
        found["buckets", bucket] = [entry]
    for bucket, entry in buckets.items():
        if entry != data["buckets"][bucket]:
            found.setdefault(("buckets", bucket), []).append(entry)
    return found


def _hide(data: dict[str, Any], learnt: dict[str, Hidden], tried: Try) -> None:
    """Note which values hide rows from whoever asks a function or view, where they do so a second time."""
    keys = ("shown_when", "hidden_when")
    entries = [(title, data["functions" if "(" in title else "tables"][title]) for title in learnt]
    for title, entry in entries:
        entry |= dict(zip(keys, (learnt[title].shown_when, learnt[title].hidden_when), strict=True))
    only = frozenset({FUNCTIONS, *learnt})
    found = {one.object for one in tried(data, only).found} if entries else set()
    for title, entry in entries:
        if found & {title, f"function {title}"}:
            for key in keys:
                entry.pop(key)


def _defined(connection: psycopg.Connection[Any], catalogue: Catalogue, data: dict[str, Any]) -> None:
    """Note what functions are, should they have their owner's rights: nothing else says what those ask."""
    for function in catalogue.functions:
        entry = data.get("functions", {}).get(function.title)
        if entry is not None and function.kind == "f":
            row = connection.execute("select pg_get_functiondef(%s)", [function.oid]).fetchone()
            entry["was"] = row[0] if row else ""
    connection.rollback()


def _drop_idle_definitions(
    catalogue: Catalogue, data: dict[str, Any], apart: Mapping[str, tuple[str, ...]] | None
) -> None:
    """What a function with its caller's rights was matters only where a check can judge by it."""
    for function in catalogue.functions:
        entry = data.get("functions", {}).get(function.title, {})
        blind = (apart or {}).get(f"function {function.title}", (RIGHTS,))
        if not function.definer and RIGHTS in blind:
            entry.pop("was", None)


def _text(data: dict[str, Any], more: str = "") -> str:
    return (
        _HEAD
        + more
        + yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100_000, default_flow_style=None)
    )


def _declared(catalogue: Catalogue, base: Declaration, valid: Valid) -> dict[str, Any]:
    data: dict[str, Any] = {"schemas": list(base.schemas)}
    if base.users != Declaration().users:
        data["users"] = base.users
    if base.roles:
        data["roles"] = list(base.roles)
    if memberships := dict(memberships_of(catalogue, base)):
        data["memberships"] = memberships
    if settings := sorted(_settings(catalogue)):
        data["trusted_settings"] = settings
    tables = {
        relation.title: _table(catalogue, base, valid, relation)
        for relation in static_relations.exposed(catalogue, base)
        if not _under_its_parent(catalogue, base, relation)
    }
    if tables:
        data["tables"] = tables
    functions = {
        f.title: {"callers": list(f.executors)}
        for f in catalogue.functions
        if f.schema in base.schemas
        and f.schema not in MANAGED
        and not f.extension
        and f.executors
        and f.returns not in ("trigger", "event_trigger")
    }
    if functions:
        data["functions"] = functions
    if catalogue.buckets:
        data["buckets"] = {
            bucket.id: _bucket(catalogue, base, valid, bucket) for bucket in catalogue.buckets
        }
    exact = parse(_text(data))
    excess = [
        *static_grants.grants(catalogue, exact),
        *static_roles.defaults(catalogue, exact),
        *static_roles.sequences(catalogue, exact),
    ]
    return {"grants": "wide", **data} if excess else data


def _under_its_parent(catalogue: Catalogue, base: Declaration, relation: Relation) -> bool:
    """A partition, or an heir that nobody reaches: whoever may one day, is held to the parent's rules."""
    parents = [parent for oid in relation.parents if (parent := catalogue.by_oid.get(oid)) is not None]
    exposed = any(parent.schema in base.schemas for parent in parents)
    reached = static_relations.held(relation, catalogue) or catalogue.policies_of(relation)
    return any(p.kind == "p" for p in parents) or (exposed and relation.rls and not reached)


def _settings(catalogue: Catalogue) -> set[str]:
    names = {
        n
        for p in catalogue.policies
        for n in re.findall(r"current_setting\(\s*'([^']+)'", f"{p.using} {p.check}")
    }
    return {name for name in names if not name.startswith("request.") and "." in name}


def _table(
    catalogue: Catalogue, base: Declaration, valid: Valid, relation: Relation, *, plainly: bool = False
) -> dict[str, Any]:
    held = static_relations.held(relation, catalogue)
    if not relation.table:
        return widest(base, catalogue, relation)
    found: dict[str, Any] = {}
    if not relation.rls:
        if not held:
            return {"service_only": True, "rls": False}
        open_to = {role: [p.lower() for p in ps if p in COMMANDS] for role, ps in held.items()}
        only_reads = all(commands == ["select"] for commands in open_to.values())
        return (
            {"public": True, "rls": False}
            if only_reads and base.anonymous in open_to
            else {"service_only": True}
        )
    policies = catalogue.policies_of(relation)
    rules = list(rules_of(catalogue, base, relation, policies, valid=valid, plainly=plainly))
    if not rules:
        return {"service_only": True}
    found["rules"] = rules
    if columns := granted_columns(relation, held):
        found["columns"] = columns
    return found


def _bucket(
    catalogue: Catalogue, base: Declaration, valid: Valid, bucket: Any, *, plainly: bool = False
) -> dict[str, Any]:
    found: dict[str, Any] = {"public": bucket.public}
    if bucket.size is not None:
        found["size"] = f"{bucket.size} B"
    if bucket.types:
        found["types"] = list(bucket.types)
    objects = catalogue.by_title.get("storage.objects")
    if objects is not None:
        mine = [p for p in catalogue.policies_of(objects) if concerns(p, bucket.id)]
        if rules := list(rules_of(catalogue, base, objects, mine, bucket.id, valid=valid, plainly=plainly)):
            found["rules"] = rules
    return found
