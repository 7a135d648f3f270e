"""Who asks a Data API for rows that were planted, and says what should not have happened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from harness.database.catalogue import Relation
from harness.database.data_api_answers import asked, route, rows
from harness.database.data_api_asker import Asker
from harness.database.oracle import Actor, Subject, literal
from harness.database.planted import Planted
from harness.database.planting_journal import Row, listed, there, write
from harness.database.sightings import Sighting

__all__ = ["Caller"]

_CONFLICT = 409
_NEW_ROWS = ("forged-insert", "owner-reassigned")


@dataclass
class Caller(Asker):
    """Asks for tables, and says what should not have happened."""

    def reads(self, subject: Subject) -> Iterator[Sighting]:
        """Everybody, and nobody with a good token, reads A's row of ``subject``."""
        row = self.prober.worlds["A"].row(subject)
        assert row is not None  # noqa: S101 - the caller looked
        owner = self.prober.worlds["A"].actor
        service = Actor("service", "service_role")
        for actor in (owner, self.prober.worlds["B"].actor, self.prober.anonymous, service):
            may = self.may(subject, actor, row.data, "SELECT")
            if may is None:
                continue
            path = self._path(subject, row.data) + _granted(subject.relation, actor)
            answer = self._send("GET", path, actor, subject)
            seen = rows(answer)
            if self.unknown(subject.title, answer):
                return
            if bool(seen) != may and (seen or not self.unset(subject, actor)):
                yield self._sighting(
                    "foreign-read" if seen else "missing-access",
                    subject,
                    actor,
                    "SELECT",
                    row.data,
                    answer,
                    len(seen),
                )
        self.refused("GET", self._path(subject, row.data), subject.relation.schema, subject.title)

    def writes(self, subject: Subject) -> Iterator[Sighting]:
        """Others insert in A's name, change and delete A's row; A writes what is allowed."""
        row = self.prober.worlds["A"].row(subject)
        assert row is not None  # noqa: S101 - the caller looked
        owner = self.prober.worlds["A"].actor
        for actor in (self.prober.worlds["B"].actor, self.prober.anonymous):
            yield from self._forge(subject, actor, row.data)
            yield from self._harm(subject, actor, row.data)
        new = self.prober.anew(subject, row.data)
        if self.may(subject, owner, new, "INSERT", new=True) and not self.unset(subject, owner):
            answer = self.insert(subject, owner, new)
            if answer is not None and self._missed(subject, owner, row, new, answer):
                yield self._sighting("missing-access", subject, owner, "INSERT", row.data, answer)
        if self.may(subject, owner, row.data, "UPDATE") and (edit := self._edit(subject, owner, row.data)):
            answer = self._send("PATCH", self._path(subject, row.data), owner, subject, edit)
            if not answer.is_success and not self.unknown(subject.title, answer):
                yield self._sighting("missing-access", subject, owner, "UPDATE", row.data, answer)
        yield from self._give_away(subject)

    def _missed(
        self, subject: Subject, actor: Actor, row: Planted, new: dict[str, Any], answer: httpx.Response
    ) -> bool:
        """Whether a refused insert is missing access; a limit on how many there may be is none."""
        if answer.is_success or answer.status_code == _CONFLICT or self.unknown(subject.title, answer):
            return False
        with self.prober.session.opened():
            outcome, _ = self.prober._one_more(subject, actor, row, new)
        return not outcome.rows

    def _give_away(self, subject: Subject) -> Iterator[Sighting]:
        """B makes a row of B's own A's; where that is no part of its key, by which it is found again."""
        world = self.prober.worlds["B"]
        own, theirs = world.row(subject), self.prober.worlds["A"].row(subject)
        if own is None or theirs is None or own.found or own.match() == theirs.match():
            return
        allowed = {c.name for c in subject.relation.columns_for(world.actor.role, "UPDATE")}
        for name in self.prober.links(subject):
            if name not in allowed or name in subject.relation.key:
                continue
            change = {name: theirs.data.get(name)}
            after = own.data | change
            old = self.may(subject, world.actor, own.data, "UPDATE")
            if old and self.may(subject, world.actor, after, "UPDATE", new=True):
                continue
            before = self._version(subject, own.data)
            answer = self._send("PATCH", self._path(subject, own.data), world.actor, subject, change)
            held = answer.status_code == _CONFLICT and "update or delete on" in answer.text
            if (before and self._version(subject, own.data) != before) or held:
                came = self._row(subject.relation, own.match())
                if came is not None and not held and came.get(name) != after[name]:
                    continue  # a trigger gave it back
                # held: only rows that refer to it held it back, and B can delete those first
                yield self._sighting("owner-reassigned", subject, world.actor, "UPDATE", after, answer)

    def _forge(self, subject: Subject, actor: Actor, row: dict[str, Any]) -> Iterator[Sighting]:
        new = self.prober.anew(subject, row)
        if self.may(subject, actor, new, "INSERT", new=True):
            return
        answer = self.insert(subject, actor, new)
        if answer is None or self.unknown(subject.title, answer):
            return
        came = self._made(subject, new) if answer.is_success else None
        if came is not None and self.may(subject, actor, came, "INSERT", new=True):
            return  # a trigger made it the caller's own
        if answer.is_success or answer.status_code == _CONFLICT:
            yield self._sighting("forged-insert", subject, actor, "INSERT", new, answer)

    def insert(
        self, subject: Subject, actor: Actor, new: dict[str, Any], into: Relation | None = None
    ) -> httpx.Response | None:
        """Ask for the row; it stands on the list before. Nothing, when it could not be told from others.

        ``into``: the table where it will be, when the subject is a view.
        """
        allowed = {
            c.name
            for c in subject.relation.columns_for(actor.role, "INSERT")
            if not c.generated and c.identity != "a"
        }
        allowed = allowed or {c.name for c in subject.relation.columns if not c.generated}
        sent = {k: v for k, v in new.items() if k in allowed}
        if (row := self._recognised(into or subject.relation, sent)) is None:
            self.note(subject.title, "inserts (the row could not be told from others: say `plant:`)")
            return None
        write(self.journal, [*listed(self.journal), row])
        return self._send("POST", route(subject.relation), actor, subject, sent)

    def _made(self, subject: Subject, new: dict[str, Any]) -> dict[str, Any] | None:
        """The row that came of ``new``, where its key tells."""
        keys = [c for name in subject.relation.key if (c := subject.relation.column(name))]
        if not keys or any(new.get(c.name) is None or c.base != "uuid" for c in keys):
            rows_ = [name for name, v in new.items() if isinstance(v, str) and self.prober.mark in v]
            keys = [c for name in rows_ if (c := subject.relation.column(name))]
        match = " and ".join(f"{c.sql} = {literal(new[c.name])}" for c in keys)
        return self._row(subject.relation, match) if match else None

    def _row(self, relation: Relation, match: str) -> dict[str, Any] | None:
        query = f"select to_jsonb(t) from {relation.sql} t where {match} limit 2"
        found = self.prober.session.connection.execute(query.encode()).fetchall()
        return dict(found[0][0]) if len(found) == 1 else None

    def _recognised(self, relation: Relation, sent: dict[str, Any]) -> Row | None:
        """What will be true of the new row alone: made-up values in it, or the id of a planted user."""
        users = {world.user for world in self.prober.worlds.values()}
        ours = []
        for name, value in sent.items():
            column = relation.column(name)
            made = isinstance(value, str) and (f"probe-{self.prober.mark}-" in value or value in users)
            if column is not None and made:
                ours.append(f"t.{column.sql} = {literal(value)}")
        key = [c for name in relation.key if (c := relation.column(name))]
        if key and all(c.base == "uuid" and c.name in sent for c in key):
            row = Row(
                f"{relation.sql} as t", " and ".join(f"t.{c.sql} = {literal(sent[c.name])}" for c in key)
            )
            # made up a moment ago: but the key of another table's row would be somebody's
            return None if there(self.prober.session.connection, row) and not ours else row
        return Row(f"{relation.sql} as t", " and ".join(ours)) if ours else None

    def _harm(self, subject: Subject, actor: Actor, row: dict[str, Any]) -> Iterator[Sighting]:
        for method, command in (("PATCH", "UPDATE"), ("DELETE", "DELETE")):
            if self.may(subject, actor, row, command):
                continue
            edit = self._edit(subject, actor, row) if method == "PATCH" else None
            if method == "PATCH" and edit is None:
                continue
            before = self._version(subject, row)
            answer = self._send(method, self._path(subject, row), actor, subject, edit)
            if before and self._version(subject, row) != before:
                yield self._sighting(
                    "foreign-update" if edit else "foreign-delete", subject, actor, command, row, answer
                )

    def _edit(self, subject: Subject, actor: Actor, row: dict[str, Any]) -> dict[str, Any] | None:
        column = self.prober._harmless(subject, actor)
        return {column.name: row.get(column.name)} if column else None

    def _version(self, subject: Subject, row: dict[str, Any]) -> str:
        match = " and ".join(f'"{name}" = {literal(row.get(name))}' for name in subject.relation.key)
        query = f"select xmin::text || ctid::text from {subject.relation.sql} where {match}"
        found = self.prober.session.connection.execute(query.encode()).fetchone()
        return str(found[0]) if found else ""

    def _path(self, subject: Subject, row: dict[str, Any]) -> str:
        query = httpx.QueryParams({name: f"eq.{row.get(name)}" for name in subject.relation.key})
        return f"{route(subject.relation)}?{query}"

    def _send(
        self, method: str, path: str, actor: Actor, subject: Subject, body: Any = None
    ) -> httpx.Response:
        return self.send(
            method, path, self.api.headers(actor), subject.relation.schema, subject.title, body
        )

    def _sighting(
        self,
        kind: str,
        subject: Subject,
        actor: Actor,
        command: str,
        row: dict[str, Any],
        answer: httpx.Response,
        seen: int = 0,
    ) -> Sighting:
        request, did = answer.request, asked(answer)
        saw = f"HTTP {answer.status_code}" + (
            f", {seen} rows" if request.method == "GET" else f" {answer.text[:120]}".rstrip()
        )
        return Sighting(kind, subject, actor, command, row, did, saw, row if kind in _NEW_ROWS else None)


def _granted(relation: Relation, actor: Actor) -> str:
    """What to ask for, where not every column is granted."""
    names = [column.name for column in relation.columns_for(actor.role, "SELECT")]
    if not names or len(names) == len(relation.columns):
        return ""
    return "&" + str(httpx.QueryParams({"select": ",".join(names)}))
