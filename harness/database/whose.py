"""Where a row says whose it is, other than in a column for it: in a document, or as tokens do.

`data ->> 'owner' = auth.uid()` wants a document with the caller's id in it; `org = auth.jwt() ->> 'org'` a
caller whose token names the organisation of the row. Both are made up for each user, each their own.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.database.catalogue import Catalogue, Column, Relation
from harness.database.oracle import Actor, Subject

__all__ = ["Claim", "claiming", "claims_of", "documents_of", "held", "joined"]

_STANDARD = {
    "sub",
    "role",
    "email",
    "phone",
    "aud",
    "exp",
    "iat",
    "iss",
    "aal",
    "session_id",
    "is_anonymous",
}
"""Claims that the platform makes itself."""
_STEPS = r"(?:\s*->>?\s*'[^']+')+"
_JWT = r"(?:auth\.jwt|current_setting\s*'request\.jwt\.claims?'(?:\s*,\s*true)?)"
_ASKED = re.compile(
    rf"{_JWT}\s*({_STEPS})\s*"
    r"(?:,\s*'[^']*'\s*)*"  # what counts where it is absent
    r"(?:=|in)\s*(?:any\s*)?(?:array\s*\[\s*)?'([^']*)'",
    re.I,
)
_CALLER = r"auth\.uid"


@dataclass(frozen=True)
class Claim:
    """A claim, by its path in the token, with which conditions compare a column."""

    relation: Relation
    column: Column
    path: tuple[str, ...]

    def value(self) -> str:
        """A value that nobody has yet."""
        made = uuid.uuid4()
        if self.column.base == "uuid":
            return str(made)
        return str(10**6 + made.int % 10**8) if self.column.category == "N" else f"probe-{made.hex[:10]}"


def _flat(text: str) -> str:
    """Without what PostgreSQL adds to it: casts, parentheses, subqueries of one value."""
    text = re.sub(r"::[\w.]+(?:\[\])?|[()\"]|\bAS (?:\w+|\"[^\"]*\")|\bselect\b", " ", text, flags=re.I)
    return " ".join(text.split()).replace(" ->", "->").replace("-> '", "->'").replace(">> '", ">>'")


def _asked(subject: Subject) -> str:
    return _flat(" ".join(f"{rule.where or ''} ; {rule.check or ''}" for rule in subject.rules))


def claims_of(catalogue: Catalogue, subjects: Sequence[Subject]) -> list[Claim]:
    """What tokens have to say, so that somebody is let in."""
    found: dict[tuple[int, str, tuple[str, ...]], Claim] = {}
    for subject in subjects:
        text = _asked(subject)
        pairs = [*re.findall(rf"([\w.]+) = {_JWT}\s*({_STEPS})", text)]
        pairs += [(name, path) for path, name in re.findall(rf"{_JWT}\s*({_STEPS}) = ([\w.]+)", text)]
        for name, path in pairs:
            for relation, column in _named(catalogue, subject, name, text):
                claim = Claim(relation, column, tuple(re.findall(r"'([^']+)'", path)))
                if claim.path[0] not in (*_STANDARD, "user_metadata"):
                    found.setdefault((relation.oid, column.name, claim.path), claim)
    return list(found.values())


def _named(
    catalogue: Catalogue, subject: Subject, name: str, text: str
) -> Iterator[tuple[Relation, Column]]:
    """The column: the subject's own, or one of a table that its conditions read."""
    qualifier, _, plain = name.rpartition(".")
    own = subject.relation.column(plain)
    if own is not None and qualifier in ("", subject.relation.name):
        yield subject.relation, own
        return
    for relation in catalogue.relations:
        column = relation.column(plain) if relation.table else None
        if column is not None and re.search(
            rf"{re.escape(relation.title)}(?: {qualifier or '.*'})?\b", text
        ):
            yield relation, column


def claiming(actor: Actor, text: str) -> Iterator[Actor]:
    """``actor`` with each claim that a condition asks for, which the application alone can put there."""
    for path, value in dict.fromkeys(_ASKED.findall(_flat(text))):
        claims = held(tuple(re.findall(r"'([^']+)'", path)), value)
        yield replace(actor, claims=joined(actor.claims, claims))


def documents_of(subjects: Sequence[Subject]) -> dict[tuple[int, str], list[tuple[str, ...]]]:
    """By relation and column: paths in documents where conditions look for the caller's id."""
    found: dict[tuple[int, str], list[tuple[str, ...]]] = {}
    for subject in subjects:
        relation = subject.relation
        made = [
            f"{_flat(column.default or '')} = auth.uid"
            for rule in subject.rules
            if rule.who == "owner" and (column := relation.column(rule.by or "")) and column.generated
        ]
        text = " ; ".join((_asked(subject), *made))
        for column in relation.columns:
            if column.base not in ("json", "jsonb"):
                continue
            name = rf"(?<!\w){re.escape(column.name)}\s*({_STEPS})"
            for path in re.findall(rf"{name} = {_CALLER}", text) + re.findall(rf"{_CALLER} = {name}", text):
                found.setdefault((relation.oid, column.name), []).append(
                    tuple(re.findall(r"'([^']+)'", path))
                )
    return found


def held(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A document with ``value`` at ``path``."""
    for key in reversed(path):
        value = {key: value}
    made: dict[str, Any] = value
    return made


def joined(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Both documents in one, at every depth."""
    both = {
        key: joined(one[key], value)
        if isinstance(value, dict) and isinstance(one.get(key), dict)
        else value
        for key, value in other.items()
    }
    return {**one, **both}
