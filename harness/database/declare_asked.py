"""What a subquery on a membership asks of it, when rules of members can say all of that."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.database.catalogue import Catalogue
from harness.database.expressions import bare, closing, split
from harness.database.mates import possible

__all__ = ["Asked", "asked"]

_LITERAL = re.compile(r"'([^']*)'")
_QUOTED = re.compile(r"'[^']*'")
_ANY = re.compile(r"= ANY \(+(ARRAY\[[^\]]*\])\)+")
_CALLER = r"\(*\s*(?:select\s+)?auth\.uid\(\)(?:\s+as\s+\w+)?\s*\)*(?:::\w+)?"
_BEGIN = r"[\s(]*(?:select[\s(]+)*"
_ARGUMENTS = re.compile(r"^\s*from\s+(?=\(select\b)", re.I)
"""Around a helper's query: a row with what it was given."""


@dataclass(frozen=True)
class Asked:
    """What is asked of a membership: one of ``roles``, when there are any; ``where``, of its own row."""

    roles: tuple[str, ...]
    where: str


def asked(catalogue: Catalogue, described: dict[str, str], table: str, text: str) -> Asked | None:
    """What ``text``, a condition of ``table``, asks of the membership; nothing, when it asks for more.

    Whatever is not understood would be lost, and the declaration be wider than what it was written of.
    """
    there = re.search(
        rf"{re.escape(described['table'])}(?:\s+(?:as\s+)?(?!where\b)(\w+))?\s+where\s", text, re.I
    )
    if there is None:
        return None
    alias = there[1] or described["table"].rpartition(".")[2].strip('"')
    before, rest = text[: there.start()], "(" + text[there.end() :]
    conditions, after = rest[1 : closing(rest)], rest[closing(rest) :]
    role = described.get("role", "")
    selected = _selected(described, alias, before, after)
    inside = _Reader(catalogue, described, table, alias, selected).read(conditions)
    outside = () if selected else _outside(catalogue, described, role, before, after)
    if inside is None or outside is None or (inside.roles and outside):
        return None
    return Asked(inside.roles or outside, inside.where)


def _selected(described: dict[str, str], alias: str, before: str, after: str) -> bool:
    """Whether the query answers with the caller's groups, and a group is looked for among them."""
    group = rf"(?:\"?{re.escape(alias)}\"?\.)?\"?{re.escape(described['group'])}\"?(?:::\w+)?"
    among = rf"(?:=|in)[\s(]*(?:any[\s(]*)?(?:select \* from[\s(]*)?(?:array[\s(]*)?select\s+{group}"
    found = re.fullmatch(rf"((?:(?!\bselect\b).)+?)\s{among}\s+from\s+\(*", before, re.I)
    return found is not None and bool(re.fullmatch(r"[\s)]*(?:::[\w.\[\]]+[\s)]*)?\w*[\s)]*", after))


def _outside(
    catalogue: Catalogue, described: dict[str, str], role: str, before: str, after: str
) -> tuple[str, ...] | None:
    """The roles that are asked for where the query is used; nothing, when it is used in another way."""
    after = _used(after)
    if re.fullmatch(rf"{_BEGIN}exists\s*\(\s*select\b[^()]*\bfrom\s*\(*", before, re.I):
        return () if not after else None
    named = rf"(?:\w+\.)?\"?{re.escape(role)}\"?(?:::\w+)?"
    if not role or not re.fullmatch(rf"{_BEGIN}{named}\s+from\s+\(*", before, re.I):
        return None
    return () if after.lower() == "is not null" else _roles(catalogue, described, after)


def _used(after: str) -> str:
    """What is done with the answer of a subquery that ends where ``after`` begins."""
    after = after.lstrip(") ")
    if match := _ARGUMENTS.match(after):
        row = after[match.end() :]
        after = re.sub(r'^\s*(?:\w+|"[^"]+")', "", row[closing(row) + 1 :]).lstrip(") ")
    return after.strip()


