"""Who is meant to do what: the declaration, strictly read, with every problem at its line.

    schemas: [public]                      # what the Data API exposes
    memberships:
      org: {table: public.members, user: user_id, group: org_id, role: role}
    tables:
      public.profiles: {owner: id, may: [select, update]}
      public.countries: {public: true}
      public.audit: {service_only: true}
      public.documents:
        rules:
          - {who: members, of: org, by: org_id, may: [select, insert]}
          - {who: members, of: org, by: org_id, roles: [admin], may: [update, delete]}
          - {who: anyone, may: [select], where: "published_at is not null"}
    functions:
      public.search(text): {callers: [authenticated]}
    buckets:
      avatars: {public: true, size: 1 MiB, types: [image/png], rules: [{who: owner, by: folder, may: all}]}

docs/database-checks.md describes every key.
"""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError

from harness.database.declaration_contradictions import contradictions
from harness.database.origin import Origin, Origins
from harness.environment.base import Strict
from harness.environment.yaml_tree import Path as TreePath
from harness.environment.yaml_tree import Tree, read_tree
from harness.errors import ConfigurationError, Problem

__all__ = ["Bucket", "Declaration", "FunctionRule", "Membership", "Rule", "Table", "load", "parse"]

Command = Literal["select", "insert", "update", "delete"]
ALL: tuple[Command, ...] = ("select", "insert", "update", "delete")
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
LARGEST = 4 * 2**20
"""Bytes that a declaration may have."""


def _commands(value: Any) -> Any:
    # a tuple: after a validator of our own, strict pydantic takes no list for one
    return ALL if value == "all" else tuple(value) if isinstance(value, list) else value


def _bytes(text: str) -> str:
    match = re.fullmatch(r"(\d+) ?([KMG]?I?B?)", text.strip().upper())
    if not match or match[2] not in _UNITS:
        raise ValueError("a size is a number and a unit: 10 MiB")
    return text


Commands = Annotated[tuple[Command, ...], BeforeValidator(_commands)]


class Rule(Strict):
    """Somebody may do something with some rows."""

    who: str
    """owner, members, signed-in, anyone, or the name of a database role; own: of a view, each their own."""
    by: str | None = None
    """The column that names the owner (or the group); of a bucket: `folder`, the first part of the path."""
    of: str | None = None
    """The membership (its name under `memberships`) that members belong to."""
    roles: tuple[str, ...] = ()
    """Only members with one of these roles."""
    may: Commands
    """Any of select, insert, update, delete; or all."""
    where: str | None = None
    """Only rows for which this SQL condition holds; auth.uid() is the caller."""
    check: str | None = None
    """The same for new rows, where it differs from `where`."""


class Membership(Strict):
    """Which table says who belongs to which group."""

    table: str
    user: str
    """Its column with the user."""
    group: str
    """Its column with the group."""
    role: str | None = None
    """Its column with the member's role."""
    where: str | None = None
    """Only rows for which this SQL condition holds are memberships (such as: `accepted`)."""


class Table(Strict):
    """A table or view of an exposed schema."""

    owner: str | None = None
    """Short for one rule: the column that names the owner, who may do what `may` says."""
    may: Commands = ()
    """What the owner may do."""
    public: bool = False
    """Short for one rule: anyone may read it."""
    service_only: bool = False
    """Nobody but the service role: no rules."""
    rules: tuple[Rule, ...] = ()
    """Who may do what."""
    columns: dict[str, dict[Command, tuple[str, ...]]] = Field(default_factory=dict)
    """By role and command: the only columns that are granted."""
    rights: Literal["caller", "owner"] = "caller"
    """Of a view. owner: it is meant to read with its owner's rights, and filters by itself."""
    shown_when: dict[str, str | bool | int | None] = Field(default_factory=dict)
    """Of what reads with its owner's rights: values (by schema.table.column) with which a row is shown."""
    hidden_when: dict[str, tuple[str | bool | int | None, ...]] = Field(default_factory=dict)
    """Values any of which hides the row, or a part of it, from whoever asks."""
    plant: dict[str, str] = Field(default_factory=dict)
    """Values for rows that are planted, by column; {user}, {mark} and {number} are replaced."""
    rls: bool = True
    """Whether row level security is on; only a table that no caller holds a privilege on may do without."""
    copied: bool = False
    """Whether triggers and rules may copy what is written to it to where others read it."""
    replicated: bool = False
    """Whether a publication may carry it although its readers are restricted."""

    @property
    def all_rules(self) -> tuple[Rule, ...]:
        """The rules, with the short forms written out."""
        short: list[Rule] = []
        if self.owner is not None:
            short.append(Rule(who="owner", by=self.owner, may=self.may))
        if self.public:
            short.append(Rule(who="anyone", may=("select",)))
        return (*short, *self.rules)


class FunctionRule(Strict):
    """A function that callers of the Data API may call."""

    callers: tuple[str, ...]
    """The roles that may."""
    reveals: Literal["own", "group", "anything"] = "own"
    """own: a caller gets and changes nothing of another user's. group: unless both are in one group.
    anything: it is meant to be public."""
    unlocked_by: tuple[str, ...] = ()
    """Secrets that open another's row to whoever has one: schema.table.column of a token."""
    adds: tuple[str, ...] = ()
    """Tables in which it puts rows among those of another's group: a form that anybody may send."""
    was: str = ""
    """Its definition, when the declaration was written: whoever gets or changes more is a finding."""
    shown_when: dict[str, str | bool | int | None] = Field(default_factory=dict)
    """Of what reads with its owner's rights: values (by schema.table.column) with which a row is shown."""
    hidden_when: dict[str, tuple[str | bool | int | None, ...]] = Field(default_factory=dict)
    """Values any of which hides the row, or a part of it, from whoever asks."""


