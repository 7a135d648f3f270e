"""What the declaration promises must be seen to work for somebody: what nobody can try proves nothing.

A rule that no planted user satisfies (a course that has expired, published posts where none is) would let a
check pass in which every answer is a denial. So for each rule and command a planted user is looked for who
may; A's row, and A's token, are given the values that the rule's own text names.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from harness.database.declaration import Rule
from harness.database.findings import Gap
from harness.database.matrix import fulfilled
from harness.database.novelties import inserted
from harness.database.oracle import Actor, Subject, literal, predicate, record
from harness.database.planted import Planted
from harness.database.prober import Prober
from harness.database.promise_values import changes_for, update_of
from harness.database.rule_text import personal
from harness.database.sightings import Sighting
from harness.database.variants import texts_of
from harness.database.whose import claiming

__all__ = ["alike", "promised"]

_MOST = 100
"""Variants of a row that are thought of for one subject."""
Open = dict[tuple[int, str], Rule]


def promised(prober: Prober, subject: Subject) -> Iterator[Sighting]:
    """Try what rules promise to others than A, or of other rows; gaps for what nobody can try.

    First with somebody whom that rule alone lets in: that A may by another rule proves nothing of this one.
    """
    row = prober.worlds["A"].row(subject)
    if row is None or subject.heir or not subject.relation.table:
        return
    owner = prober.worlds["A"].actor
    actors = [owner, *(a for a in prober.intruders if a.role in prober.catalogue.roles)]
    actors += claiming(owner, " ".join(f"{r.where or ''} {r.check or ''}" for r in subject.rules))
    open_: Open = {(i, c): rule for i, rule in enumerate(subject.rules) for c in rule.may}
    for stays, alone in itertools.product((True, False), (True, False)):
        if open_:
            yield from _Search(prober, subject, row, actors, open_, alone, stays).sightings()
    for rule in {id(rule): rule for rule in open_.values()}.values():
        what = ", ".join(c for (_, c), other in open_.items() if other is rule)
        condition = f" where {rule.check or rule.where}" if rule.check or rule.where else ""
        why = f"no planted user satisfies the rule for {rule.who}{condition}: {what} was never seen to work"
        prober.gaps.append(Gap(subject.title, why, "say `plant:` so that somebody does"))


@dataclass
class _Search:
    """Looks for those who satisfy what of the rules is still ``open``; ``alone``: by that rule only."""

    prober: Prober
    subject: Subject
    row: Planted
    actors: list[Actor]
    open: Open
    alone: bool
    stays: bool = False
    """Whether a row that may be changed must be one that may also be written as it is."""

    def sightings(self) -> Iterator[Sighting]:
        """With A's row as it is; with settings; changed; with what is looked at changed; without it."""
        owner = self.actors[0]
        for actor in self.actors:
            closed = self.satisfied(actor, self.row.data)
            if closed and actor is not owner:
                yield from self.prober.owner(self.subject, self.row, actor, _commands(closed))
        if self.open and (settings := _settings(self.row, self.open)):
            with _made(self.prober, settings):
                if closed := self.satisfied(owner, self.row.data):
                    yield from self.prober.owner(self.subject, self.row, owner, _commands(closed))
        if self.open:
            yield from self.varied()
        if self.open:
            yield from self.around()
        if self.open:
            yield from self.both()
        if any(command == "insert" for _, command in self.open):
            yield from self.without()

    def satisfied(self, actor: Actor, row: dict[str, Any]) -> list[tuple[int, str]]:
        """What of ``open`` ``actor`` may do with ``row``: it is no longer open."""
        mine, tests = self._asked(actor)
        if not mine:
            return []
        relation = self.subject.relation
        columns = ", ".join(f"coalesce(({test}), false)" for test in tests)
        answers = self.prober.session.inside(actor, f"select {columns} from {record(relation, row)}")
        true: list[tuple[int, str]] = [key for key, yes in zip(mine, answers, strict=True) if yes]
        counted = Counter(command for _, command in true)
        closed = [key for key in true if key in self.open and (counted[key[1]] == 1 or not self.alone)]
        for key in closed:
            del self.open[key]
        return closed

    def _asked(self, actor: Actor) -> tuple[list[tuple[int, str]], list[str]]:
        """What may be open to ``actor``, and the condition of each; nothing, when none of it is."""
        declaration = self.prober.declaration
        commands = {command for _, command in self.open}
        mine: list[tuple[int, str]] = [
            (i, c)
            for i, rule in enumerate(self.subject.rules)
            for c in rule.may
            if c in commands and actor.role in declaration.roles_of(rule)
        ]
        if not set(mine) & set(self.open):
            return [], []
        return mine, [
            " and ".join(
                f"({predicate(self.subject, self.subject.rules[i], declaration, actor, new=new)})"
                for new in ((False, True) if c == "update" and self.stays else (c == "insert",))
            )
            for i, c in mine
        ]

    @property
    def text(self) -> str:
        """The conditions that are still open."""
        return " ".join(f"{rule.where or ''} {rule.check or ''}" for rule in self.open.values())

    @property
    def users(self) -> list[str]:
        """Everybody's id."""
        return [world.user for world in self.prober.worlds.values()]

    def varied(self) -> Iterator[Sighting]:
        """A's row is given what a condition asks for."""
        named = {rule.by for rule in self.open.values() if rule.who == "owner" and rule.by}
        yield from self._each(
            list(itertools.islice(changes_for(self.row, self.text, self.users, named), _MOST))
        )

    def around(self) -> Iterator[Sighting]:
        """Rows of A at which a condition looks are changed: a friendship that B accepts, A's own seat."""
        for planted, change in self._looked_up()[:_MOST]:
            with self.prober.session.altered(update_of(planted, change)) as rows:
                there = Planted(planted.relation, *rows[0]) if rows and planted is self.row else self.row
                for actor in self.actors if rows else ():
                    if closed := self.satisfied(actor, there.data):
                        for sighting in self.prober.owner(self.subject, there, actor, _commands(closed)):
                            yield self.prober.judged(sighting)
            if not self.open:
                return

    def _looked_up(self) -> list[tuple[Planted, dict[str, Any]]]:
        """Rows of A that conditions read, each with what they may wish of it."""
        return [
            (planted, change)
            for planted in self.prober.worlds["A"].rows.values()
            if planted.relation.title != self.prober.declaration.users and self._looks_at(planted)
            for change in changes_for(planted, self.text, self.users, _user_columns(self.prober, planted))
        ]

    def both(self) -> Iterator[Sighting]:
        """A's row and one that a condition looks at are changed: a request for a course that is listed."""
        named = {rule.by for rule in self.open.values() if rule.who == "owner" and rule.by}
        own = list(itertools.islice(changes_for(self.row, self.text, self.users, named), _MOST))
        for planted, change in self._looked_up()[: _MOST // 4]:
            if planted is self.row:
                continue
            with self.prober.session.altered(update_of(planted, change)) as rows:
                yield from self._each(own) if rows else ()
            if not self.open:
                return

    def _each(self, changes: list[dict[str, Any]]) -> Iterator[Sighting]:
        """A's row with each of ``changes``, as everybody."""
        made = [self.row.data | change for change in changes]
        relation = self.subject.relation
        likely = [  # most rows are nothing to anybody: one query tells
            fulfilled(self.prober, relation, actor, self._asked(actor)[1], made) for actor in self.actors
        ]
        tried = itertools.product(enumerate(changes), zip(self.actors, likely, strict=True))
        for (place, change), (actor, promising) in tried:
            if not self.open:
                return
            if not promising[place]:
                continue
            try:
                closed = self.satisfied(actor, self.row.data | change)
            except ValueError:  # no value for such a condition
                continue
            if not closed:
                continue
            with self.prober.session.altered(update_of(self.row, change)) as rows:
                if not rows:  # the table does not take it
                    self.open.update({key: self.subject.rules[key[0]] for key in closed})
                    continue
                there = Planted(self.row.relation, *rows[0])
                for sighting in self.prober.owner(self.subject, there, actor, _commands(closed)):
                    yield self.prober.judged(sighting)

    def _looks_at(self, planted: Planted) -> bool:
        """Whether a condition that is still open reads the row's table; its own, whether once more."""
        name = re.escape(planted.relation.name)
        if planted is self.row:
            return bool(re.search(rf"\b(from|join)\s+(\w+\.)?\"?{name}\b", self.text, re.I))
        return planted.relation.name in self.text

    def without(self) -> Iterator[Sighting]:
        """New rows where A has none yet, and then nobody: of what one may have but one, or be the first."""
        new = self.prober.anew(self.subject, self.row.data)
        others = (world.row(self.subject) for world in self.prober.worlds.values())
        every = [row for row in others if row is not None and not row.found]
        for rows_gone in ([self.row], every):
            here = " or ".join(f"t.tableoid = {r.table} and t.ctid = {literal(r.ctid)}" for r in rows_gone)
            if self.open and here:
                gone = f"delete from {self.subject.relation.sql} t where {here} returning 1"
                yield from self._anew(new, gone)

    def _anew(self, new: dict[str, Any], gone: str) -> Iterator[Sighting]:
        """The row ``new`` once the statement ``gone`` has taken others away."""
        owner = self.actors[0]
        with self.prober.session.altered(gone) as rows:
            closed = self.satisfied(owner, new) if rows else []
            self.open.update({key: self.subject.rules[key[0]] for key in closed if key[1] != "insert"})
            if any(command == "insert" for _, command in closed):
                for sighting in self._inserted(owner):
                    yield self.prober.judged(sighting)

    def _inserted(self, owner: Actor) -> Iterator[Sighting]:
        """What is put there while A may: by A, by others, and by A with values that rules speak of."""
        yield from self.prober.owner(self.subject, self.row, owner, ("INSERT",))
        for intruder in self.prober.intruders:
            yield from self.prober.inserts(self.subject, intruder)
        yield from inserted(self.prober, self.subject, self.row, owner, texts_of(self.prober, self.subject))


def _commands(closed: list[tuple[int, str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(command.upper() for _, command in closed))


def _settings(row: Planted, open_: Open) -> dict[str, str]:
    """Settings that would make the row the caller's: conditions compare columns with them."""
    text = re.sub(r"::\w+|[()\"]", "", " ".join(f"{r.where or ''} {r.check or ''}" for r in open_.values()))
    pairs = re.findall(r"(\w+) = current_setting\s*'([\w.]+)'", text)
    return {setting: str(row.data[name]) for name, setting in pairs if row.data.get(name) is not None}


@contextlib.contextmanager
def _made(prober: Prober, settings: dict[str, str]) -> Iterator[None]:
    """As if the application had made these settings."""
    declaration = prober.session.declaration
    merged = {"settings": {**declaration.settings, **settings}}
    prober.session.declaration = declaration.model_copy(update=merged)
    try:
        yield
    finally:
        prober.session.declaration = declaration


def _user_columns(prober: Prober, planted: Planted) -> set[str]:
    """Columns that lead to a user."""
    users = prober.catalogue.by_title.get(prober.declaration.users or "")
    if users is None:
        return set()
    stand_for = {users.oid} | {  # profiles, say: their key is a user's
        relation.oid
        for relation in prober.catalogue.relations
        for c in relation.constraints
        if c.kind == "f" and c.target == users.oid and c.columns == relation.key
    }
    links = [c for c in planted.relation.constraints if c.kind == "f" and c.target in stand_for]
    return {name for link in links for name in link.columns}


def alike(prober: Prober, subject: Subject) -> Gap | None:
    """Why the rows of A and B cannot tell a leak from what is allowed; nothing, when they can."""
    worlds = prober.worlds
    a, b = worlds["A"].row(subject), worlds["B"].row(subject)
    telling = [r for r in subject.rules if personal(r)]
    if a is None or b is None or not telling or not subject.relation.table or subject.heir:
        return None
    hint = "say `plant:` so that they differ ({mark}, {number})"
    if a.found or b.found or a.match() == b.match():
        return Gap(subject.title, "user A and user B have no row of their own: no other value fits", hint)
    for rule in telling:
        same = rule.by and rule.by != "folder" and a.data.get(rule.by) == b.data.get(rule.by)
        if same and (rule.who == "members" or str(a.data.get(rule.by or "")) == worlds["A"].user):
            why = f"the rows of user A and user B have the same {rule.by}: both are in one group"
            return Gap(subject.title, why, hint)
    shared = {row.relation.oid for world in worlds.values() for row in world.rows.values() if row.found}
    if shared & {c.target for c in subject.relation.constraints if c.kind == "f"}:
        asked = tuple(rule for rule in telling if rule.where)
        alone = Subject(subject.relation, asked, subject.title, bucket=subject.bucket)
        open_: Open = {(i, c): r for i, r in enumerate(asked) for c in r.may if c != "insert"}
        if _Search(prober, alone, a, [], open_, alone=False).satisfied(worlds["B"].actor, a.data):
            why = "user A and user B share a row that theirs lead to, and B may do with A's what A may"
            return Gap(subject.title, why, hint)
    return None
