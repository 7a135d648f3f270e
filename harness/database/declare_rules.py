"""Policies as rules of a declaration: what they let through, in its own words where it has them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from harness.database.catalogue import COMMANDS, Catalogue, Function, Policy, Relation, quoted
from harness.database.declaration import Declaration
from harness.database.declare_helpers import written_out
from harness.database.declare_subqueries import Written, seen_by, seen_within
from harness.database.expressions import bare, split

__all__ = ["Valid", "rules_of"]

Valid = Callable[[Relation, str], bool]
"""Whether the database takes a condition of a relation."""

_CALLER = r"\(*\s*(?:SELECT\s+)?auth\.uid\(\)(?:\s+AS\s+uid\))?\)*(?:::text)?"
_DEPTH = 2
"""Helpers with their caller's rights read tables whose policies call others."""


def rules_of(
    catalogue: Catalogue,
    base: Declaration,
    relation: Relation,
    policies: list[Policy],
    bucket: str | None = None,
    *,
    valid: Valid,
    plainly: bool = False,
) -> Iterator[dict[str, Any]]:
    """What permissive policies let through, narrowed by restrictive ones; alike rules are one.

    ``plainly``: with their subqueries as they stand, although those see what the caller may see.
    """
    written = _Writer(catalogue, valid, plainly)
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
    valid: Valid
    plainly: bool

    def condition(self, relation: Relation, role: str, texts: list[str]) -> str | None:
        """All of ``texts``, helper functions and what ``role`` sees of other tables written out."""
        parts = [self._of(relation, role, " ".join(text.split())) for text in texts]
        parts = [part for part in parts if bare(part).lower() != "true"]
        return " AND ".join(parts) or None

    def _of(self, relation: Relation, role: str, text: str) -> str:
        """As much of it written out as the database takes."""
        inlined = self._inlined(role, _DEPTH)
        if not self.plainly:
            seen = seen_by(self.catalogue, role, relation, text, inlined)
            if self.valid(relation, seen):
                return seen
        plain = inlined(relation, text)
        return plain if self.valid(relation, plain) else text

    def _inlined(self, role: str, depth: int) -> Written:
        """Helpers written out; what those with their caller's rights read as ``role`` sees it."""

        def body(function: Function, query: str, given: Callable[[str], str]) -> str:
            if function.definer or self.plainly or depth == 0:
                return given(query)
            return seen_within(self.catalogue, role, query, given, self._inlined(role, depth - 1), 1)

        return lambda relation, text: written_out(self.catalogue, relation, text, body)


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
        left = match[1].strip('("') if match and " IN ( SELECT" not in match[1] else ""
        named = "folder" if bucket and "foldername(name))[1" in left else left.strip('"')
        if named == "folder" or relation.column(named):
            rest = [p for p in parts if p is not part and not (bucket and "bucket_id" in p)]
            return named, " AND ".join(f"({p})" for p in rest) or None
    return None, text
