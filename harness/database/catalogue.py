"""What a database has, as far as it matters to who may see and change what: one query, one round trip."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import psycopg

from harness.database.columns import Column, Constraint, Rewrite

__all__ = [
    "Bucket",
    "Catalogue",
    "Column",
    "Constraint",
    "Function",
    "Policy",
    "Relation",
    "Rewrite",
    "quoted",
    "read",
]

COMMANDS = ("SELECT", "INSERT", "UPDATE", "DELETE")
_QUERY = (Path(__file__).parent / "catalogue.sql").read_text(encoding="utf-8")
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_$")


def quoted(name: str) -> str:
    """``name`` as SQL writes it: in double quotes unless it needs none."""
    plain = name and set(name) <= _PLAIN and not name[0].isdigit() and name[0] != "$"
    return name if plain else '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class Relation:
    """A table (r, p), view (v), materialized view (m) or foreign table (f)."""

    oid: int
    schema: str
    name: str
    kind: Literal["r", "p", "v", "m", "f"]
    owner: str
    owner_oid: int
    rls: bool
    forced: bool
    rows: int
    options: list[str]
    extension: bool
    partition: bool
    bound: str | None
    partition_key: str | None
    parents: list[int]
    reads: list[int]
    definition: str | None
    updatable: int
    privileges: dict[str, list[str]]
    public: list[str]
    columns: list[Column]
    constraints: list[Constraint]
    trusted: dict[str, list[str]] = field(default_factory=dict)
    """What trusted roles hold, those that may use its schema."""

    @property
    def title(self) -> str:
        """schema.name, quoted where SQL needs it: what findings and declarations call it."""
        return f"{quoted(self.schema)}.{quoted(self.name)}"

    @property
    def sql(self) -> str:
        """The same, always quoted."""
        return '"' + self.schema.replace('"', '""') + '"."' + self.name.replace('"', '""') + '"'

    @property
    def table(self) -> bool:
        """Whether it holds rows of its own under row level security."""
        return self.kind in ("r", "p")

    @property
    def invoker(self) -> bool:
        """Whether a view reads with its caller's rights."""
        given = dict(option.split("=", 1) for option in self.options if "=" in option)
        return given.get("security_invoker", "").lower() in ("true", "on", "1", "yes")

    def column(self, name: str) -> Column | None:
        """The column called ``name``."""
        return next((column for column in self.columns if column.name == name), None)

    @cached_property
    def key(self) -> list[str]:
        """The columns of the primary key."""
        return next((c.columns for c in self.constraints if c.kind == "p"), [])

    def allows(self, role: str, command: str) -> bool:
        """Whether ``role`` holds ``command`` on the relation or any of its columns."""
        if command in self.privileges.get(role, ()):
            return True
        return any(command in (column.grants or {}).get(role, ()) for column in self.columns)

    def columns_for(self, role: str, command: str) -> list[Column]:
        """The columns on which ``role`` holds ``command``."""
        if command in self.privileges.get(role, ()):
            return self.columns
        return [c for c in self.columns if command in (c.grants or {}).get(role, ())]


@dataclass(frozen=True)
class Policy:
    """A row level security policy; ``applies`` are the API roles that it concerns."""

    relation: int
    name: str
    permissive: bool
    command: str
    roles: list[str]
    applies: list[str]
    using: str | None
    check: str | None
    functions: list[int]
    relations: list[int]

    def concerns(self, role: str, command: str) -> bool:
        """Whether it has a say when ``role`` does ``command``."""
        return role in self.applies and self.command in (command, "ALL")

    @property
    def new_rows(self) -> str | None:
        """What new rows must satisfy: without WITH CHECK, USING serves."""
        return self.check if self.check is not None else self.using


@dataclass(frozen=True)
class Function:
    """A function or procedure; ``executors`` are the API roles that can call it."""

    oid: int
    schema: str
    name: str
    kind: str
    arguments: str
    inputs: list[dict[str, Any]]
    returns: str
    set: bool
    volatile: str
    definer: bool
    leakproof: bool
    language: str
    owner: str
    owner_bypasses: bool
    settings: list[str]
    body: str
    extension: bool
    executors: list[str]

    @property
    def title(self) -> str:
        """schema.name(argument types)."""
        types = ", ".join(str(given["type"]) for given in self.inputs)
        return f"{quoted(self.schema)}.{quoted(self.name)}({types})"


@dataclass(frozen=True)
class Bucket:
    """A storage bucket; ``size`` in bytes."""

    id: str
    public: bool
    size: int | None
    types: tuple[str, ...]


