"""Policies as rules of a declaration: what they let through, in its own words where it has them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from harness.database.catalogue import COMMANDS, Catalogue, Policy, Relation, quoted
from harness.database.declaration import Declaration
from harness.database.declare_subqueries import seen_by
from harness.database.expressions import bare, calls, split
from harness.database.static_functions import MANAGED

__all__ = ["rules_of"]

_CALLER = r"\(*\s*(?:SELECT\s+)?auth\.uid\(\)(?:\s+AS\s+uid\))?\)*(?:::text)?"
_DEPTH = 4


def rules_of(
    catalogue: Catalogue,
    base: Declaration,
    relation: Relation,
    policies: list[Policy],
    bucket: str | None = None,
    *,
    plainly: bool = False,
) -> Iterator[dict[str, Any]]:
    """What permissive policies let through, narrowed by restrictive ones; alike rules are one.

    ``plainly``: with their subqueries as they stand, although those see what the caller may see.
    """
    written = _Writer(catalogue, plainly)
    kept: dict[str, dict[str, Any]] = {}
    for policy in policies:
        for who in _whos(base, policy) if policy.permissive else ():
            for command in COMMANDS if policy.command == "ALL" else (policy.command,):
                role = {"anyone": base.anonymous, "signed-in": base.signed_in}.get(who, who)
                if not relation.allows(role, command):
                    if who != "anyone" or not relation.allows(base.signed_in, command):
                        continue
                    rule = _rule(written, base, relation, policy, policies, command, "signed-in", bucket)
                else:
                    rule = _rule(written, base, relation, policy, policies, command, who, bucket)
                key = str(sorted(rule.items()))
                entry = kept.setdefault(key, rule | {"may": []})
                if command.lower() not in entry["may"]:
                    entry["may"].append(command.lower())
    yield from ({k: v for k, v in rule.items() if v is not None} for rule in kept.values())


def _whos(base: Declaration, policy: Policy) -> list[str]:
    applies = set(policy.applies)
    found = ["signed-in"] if base.signed_in in applies else []
    if base.anonymous in applies:  # anyone: the declared roles too
        found = [base.anonymous, *found] if set(base.roles) - applies else ["anyone"]
    others = applies - {base.anonymous, base.signed_in}
    return found + ([] if found == ["anyone"] and "public" in policy.roles else sorted(others))


@dataclass(frozen=True)
class _Writer:
    """Writes policies' expressions as conditions that say everything themselves."""

    catalogue: Catalogue
    plainly: bool

    def condition(self, relation: Relation, role: str, texts: list[str]) -> str | None:
        """All of ``texts``, helper functions and what ``role`` sees of other tables written out."""
        parts = [self._of(relation, role, " ".join(text.split())) for text in texts]
        parts = [part for part in parts if bare(part).lower() != "true"]
        return " AND ".join(parts) or None

    def _of(self, relation: Relation, role: str, text: str) -> str:
        if self.plainly:
            return self._inlined(relation, text)
        return seen_by(self.catalogue, role, relation, text, self._inlined)

    def _inlined(self, relation: Relation, text: str) -> str:
        for _ in range(_DEPTH):  # helpers call helpers
            if (inlined := _inlined(self.catalogue, relation, text)) == text:
                break
            text = inlined
        return text


def _rule(
    written: _Writer,
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
    before = written.condition(relation, role, old)
    after = written.condition(relation, role, new)
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
        else f"{quoted(column or '')}::text = auth.uid()::text"
    )


def _owner(relation: Relation, text: str | None, bucket: str | None) -> tuple[str | None, str | None]:
    """The column that is compared with the caller, and what else is asked."""
    if text is None:
        return None, None
    parts = split(bare(text), " AND ")
    for part in parts:
        inner = bare(part)
        match = re.fullmatch(rf"\(?(.+?)\)?(?:::text)? = {_CALLER}", inner) or re.fullmatch(
            rf"{_CALLER} = \(?(.+?)\)?(?:::text)?", inner
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
        for call in list(calls(text, function.name)):
            arguments = split(call[call.index("(") + 1 : -1], ", ")
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
        written = re.escape(quoted(column.name))  # as the database writes it
        named = f"{alias}.{column.sql}".replace("\\", r"\\")
        expression = re.sub(rf"(?<![.\w'\"]){written}(?![\w('\"])", named, expression)
    return expression