def _roles(catalogue: Catalogue, described: dict[str, str], compared: str) -> tuple[str, ...] | None:
    """The roles for which a comparison (`= 'writer'`, `<= 'editor'`) holds; nothing, when nobody knows."""
    plain = re.sub(r"::[\w.\"]+(?:\[\])?", "", compared)
    match = re.fullmatch(
        r"(=|<>|!=|<=|<|>=|>|in)\s*(?:any\b)?[\s(]*(?:array\[)?((?:'[^']*'[,\s]*)+)\]?[\s)]*", plain, re.I
    )
    if match is None:
        return None
    sign, values = match[1].lower(), _LITERAL.findall(match[2])
    if sign in ("=", "in"):
        return tuple(values)
    relation = catalogue.by_title.get(described["table"])
    column = relation.column(described.get("role", "")) if relation else None
    known = possible(relation, column) if relation and column else []
    if len(values) != 1 or values[0] not in known:
        return None
    if sign in ("<>", "!="):
        return tuple(value for value in known if value != values[0])
    if column is None or not column.labels:  # texts are compared by their letters
        return None
    place = known.index(values[0])
    after, with_it = sign.startswith(">"), sign.endswith("=")
    kept = known[place + (not with_it) :] if after else known[: place + with_it]
    return tuple(kept) or None


@dataclass(frozen=True)
class _Reader:
    """Reads the conditions of a subquery on a membership that is called ``alias`` there."""

    catalogue: Catalogue
    described: dict[str, str]
    table: str
    alias: str
    selected: bool = False
    """Whether the group is what it answers with."""

    def read(self, conditions: str) -> Asked | None:
        """What they ask, if they ask for the caller and a group."""
        conditions = re.sub(r"\s+limit 1$", "", conditions.strip(), flags=re.I)
        user, group = (self._named(self.described[key]) for key in ("user", "group"))
        role = self._named(self.described["role"]) if "role" in self.described else None
        found: dict[str, int] = {"user": 0, "group": 0}
        roles: tuple[str, ...] = ()
        kept: list[str] = []
        for part in _conjuncts(conditions):
            if re.fullmatch(rf"{user} = {_CALLER}|{_CALLER} = {user}", part, re.I):
                found["user"] += 1
            elif re.match(rf"{group} = ", part, re.I) or re.search(rf" = {group}$", part, re.I):
                found["group"] += 1
            elif (
                role
                and not roles
                and (match := re.match(rf"{role}(?:::\w+)? ?(?=[=<>!]|in\b)", part, re.I))
            ):
                if (named := _roles(self.catalogue, self.described, part[match.end() :])) is None:
                    return None
                roles = named
            elif self._foreign(part):
                return None
            else:
                kept.append(self._short(part))
        enough = found == {"user": 1, "group": 0 if self.selected else 1}
        return Asked(roles, " and ".join(kept)) if enough else None

    def _named(self, column: str) -> str:
        """A column of the membership, however it is written."""
        return rf'\(*(?:"?{re.escape(self.alias)}"?\.)?"?{re.escape(column)}"?\)*(?:::\w+)?'

    def _foreign(self, part: str) -> bool:
        """Whether it is about more than the membership's own row."""
        outer = self.table != self.alias and re.search(rf'\b{re.escape(self.table)}"?\.', part, re.I)
        return bool(outer or re.search(r"auth\.|\bselect\b", part, re.I))

    def _short(self, part: str) -> str:
        """Without its alias; a list of values as people write it, in place of PostgreSQL's way."""
        plain = re.sub(rf'(?<!\w)"?{re.escape(self.alias)}"?\.', "", part)
        written = _ANY.sub(lambda found: f"in ({', '.join(_QUOTED.findall(found[1]))})", plain)
        return f"({written})" if re.search(r"\bor\b", written, re.I) else written


def _conjuncts(text: str) -> list[str]:
    """What is asked for together, at any depth of parentheses."""
    text = bare(text.strip())
    parts = [one for half in split(text, " AND ") for one in split(half, " and ")]
    return [text] if len(parts) < 2 else [deeper for part in parts for deeper in _conjuncts(part)]
