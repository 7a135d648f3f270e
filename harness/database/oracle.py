"""What the declaration says about one row and one caller, as SQL that the database itself decides."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from harness.database.catalogue import COMMANDS, Catalogue, Relation
from harness.database.declaration import Declaration, Rule, Table

__all__ = ["Actor", "Subject", "expectations", "literal", "permission", "predicate", "record", "subjects"]


def literal(text: object) -> str:
    """``text`` as a quoted SQL literal (standard_conforming_strings is on)."""
    if text is None:
        return "null"
    return "'" + str(text).replace("\0", "").replace("'", "''") + "'"


@dataclass(frozen=True)
class Actor:
    """Somebody who asks: ``user`` is the id in the token, nothing for anonymous callers."""

    name: str
    role: str
    user: str | None = None
    claims: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def title(self) -> str:
        """As findings call them."""
        return f"{self.role} ({self.name})" if self.user else self.role

    @property
    def promised(self) -> bool:
        """Whether what they may do must work as well: of A that is asked elsewhere."""
        return self.name != "A" and not self.name.startswith("no longer")

    @property
    def token(self) -> str:
        """The claims of the token, as JSON."""
        own: dict[str, Any] = {"role": self.role}
        if self.user:
            own |= {
                "sub": self.user,
                "aud": "authenticated",
                "email": f"probe-{self.user[:8]}@probe.invalid",
            }
        return json.dumps(own | self.claims)


@dataclass(frozen=True)
class Subject:
    """A relation with its rules; of storage.objects, one a bucket. ``fixed`` columns have these values."""

    relation: Relation
    rules: tuple[Rule, ...]
    title: str
    fixed: dict[str, str] = field(default_factory=dict, hash=False)
    declared: Table = field(default_factory=Table, hash=False)
    bucket: str | None = None
    heir: bool = False
    """A partition or inherited table that callers reach by its own name: under its parent's rules."""

    @property
    def key(self) -> tuple[int, str]:
        """What identifies it."""
        return self.relation.oid, self.bucket or ""


def subjects(catalogue: Catalogue, declaration: Declaration) -> list[Subject]:
    """Every declared relation and bucket that exists."""
    found = []
    for title, table in declaration.tables.items():
        relation = catalogue.by_title.get(title)
        if relation is not None:
            found.append(Subject(relation, table.all_rules, title, dict(table.plant), table))
    found += list(_heirs(catalogue, declaration, found))
    objects = catalogue.by_title.get("storage.objects")
    live = {bucket.id for bucket in catalogue.buckets or ()}
    for name, bucket in declaration.buckets.items() if objects else ():
        if name in live and objects:
            fixed = {"bucket_id": name, "name": "{folder}/{mark}.txt", "owner_id": "{user}"}
            found.append(Subject(objects, bucket.rules, f"bucket {name}", fixed, bucket=name))
    return found


def _heirs(catalogue: Catalogue, declaration: Declaration, known: list[Subject]) -> Iterator[Subject]:
    parents = {subject.relation.oid: subject for subject in known}
    for relation in catalogue.relations:
        above = next((parents[oid] for oid in catalogue.ancestors(relation) if oid in parents), None)
        if above is None or relation.title in declaration.tables or not relation.table or not relation.rls:
            continue
        if any(relation.allows(role, command) for role in catalogue.api_roles for command in COMMANDS):
            yield Subject(relation, above.rules, relation.title, above.fixed, above.declared, heir=True)


def predicate(subject: Subject, rule: Rule, declaration: Declaration, actor: Actor, *, new: bool) -> str:
    """The condition under which ``rule`` lets ``actor`` at a row of the subject (aliased by its name)."""
    relation = subject.relation
    alias = '"' + relation.name.replace('"', '""') + '"'
    parts = [f"{alias}.bucket_id = {literal(subject.bucket)}"] if subject.bucket else []
    by = _by(subject, rule, alias)
    if rule.who == "owner":
        parts.append(f"({by})::text = {literal(actor.user or '')}")
    elif rule.who == "members":
        parts.append(_member(declaration, rule, by, actor))
    elif rule.who == "own":  # of a view that shows no owner: what is looked for in it is A's
        parts.append("true" if actor.name == "A" else "false")
    condition = rule.check if new and rule.check is not None else rule.where
    if condition:
        parts.append(f"({condition})")
    return " and ".join(parts) or "true"


def _by(subject: Subject, rule: Rule, alias: str) -> str:
    if rule.by is None:
        return ""
    if subject.bucket and rule.by == "folder":
        return f"split_part({alias}.name, '/', 1)"
    return f'{alias}."' + rule.by.replace('"', '""') + '"'


def _member(declaration: Declaration, rule: Rule, by: str, actor: Actor) -> str:
    membership = declaration.memberships[rule.of or ""]
    conditions = [
        f"membership.{_quote(membership.user)}::text = {literal(actor.user or '')}",
        f"membership.{_quote(membership.group)}::text = ({by})::text",
    ]
    if rule.roles and membership.role:
        roles = ", ".join(literal(role) for role in rule.roles)
        conditions.append(f"membership.{_quote(membership.role)}::text in ({roles})")
    if membership.where:
        conditions.append(f"({membership.where})")
    parts = re.findall(r'"((?:[^"]|"")*)"|([^."]+)', membership.table)
    table = ".".join(_quote(in_quotes.replace('""', '"') or plain) for in_quotes, plain in parts)
    return f"exists (select from {table} membership where {' and '.join(conditions)})"


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def record(relation: Relation, row: dict[str, Any]) -> str:
    """``row`` as an item of FROM, named like the relation, for expressions of policies."""
    alias = _quote(relation.name)
    return f"jsonb_populate_record(null::{relation.sql}, {literal(json.dumps(row))}::jsonb) as {alias}"


def expectations(
    subject: Subject, declaration: Declaration, actor: Actor, row: dict[str, Any], *, new: bool = False
) -> str:
    """A query for four booleans: may ``actor`` select, insert, update, delete ``row``?"""
    columns = [permission(subject, declaration, actor, command, new=new) for command in COMMANDS]
    return f"select {', '.join(columns)} from {record(subject.relation, row)}"


def permission(
    subject: Subject, declaration: Declaration, actor: Actor, command: str, *, new: bool = False
) -> str:
    """The condition under which the rules let ``actor`` do ``command`` with a row of the subject."""
    rules = [
        predicate(subject, rule, declaration, actor, new=new)
        for rule in subject.rules
        if command.lower() in rule.may and actor.role in declaration.roles_of(rule)
    ]
    return f"coalesce({' or '.join(f'({rule})' for rule in rules) or 'false'}, false)"
