"""A first declaration from what a live database allows now: for a person to correct, not to trust.

Policies that compare a column with the caller become owner rules; anything else becomes a `where` with the
policy's own condition, in which SQL helper functions are written out: so that a later change of a helper
contradicts the declaration.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import yaml

from harness.database import static_relations, static_roles
from harness.database.blame import _calls
from harness.database.catalogue import COMMANDS, Catalogue, Policy, Relation, read
from harness.database.check import Options, check_connection
from harness.database.declaration import Declaration, parse
from harness.database.static_functions import MANAGED
from harness.database.static_policies import _bare, _split

__all__ = ["declared_text"]

_HEAD = """\
# Written by `harness db declare` from what the database allows: it says what is, not what is meant.
# Read every rule; take out what nobody should have; docs/database-checks.md describes the keys.
"""
_CALLER = r"\(*\s*(?:SELECT\s+)?auth\.uid\(\)(?:\s+AS\s+uid\))?\)*(?:::text)?"


def declared_text(dsn: str, schemas: tuple[str, ...] = ()) -> str:
    """The YAML of a declaration that the database behind ``dsn`` keeps.

    Raises:
        psycopg.OperationalError: when it cannot be reached.
    """
    with psycopg.connect(dsn) as connection:
        base = Declaration(schemas=schemas or ("public",))
        catalogue = read(connection, base.callers, base.service)
        connection.rollback()
        extra = [role for role in catalogue.api_roles if role not in base.callers]
        data = _declared(catalogue, base.model_copy(update={"roles": tuple(extra)}))
        for attempt in ("unlocked_by", "reveals"):
            report = check_connection(connection, parse(_text(data)), Options())
            connection.rollback()
            _opened(
                catalogue, data, [f.object for f in report.found if f.rule == "function-leaks"], attempt
            )
    return _text(data)


def _opened(catalogue: Catalogue, data: dict[str, Any], leaking: list[str], attempt: str) -> None:
    """Say of functions that give rows away what opens them: a secret that they ask for, or nothing."""
    for function in catalogue.functions:
        entry = data.get("functions", {}).get(function.title)
        if entry is None or f"function {function.title}" not in leaking:
            continue
        secrets = [
            f"{relation.title}.{column.name}"
            for relation in catalogue.relations
            if relation.table and relation.title in function.body
            for column in relation.columns
            for given in function.inputs
            if given["name"]
            and re.search(rf"\b{re.escape(column.name)}\s*=\s*{re.escape(given['name'])}\b", function.body)
        ]
        if attempt == "unlocked_by" and secrets:
            entry["unlocked_by"] = list(dict.fromkeys(secrets))
        elif attempt == "reveals":
            entry.pop("unlocked_by", None)
            entry["reveals"] = "anything"


def _text(data: dict[str, Any]) -> str:
    return _HEAD + yaml.safe_dump(
        data, sort_keys=False, allow_unicode=True, width=100_000, default_flow_style=None
    )


def _declared(catalogue: Catalogue, base: Declaration) -> dict[str, Any]:
    data: dict[str, Any] = {"schemas": list(base.schemas)}
    if base.roles:
        data["roles"] = list(base.roles)
    if memberships := dict(_memberships(catalogue, base)):
        data["memberships"] = memberships
    if settings := sorted(_settings(catalogue)):
        data["trusted_settings"] = settings
    tables = {
        relation.title: _table(catalogue, base, relation)
        for relation in static_relations.exposed(catalogue, base)
        if not any(catalogue.by_oid[oid].kind == "p" for oid in relation.parents if oid in catalogue.by_oid)
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
        data["buckets"] = {bucket.id: _bucket(catalogue, base, bucket) for bucket in catalogue.buckets}
    exact = parse(_text(data))
    excess = [
        *static_relations.grants(catalogue, exact),
        *static_roles.defaults(catalogue, exact),
        *static_roles.sequences(catalogue, exact),
    ]
    return {"grants": "wide", **data} if excess else data


def _settings(catalogue: Catalogue) -> set[str]:
    names = {
        n
        for p in catalogue.policies
        for n in re.findall(r"current_setting\(\s*'([^']+)'", f"{p.using} {p.check}")
    }
    return {name for name in names if not name.startswith("request.") and "." in name}


def _memberships(catalogue: Catalogue, base: Declaration) -> Iterator[tuple[str, dict[str, str]]]:
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
                if relation.column("role"):
                    found["role"] = "role"
                yield relation.name, found
                break


def _table(catalogue: Catalogue, base: Declaration, relation: Relation) -> dict[str, Any]:
    held = static_relations.held(relation, catalogue)
    if not relation.table:
        return _view(base, relation, held)
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
    rules = list(_rules(catalogue, base, relation, catalogue.policies_of(relation)))
    if not rules:
        return {"service_only": True}
    found["rules"] = rules
    if columns := _columns(relation, held):
        found["columns"] = columns
    return found


def _view(base: Declaration, relation: Relation, held: dict[str, list[str]]) -> dict[str, Any]:
    rules = []
    readers = [role for role, privileges in held.items() if "SELECT" in privileges]
    for role in readers:
        who = {base.anonymous: "anyone", base.signed_in: "signed-in"}.get(role, role)
        if who == "anyone" or base.anonymous not in readers:
            rules.append({"who": who, "may": ["select"]})
    found: dict[str, Any] = (
        {"rules": rules[:1] if rules and rules[0]["who"] == "anyone" else rules}
        if rules
        else {"service_only": True}
    )
    if relation.kind == "v" and not relation.invoker and rules:
        found["rights"] = "owner"
    return found


def _columns(relation: Relation, held: dict[str, list[str]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for role in held:
        for command in ("SELECT", "INSERT", "UPDATE"):
            if command not in relation.privileges.get(role, ()) and relation.allows(role, command):
                names = [c.name for c in relation.columns_for(role, command)]
                found.setdefault(role, {})[command.lower()] = names
    return found


def _rules(
    catalogue: Catalogue,
    base: Declaration,
    relation: Relation,
    policies: list[Policy],
    bucket: str | None = None,
) -> Iterator[dict[str, Any]]:
    """What permissive policies let through, narrowed by restrictive ones; alike rules are one."""
    kept: dict[str, dict[str, Any]] = {}
    for policy in policies:
        for who in _whos(base, policy) if policy.permissive else ():
            for command in COMMANDS if policy.command == "ALL" else (policy.command,):
                role = {"anyone": base.anonymous, "signed-in": base.signed_in}.get(who, who)
                if not relation.allows(role, command):
                    if who != "anyone" or not relation.allows(base.signed_in, command):
                        continue
                    rule = _rule(catalogue, base, relation, policy, policies, command, "signed-in", bucket)
                else:
                    rule = _rule(catalogue, base, relation, policy, policies, command, who, bucket)
                key = str(sorted(rule.items()))
                entry = kept.setdefault(key, rule | {"may": []})
                if command.lower() not in entry["may"]:
                    entry["may"].append(command.lower())
    yield from ({k: v for k, v in rule.items() if v is not None} for rule in kept.values())


def _whos(base: Declaration, policy: Policy) -> list[str]:
    applies = set(policy.applies)
    found = ["anyone"] if base.anonymous in applies else ["signed-in"] if base.signed_in in applies else []
    others = applies - {base.anonymous, base.signed_in}
    return found + ([] if found == ["anyone"] and "public" in policy.roles else sorted(others))


def _rule(
    catalogue: Catalogue,
    base: Declaration,
    relation: Relation,
    policy: Policy,
    policies: list[Policy],
    command: str,
    who: str,
    bucket: str | None,
) -> dict[str, Any]:
    role = {"anyone": base.signed_in, "signed-in": base.signed_in}.get(who, who)
    narrower = [p for p in policies if not p.permissive and p.concerns(role, command)]
    old = [policy.using or "true", *(p.using or "true" for p in narrower)]
    new = [policy.new_rows or "true", *(p.new_rows or "true" for p in narrower)]
    before = _condition(catalogue, relation, old)
    after = _condition(catalogue, relation, new)
    if command == "INSERT":
        before = after
    owner, before = _owner(relation, before, bucket)
    same, after = _owner(relation, after, bucket)
    if owner and same == owner and who in ("anyone", "signed-in"):
        found: dict[str, Any] = {"who": "owner", "by": owner, "where": before}
    else:
        restored = f"{_test(owner, bucket)} and " if owner else ""
        found = {"who": who, "where": (restored + (before or "true")) if owner else before}
        after = f"{_test(same, bucket)} and {after or 'true'}" if same else after
    if command in ("INSERT", "UPDATE") and after != found["where"]:
        found["check"] = after or "true"
    return found


def _test(column: str | None, bucket: str | None) -> str:
    return (
        "(storage.foldername(name))[1] = auth.uid()::text"
        if column == "folder" and bucket
        else f"{column}::text = auth.uid()::text"
    )


def _condition(catalogue: Catalogue, relation: Relation, texts: list[str]) -> str | None:
    parts = [_inlined(catalogue, relation, " ".join(text.split())) for text in texts]
    parts = [part for part in parts if _bare(part).lower() != "true"]
    return " AND ".join(parts) or None


def _owner(relation: Relation, text: str | None, bucket: str | None) -> tuple[str | None, str | None]:
    """The column that is compared with the caller, and what else is asked."""
    if text is None:
        return None, None
    parts = _split(_bare(text), " AND ")
    for part in parts:
        bare = _bare(part)
        match = re.fullmatch(rf"\(?(.+?)\)?(?:::text)? = {_CALLER}", bare) or re.fullmatch(
            rf"{_CALLER} = \(?(.+?)\)?(?:::text)?", bare
        )
        left = match[1].strip('("') if match else ""
        named = "folder" if bucket and "foldername(name))[1" in left else left.strip('"')
        if named == "folder" or relation.column(named):
            rest = [p for p in parts if p is not part and not (bucket and "bucket_id" in p)]
            return named, " AND ".join(f"({p})" for p in rest) or None
    return None, text


def _inlined(catalogue: Catalogue, relation: Relation, text: str) -> str:
    """The expression with calls of SQL helper functions written out as subqueries."""
    for function in catalogue.functions:
        body = " ".join(function.body.split()).rstrip("; ")
        if (
            function.schema in MANAGED
            or function.language != "sql"
            or function.set
            or not body.lower().startswith("select")
        ):
            continue
        for call in list(_calls(text, function.name)):
            arguments = _split(call[call.index("(") + 1 : -1], ", ")
            written = body
            for index, (given, argument) in enumerate(zip(function.inputs, arguments, strict=False)):
                value = _qualified(relation, argument)
                written = written.replace(f"${index + 1}", f"({value})")
                if given["name"]:
                    written = re.sub(
                        rf"(?<![.\w]){re.escape(given['name'])}(?![\w(])",
                        _literally(value),
                        written,
                    )
            text = text.replace(call, f"({written})")
    return text


def _literally(value: str) -> Callable[[re.Match[str]], str]:
    """As a replacement in which no backslash means anything."""
    return lambda _: f"({value})"


def _qualified(relation: Relation, expression: str) -> str:
    alias = '"' + relation.name.replace('"', '""') + '"'
    for column in relation.columns:
        expression = re.sub(
            rf"(?<![.\w'\"]){re.escape(column.name)}(?![\w('\"])", f'{alias}."{column.name}"', expression
        )
    return expression


def _bucket(catalogue: Catalogue, base: Declaration, bucket: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"public": bucket.public}
    if bucket.size is not None:
        found["size"] = f"{bucket.size} B"
    if bucket.types:
        found["types"] = list(bucket.types)
    objects = catalogue.by_title.get("storage.objects")
    if objects is not None:
        mine = [p for p in catalogue.policies_of(objects) if _concerns(p, bucket.id)]
        if rules := list(_rules(catalogue, base, objects, mine, bucket.id)):
            found["rules"] = rules
    return found


def _concerns(policy: Policy, bucket: str) -> bool:
    text = f"{policy.using or ''} {policy.check or ''}"
    return "bucket_id" not in text or f"'{bucket}'" in text