class Bucket(Strict):
    """A storage bucket."""

    public: bool = False
    """Whether anybody may download its files by their URL."""
    size: Annotated[str, AfterValidator(_bytes)] | None = None
    """The largest file: 10 MiB."""
    types: tuple[str, ...] = ()
    """The MIME types that it takes."""
    rules: tuple[Rule, ...] = ()
    """Who may do what with the files."""

    @property
    def bytes(self) -> int | None:
        """`size` in bytes."""
        if self.size is None:
            return None
        match = re.fullmatch(r"(\d+) ?([KMG]?I?B?)", self.size.strip().upper())
        assert match is not None  # noqa: S101 - validated
        return int(match[1]) * _UNITS[match[2]]


class Declaration(Strict):
    """The whole declaration."""

    schemas: tuple[str, ...] = ("public",)
    """The schemas that the Data API exposes."""
    users: str | None = "auth.users"
    """The table of users; its primary key is what owner columns hold."""
    anonymous: str = "anon"
    """The role of callers without a token."""
    signed_in: str = "authenticated"
    """The role of callers with one."""
    service: tuple[str, ...] = ("service_role",)
    """Roles that are trusted with everything."""
    roles: tuple[str, ...] = ()
    """Further roles to look at as callers."""
    settings: dict[str, str] = Field(default_factory=dict)
    """Settings that the application makes for each signed-in caller; {user} is replaced."""
    trusted_settings: tuple[str, ...] = ()
    """Settings that policies may rest on, because no caller can make them."""
    grants: Literal["exact", "wide"] = "exact"
    """exact: a privilege beyond the rules is a finding. wide: only row level security is relied on."""
    memberships: dict[str, Membership] = Field(default_factory=dict)
    """Who belongs to which group."""
    tables: dict[str, Table] = Field(default_factory=dict)
    """Tables and views of the exposed schemas, by schema.name."""
    functions: dict[str, FunctionRule] = Field(default_factory=dict)
    """Functions that callers may call, by schema.name(argument types)."""
    buckets: dict[str, Bucket] = Field(default_factory=dict)
    """Storage buckets by id."""
    written_from: Origins = Field(default_factory=dict)
    """What the policies, views and functions were that it was written from: see written_from.py."""

    @property
    def callers(self) -> tuple[str, ...]:
        """The roles that are looked at as callers."""
        return tuple(dict.fromkeys((self.anonymous, self.signed_in, *self.roles)))

    def roles_of(self, rule: Rule) -> tuple[str, ...]:
        """The database roles that ``rule`` is about."""
        if rule.who == "anyone":
            return self.callers
        if rule.who in ("owner", "own", "members", "signed-in"):
            return (self.signed_in,)
        return (rule.who,)


def load(path: Path) -> Declaration:
    """Read the declaration at ``path``.

    Raises:
        ConfigurationError: with every problem, each at file:line:column.
    """
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise _unusable(str(path), f"cannot be read: {reason}", "harness db declare writes one") from None
    except UnicodeDecodeError:
        raise _unusable(str(path), "is not UTF-8", "save it as UTF-8") from None
    if len(raw) > LARGEST:
        raise _unusable(str(path), f"is larger than {LARGEST // 2**20} MiB", "is it a declaration?")
    return parse(text, str(path))


def parse(text: str, shown: str = "declaration") -> Declaration:
    """The declaration in ``text``; ``shown`` is what errors call the file.

    Raises:
        ConfigurationError: with every problem, each at file:line:column.
    """
    tree = read_tree(text)
    problems = [
        Problem(f"{shown}:{flaw.place.line}:{flaw.place.column}", _at(flaw.path, flaw.what), flaw.hint)
        for flaw in tree.flaws
    ]
    if not problems and not isinstance(tree.data, dict):
        problems = [Problem(shown, "must be a mapping", "docs/database-checks.md shows one")]
    declaration = None
    if not problems:
        try:
            declaration = Declaration.model_validate_json(json.dumps(tree.data))
        except ValidationError as error:
            problems = [_problem(shown, tree, detail) for detail in error.errors()]
        else:
            problems = [
                Problem(_place(shown, tree, at), _at(at, what), hint)
                for at, what, hint in contradictions(declaration)
            ]
    if problems or declaration is None:
        raise ConfigurationError(problems, title="declaration")
    return declaration


def _unusable(where: str, what: str, hint: str) -> ConfigurationError:
    return ConfigurationError([Problem(where, what, hint)], title="declaration")


def _at(path: TreePath, what: str) -> str:
    return f"{'.'.join(map(str, path))}: {what}" if path else what


def _place(shown: str, tree: Tree, path: TreePath) -> str:
    for length in range(len(path), 0, -1):
        place = tree.keys.get(path[:length]) or tree.values.get(path[:length])
        if place is not None:
            return f"{shown}:{place.line}:{place.column}"
    return f"{shown}:1"


def _problem(shown: str, tree: Tree, detail: Any) -> Problem:
    path: TreePath = tuple(part for part in detail["loc"] if part != "[key]")
    hint = ""
    what = str(detail["msg"])
    if detail["type"] == "extra_forbidden":
        what = f"there is no key {path[-1]!r} here"
        known = sorted({name for model in _MODELS for name in model.model_fields})
        near = difflib.get_close_matches(str(path[-1]), known, 1)
        hint = f"did you mean {near[0]}?" if near else ""
    elif detail["type"] == "missing":
        what = "is missing"
    if path[:1] == ("written_from",) and not hint:
        hint = "write it anew: harness db declare"
    return Problem(_place(shown, tree, path), _at(path, what[:1].lower() + what[1:]), hint)


_MODELS: tuple[type[BaseModel], ...] = (Declaration, Table, Rule, Membership, FunctionRule, Bucket, Origin)
