"""What a first declaration says of views: whose rows they show, found out by trying.

A view has no policies that could be read. So the narrowest rule that may be meant is tried first (a column
that elsewhere holds the owner, one that holds a group), then the next (harness/database/declare_tried.py).
Of a view with its owner's rights the query itself is all that holds rows back: it is written out, so that
another one, which shows more, contradicts the declaration.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from harness.database.beneath import hidden_tables, narrows
from harness.database.catalogue import COMMANDS, Catalogue, Relation, quoted
from harness.database.declaration import Declaration
from harness.database.declare_helpers import as_owner, written_out
from harness.database.static_relations import held

__all__ = ["granted_columns", "named_columns", "narrower_views", "unsaid", "widest"]

_NAME = r'(?:"[^"]+"|\w+)'
_ONLY_TABLE = re.compile(
    rf"\bFROM ({_NAME}\.{_NAME})(?: (?!(?:WHERE|GROUP|ORDER|LIMIT)\b)({_NAME}))?(?: [A-Z]|$)"
)


def narrower_views(
    catalogue: Catalogue, base: Declaration, data: dict[str, Any]
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Views (by title) with what may be meant of them, the narrowest first."""
    for view in _views(catalogue, data):
        found = list(_narrower(catalogue, base, data, view))
        if shown := _shown(catalogue, view):
            every = [*found, widest(base, catalogue, view)]
            found = [*(_only(entry, shown) for entry in every), *found]
        if found:
            yield view.title, found


def _shown(catalogue: Catalogue, view: Relation) -> str | None:
    """A condition: the row is one that the view's query, as it is now, has for who asks."""
    if not _filters_itself(view) or not narrows(view):
        return None
    query = " ".join((view.definition or "").split()).rstrip("; ")
    query = written_out(catalogue, _rows_of(catalogue, view, query), query, as_owner)
    row, same = quoted(view.name), '"a row of its own"'
    return f"exists (select from ({query}) as {same} where to_jsonb({row}) @> to_jsonb({same}))"


def _rows_of(catalogue: Catalogue, view: Relation, query: str) -> Relation:
    """The table whose columns stand in a query without its name, as they do where it is the only one."""
    found = _ONLY_TABLE.search(query)
    table = catalogue.by_title.get(found[1]) if found else None
    if found is None or table is None:
        return replace(view, columns=[])
    return replace(table, name=(found[2] or table.name).strip('"'))


def _only(entry: dict[str, Any], shown: str) -> dict[str, Any]:
    """What may be read is no more than is ``shown``."""
    rules = []
    for rule in entry.get("rules", ()):
        if "select" in rule["may"]:
            rules.append({**rule, "where": shown, "may": ["select"]})
        if rest := [command for command in rule["may"] if command != "select"]:
            rules.append({**rule, "may": rest})
    return {**entry, "rules": rules}


def _views(catalogue: Catalogue, data: dict[str, Any]) -> Iterator[Relation]:
    return (r for r in catalogue.relations if r.title in data.get("tables", {}) and not r.table)


def named_columns(base: Declaration, catalogue: Catalogue, data: dict[str, Any]) -> None:
    """Say the columns that are granted alone; of a view that shows the same to everybody, all that it has.

    One more must not go unnoticed.
    """
    for view in _views(catalogue, data):
        entry = data["tables"][view.title]
        granted = granted_columns(view, held(view, catalogue))
        rules = [rule for rule in entry.get("rules", ()) if "select" in rule["may"]]
        same_to_all = any(rule["who"] in ("anyone", "signed-in") for rule in rules)
        if same_to_all and entry.get("rights") == "owner":
            shown = _columns(catalogue, view)
            granted |= {role: {**columns, **granted.get(role, {})} for role, columns in shown.items()}
        if granted:
            entry["columns"] = granted


def _narrower(
    catalogue: Catalogue, base: Declaration, data: dict[str, Any], view: Relation
) -> Iterator[dict[str, Any]]:
    allowed = held(view, catalogue).get(base.signed_in, [])
    may = [c.lower() for c in COMMANDS if c in allowed and (c == "SELECT" or view.updatable)]
    if "select" not in may:
        return
    entry = {"rights": "owner"} if _filters_itself(view) else {}
    others = [rule for rule in widest(base, catalogue, view).get("rules", ()) if _of_another(base, rule)]
    for whose in _whose(catalogue, base, data, view):
        for commands in (may, ["select"]) if len(may) > 1 else (may,):
            rules = [{**whose, "may": commands}]
            if rest := [command for command in may if command not in commands]:
                rules.append({"who": "signed-in", "may": rest})
            yield {"rules": [*rules, *others], **entry}