@dataclass(frozen=True)
class Catalogue:
    """Everything, with look-ups."""

    server: dict[str, Any]
    api_roles: list[str]
    roles: dict[str, dict[str, Any]]
    schemas: dict[str, dict[str, Any]]
    relations: list[Relation]
    domains: dict[str, list[str] | None]
    policies: list[Policy]
    functions: list[Function]
    triggers: list[dict[str, Any]]
    sequences: list[dict[str, Any]]
    publications: list[dict[str, Any]]
    defaults: list[dict[str, Any]]
    extensions: dict[str, str]
    buckets: list[Bucket] | None
    rewrites: list[Rewrite] = field(default_factory=list)
    memo: dict[Any, Any] = field(default_factory=dict)

    @cached_property
    def by_oid(self) -> dict[int, Relation]:
        """Relations by oid."""
        return {relation.oid: relation for relation in self.relations}

    @cached_property
    def by_title(self) -> dict[str, Relation]:
        """Relations by schema.name."""
        return {relation.title: relation for relation in self.relations}

    @cached_property
    def function_by_oid(self) -> dict[int, Function]:
        """Functions by oid."""
        return {function.oid: function for function in self.functions}

    @cached_property
    def _policies_of(self) -> dict[int, list[Policy]]:
        found: dict[int, list[Policy]] = {}
        for policy in self.policies:
            found.setdefault(policy.relation, []).append(policy)
        return found

    def policies_of(self, relation: Relation) -> list[Policy]:
        """The policies on ``relation``."""
        return self._policies_of.get(relation.oid, [])

    def triggers_of(self, relation: Relation) -> list[dict[str, Any]]:
        """The triggers on ``relation`` that are on."""
        return self._triggers_of.get(relation.oid, [])

    @cached_property
    def _triggers_of(self) -> dict[int, list[dict[str, Any]]]:
        found: dict[int, list[dict[str, Any]]] = {}
        for trigger in self.triggers:
            if trigger["enabled"] != "D" and trigger["function"] in self.function_by_oid:
                found.setdefault(trigger["relation"], []).append(trigger)
        return found

    def bypasses(self, role: str) -> bool:
        """Whether policies do not hold for ``role``."""
        found = self.roles.get(role, {})
        return bool(found.get("super") or found.get("bypasses"))

    def inherited(self, role: str) -> set[str]:
        """``role`` and every role that it is a member of, however far."""
        seen: set[str] = set()
        open_ = [role]
        while open_:
            name = open_.pop()
            if name not in seen:
                seen.add(name)
                open_ += self.roles.get(name, {}).get("member_of", [])
        return seen

    def ancestors(self, relation: Relation) -> list[int]:
        """oids of the tables that the relation is a part or heir of, the nearest first."""
        found: list[int] = []
        open_ = list(relation.parents)
        while open_:
            oid = open_.pop(0)
            if oid not in found:
                found.append(oid)
                open_ += self.by_oid[oid].parents if oid in self.by_oid else []
        return found

    def called(self, oids: Iterable[int]) -> list[Function]:
        """The functions, and those of one's own that they call in turn, however deep."""
        seen: dict[int, Function] = {}
        open_ = [f for oid in oids if (f := self.function_by_oid.get(oid)) is not None]
        while open_:
            function = open_.pop()
            if function.oid in seen or function.extension or function.schema in ("auth", "storage"):
                continue
            seen[function.oid] = function
            words = set(re.findall(r"\w+(?=\"?\s*\()", function.body))
            open_ += [other for word in words for other in self._by_name.get(word, ())]
        return list(seen.values())

    @cached_property
    def _by_name(self) -> dict[str, list[Function]]:
        found: dict[str, list[Function]] = {}
        for function in self.functions:
            found.setdefault(function.name, []).append(function)
        return found

    def reach(self, relation: Relation) -> set[int]:
        """oids of the tables that a view reads, through other views too."""
        seen: set[int] = set()
        open_ = [relation.oid]
        while open_:
            oid = open_.pop()
            if oid not in seen:
                seen.add(oid)
                open_ += self.by_oid[oid].reads if oid in self.by_oid else []
        return seen - {relation.oid}


def read(
    connection: psycopg.Connection[Any], roles: tuple[str, ...], trusted: tuple[str, ...]
) -> Catalogue:
    """Read the catalogue; ``roles`` are looked at as callers, beside those that the Data API can become.

    ``trusted`` roles (service_role) are not callers to defend against. Raises psycopg.Error.
    """
    # with nothing in the path, every name comes out with its schema
    connection.execute(b"set local search_path = ''")
    row = connection.execute(_QUERY.encode(), {"roles": list(roles), "trusted": list(trusted)}).fetchone()
    assert row is not None  # noqa: S101 - for the type checker: an aggregate has one row
    data = row[0]
    relations = []
    for entry in data["relations"]:
        entry["columns"] = [Column(**column) for column in entry["columns"]]
        entry["constraints"] = [Constraint(**constraint) for constraint in entry["constraints"]]
        relations.append(Relation(**entry))
    return Catalogue(
        server=data["server"],
        api_roles=data["api_roles"],
        roles={role["name"]: role for role in data["roles"]},
        schemas={schema["name"]: schema for schema in data["schemas"]},
        relations=relations,
        domains=data["domains"],
        policies=[Policy(**policy) for policy in data["policies"]],
        functions=[Function(**function) for function in data["functions"]],
        triggers=data["triggers"],
        sequences=data["sequences"],
        publications=data["publications"],
        defaults=data["defaults"],
        extensions=data["extensions"],
        buckets=_buckets(data["buckets"]),
        rewrites=[Rewrite(**rule) for rule in data["rewrites"] if rule["enabled"]],
    )


def _buckets(xml: str | None) -> list[Bucket] | None:
    if xml is None:
        return None
    found = ElementTree.fromstring(xml).find(".//found")  # noqa: S314 - the database's own output
    rows = json.loads((found.text if found is not None else None) or "[]")
    return [
        Bucket(
            row["id"],
            bool(row.get("public")),
            row.get("file_size_limit"),
            tuple(row.get("allowed_mime_types") or ()),
        )
        for row in rows
    ]
