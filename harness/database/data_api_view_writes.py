"""Writes through a view by way of a Data API: of rows of A's beneath it, and in A's name."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from harness.database import values
from harness.database.catalogue import Column
from harness.database.data_api_answers import asked, route
from harness.database.data_api_caller import Caller
from harness.database.oracle import Actor, Subject, literal, record
from harness.database.planted import Planted
from harness.database.prober_view_writes import settable
from harness.database.rehearsal import rehearsed
from harness.database.sightings import Sighting

__all__ = ["ViewWrites"]

_CONFLICT = 409
_FURTHER = "it would write more than the one planted row"


@dataclass
class ViewWrites:
    """One view, and the row of A's beneath it; ``shared`` are the columns that both have."""

    caller: Caller
    subject: Subject
    below: Planted
    shared: list[Column]

    def everything(self) -> Iterator[Sighting]:
        """Inserts, then changes, then removals: those leave nothing to try on."""
        prober = self.caller.prober
        others = (prober.worlds["B"].actor, prober.anonymous)
        for actor in others:
            yield from self._forge(actor)
        for actor in (*others, prober.worlds["A"].actor):
            yield from self._change(actor, "PATCH", "UPDATE")
        yield from self._give_away()
        for actor in others:
            yield from self._change(actor, "DELETE", "DELETE")

    @property
    def row(self) -> dict[str, Any]:
        """A's row as the view has it."""
        return {c.name: self.below.data.get(c.name) for c in self.shared}

    def _forge(self, actor: Actor) -> Iterator[Sighting]:
        granted = {c.name for c in self.subject.relation.columns_for(actor.role, "INSERT")}
        columns = [c for c in self.shared if c.name in granted or not granted]
        columns = [c for c in columns if settable(c, self.below.relation)]
        new = {c.name: self.row[c.name] for c in columns}
        for name in self.below.relation.key:
            if isinstance(new.get(name), str) and len(new[name]) == 36:
                new[name] = str(uuid.uuid4())
        if not new or self.caller.may(self.subject, actor, new, "INSERT", new=True):
            return
        names = ", ".join(c.sql for c in columns)
        source = record(self.subject.relation, new)
        if not self._safe(
            actor, f"insert into {self.subject.relation.sql} ({names}) select {names} from {source}"
        ):
            return
        before = self._count(new)
        answer = self.caller.insert(self.subject, actor, new, self.below.relation)
        if answer is not None and (self._count(new) > before or answer.status_code == _CONFLICT):
            shown = values.shown(new)
            yield self._sighting(
                "forged-insert", actor, "INSERT", new, answer, f"the row was accepted: {shown}"
            )

    def _count(self, new: dict[str, Any]) -> int:
        """Rows beneath that are like ``new``."""
        table = self.below.relation
        texts = [(table.column(n), v) for n, v in new.items() if isinstance(v, str)]
        tests = [f"t.{c.sql}::text = {literal(v)}" for c, v in texts if c is not None and c.category != "D"]
        query = f"select count(*) from {table.sql} t where {' and '.join(tests) or 'false'}"
        found = self.caller.prober.session.connection.execute(query.encode()).fetchone()
        return int(found[0]) if found else 0

    def _change(self, actor: Actor, method: str, command: str) -> Iterator[Sighting]:
        """A's row changed or deleted: by others, who may not; or changed by A, who may."""
        may = self.caller.may(self.subject, actor, self.row, command)
        if bool(may) != (actor.name == "A") or not (before := self._version(self.below)):
            return
        edit = self._edit(actor) if method == "PATCH" else None
        if method == "PATCH" and edit is None:
            return
        answer = self._sent(method, actor, self.below, edit)
        if answer is None:
            return
        changed = self._version(self.below) != before
        if actor.name != "A" and changed:
            kind = "foreign-update" if edit else "foreign-delete"
            yield self._sighting(kind, actor, command, self.row, answer, "the row of user A was changed")
        elif actor.name == "A" and not changed:
            yield self._sighting(
                "missing-access", actor, command, self.row, answer, answer.text[:120] or "no row"
            )

    def _edit(self, actor: Actor) -> dict[str, Any] | None:
        """A column that may be set: to what it is already, or by A to something else."""
        granted = self.subject.relation.columns_for(actor.role, "UPDATE")
        free = [
            c
            for c in granted or ([] if actor.name == "A" else self.shared)
            if self.row.get(c.name) is not None
            and settable(c, self.below.relation)
            and c.name not in self.below.relation.key
        ]
        free.sort(key=lambda c: c.category != "S")
        if not free:
            return None
        name, value, mark = free[0].name, self.row[free[0].name], self.caller.prober.mark
        if actor.name == "A" and isinstance(value, str) and mark in value:
            value = values.again(value, mark)  # a trigger may leave out what changes nothing
        return {name: value}

    def _give_away(self) -> Iterator[Sighting]:
        """B's own row, made A's."""
        world, user = self.caller.prober.worlds["B"], self.caller.prober.worlds["A"].user
        mine = world.rows.get((self.below.relation.oid, ""))
        if mine is None or mine.found:
            return
        for column in self.subject.relation.columns_for(world.actor.role, "UPDATE"):
            if mine.data.get(column.name) != world.user or self.below.data.get(column.name) != user:
                continue
            after = {c.name: mine.data.get(c.name) for c in self.shared} | {column.name: user}
            if self.caller.may(self.subject, world.actor, after, "UPDATE", new=True):
                continue
            answer = self._sent("PATCH", world.actor, mine, {column.name: user})
            query = f"select t.{column.sql}::text from {mine.relation.sql} t where {mine.match()}"
            found = self.caller.prober.session.connection.execute(query.encode()).fetchone()
            if answer is not None and found and found[0] == user:
                what = f"the row became {values.shown({column.name: user})}"
                yield self._sighting("owner-reassigned", world.actor, "UPDATE", after, answer, what)

    def _sent(
        self, method: str, actor: Actor, row: Planted, edit: dict[str, Any] | None
    ) -> httpx.Response | None:
        """The answer to a write of the one row; nothing, when it is not sent."""
        names = row.relation.key
        if not names or not set(names) <= {c.name for c in self.shared}:
            self.caller.note(self.subject.title, "writes (it does not show the key of its rows)")
            return None
        where = " and ".join(values.equals(c, row.data.get(c.name)) for c in self.shared if c.name in names)
        if edit:
            [column] = [c for c in self.subject.relation.columns if c.name in edit]
            change = f"{column.sql} = {values.value(column, edit[column.name])}"
            statement = f"update {self.subject.relation.sql} set {change} where {where}"
        else:
            statement = f"delete from {self.subject.relation.sql} where {where}"
        if not self._safe(actor, statement):
            return None
        query = httpx.QueryParams({name: f"eq.{row.data.get(name)}" for name in names})
        path = f"{route(self.subject.relation)}?{query}"
        schema, identity = self.subject.relation.schema, self.caller.api.headers(actor)
        return self.caller.send(method, path, identity, schema, self.subject.title, edit)

    def _safe(self, actor: Actor, statement: str) -> bool:
        """Whether a rehearsal touches the row beneath at most; what reaches further is not sent."""
        tables = {self.below.table, self.below.relation.oid}
        if rehearsed(self.caller.prober.session, actor, statement).stays_within(tables):
            return True
        self.caller.note(self.subject.title, f"writes by {actor.title} ({_FURTHER})")
        return False

    def _version(self, row: Planted) -> str:
        query = f"select xmin::text || ctid::text from {row.relation.sql} where {row.match()}"
        found = self.caller.prober.session.connection.execute(query.encode()).fetchone()
        return str(found[0]) if found else ""

    def _sighting(
        self,
        kind: str,
        actor: Actor,
        command: str,
        row: dict[str, Any],
        answer: httpx.Response,
        what: str,
    ) -> Sighting:
        saw = f"HTTP {answer.status_code}: {what}"
        new = row if kind in ("forged-insert", "owner-reassigned") else None
        return Sighting(kind, self.subject, actor, command, row, asked(answer), saw, new)