def _of_another(base: Declaration, rule: dict[str, Any]) -> bool:
    return rule["who"] not in ("anyone", "signed-in")


def _whose(
    catalogue: Catalogue, base: Declaration, data: dict[str, Any], view: Relation
) -> Iterator[dict[str, Any]]:
    names = {column.name for column in view.columns}
    tables = data["tables"].values()
    owners = [r["by"] for table in tables for r in table.get("rules", ()) if r["who"] == "owner"]
    owners += [c for c, target in _references(catalogue) if target == base.users]
    users = catalogue.by_title.get(base.users or "")
    owners += users.key if users is not None and users.oid in catalogue.reach(view) else ()
    for name in dict.fromkeys(owners):
        if name in names:
            yield {"who": "owner", "by": name}
    reached = {catalogue.by_oid[oid].title for oid in catalogue.reach(view) if oid in catalogue.by_oid}
    for membership, described in data.get("memberships", {}).items():
        group = described["group"]
        table = catalogue.by_title[described["table"]]
        target = next((t for c, t in _references(catalogue, table) if c == group), "")
        columns = [group, *(c for c, t in _references(catalogue) if t == target)]
        if target in reached:
            columns += catalogue.by_title[target].key
        for name in dict.fromkeys(columns):
            if name in names:
                yield {"who": "members", "of": membership, "by": name}
    yield {"who": "own"}


def _references(catalogue: Catalogue, only: Relation | None = None) -> Iterator[tuple[str, str]]:
    """Columns that refer to another table, each with that table's title."""
    for relation in [only] if only else catalogue.relations:
        for constraint in relation.constraints:
            target = catalogue.by_oid.get(constraint.target or 0)
            if constraint.kind == "f" and target is not None and len(constraint.columns) == 1:
                yield constraint.columns[0], target.title


def _filters_itself(view: Relation) -> bool:
    return view.kind == "v" and not view.invoker


def widest(base: Declaration, catalogue: Catalogue, relation: Relation) -> dict[str, Any]:
    """What the grants on a view say: every row, to whoever may read it."""
    rules = []
    privileges = held(relation, catalogue)
    readers = [role for role, commands in privileges.items() if "SELECT" in commands]
    for role in readers:
        who = {base.anonymous: "anyone", base.signed_in: "signed-in"}.get(role, role)
        if who == "anyone" or base.anonymous not in readers:
            rules.append({"who": who, "may": ["select"]})
    if rules and rules[0]["who"] == "anyone":
        rules = rules[:1]
    for role, commands in privileges.items():  # what may be written through it
        who = {base.signed_in: "signed-in"}.get(role, role)
        if may := [c.lower() for c in COMMANDS if c != "SELECT" and c in commands and relation.updatable]:
            rules.append({"who": who, "may": may})
    found: dict[str, Any] = {"rules": rules} if rules else {"service_only": True}
    if _filters_itself(relation) and rules:
        found["rights"] = "owner"
    return found


def _columns(catalogue: Catalogue, view: Relation) -> dict[str, Any]:
    """Such a view shows to everybody what it has: one column more must not go unnoticed."""
    names = [column.name for column in view.columns]
    return {
        role: {"select": [*names]}
        for role, commands in held(view, catalogue).items()
        if "SELECT" in commands
    }


def granted_columns(relation: Relation, held: dict[str, list[str]]) -> dict[str, Any]:
    """By role and command, the columns that are granted where the whole relation is not."""
    found: dict[str, Any] = {}
    for role in held:
        for command in ("SELECT", "INSERT", "UPDATE"):
            if command not in relation.privileges.get(role, ()) and relation.allows(role, command):
                names = [c.name for c in relation.columns_for(role, command)]
                found.setdefault(role, {})[command.lower()] = names
    return found


def unsaid(catalogue: Catalogue, base: Declaration, data: dict[str, Any]) -> str:
    """A word about views over tables of no exposed schema: whose rows they show, trying did not tell."""
    known = base.model_copy(update={"tables": dict.fromkeys(data.get("tables", {}))})
    lines = []
    for relation in catalogue.relations:
        entry = data.get("tables", {}).get(relation.title, {})
        told = any(rule["who"] in ("owner", "members") for rule in entry.get("rules", ()))
        if relation.kind != "v" or not entry or told:
            continue
        if hidden := ", ".join(t.title for t in hidden_tables(catalogue, known, relation)):
            lines.append(f"# {relation.title} shows rows of {hidden}: say whose (who: owner, by: …)\n")
    return "".join(lines)
