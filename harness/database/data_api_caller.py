"""Who asks a Data API for rows that were planted, and says what should not have happened."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from harness.database.catalogue import Relation
from harness.database.data_api_answers import answered_by_database, asked, route, rows, token_accepted
from harness.database.findings import Found, Gap
from harness.database.oracle import Actor, Subject, literal
from harness.database.planting_journal import Row, listed, there, write
from harness.database.prober import Prober
from harness.database.sightings import Sighting

__all__ = ["Api", "Caller"]

_CONFLICT = 409
_NEW_ROWS = ("forged-insert", "owner-reassigned")


@dataclass(frozen=True)
class Api:
    """A Data API, and two users ``a`` and ``b`` for whom ``token`` makes access tokens.

    ``bad_tokens`` make tokens for a user id that the API must refuse.
    """

    client: httpx.Client
    anon_key: str
    service_key: str
    a: str
    b: str
    token: Callable[[str], str]
    bad_tokens: dict[str, Callable[[str], str]] = field(default_factory=dict)

    def headers(self, actor: Actor) -> dict[str, str]:
        """What identifies ``actor``."""
        if actor.role == "service_role":
            return {"apikey": self.service_key, "Authorization": f"Bearer {self.service_key}"}
        if actor.user is None:
            return {"apikey": self.anon_key}
        return {"apikey": self.anon_key, "Authorization": f"Bearer {self.token(actor.user)}"}


@dataclass
class Caller:
    """Asks the API, and says what should not have happened."""

    prober: Prober
    api: Api
    journal: Path
    count: int = 0
    gaps: list[Gap] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    """What concerns the API as a whole."""

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
            answer = self._send("GET", self._path(subject, row.data), actor, subject)
            seen = rows(answer)
            if bool(seen) != may:
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
        if self.may(subject, owner, new, "INSERT", new=True):
            answer = self.insert(subject, owner, new)
            if answer is not None and not answer.is_success and answer.status_code != _CONFLICT:
                yield self._sighting("missing-access", subject, owner, "INSERT", row.data, answer)
        if self.may(subject, owner, row.data, "UPDATE") and (edit := self._edit(subject, owner, row.data)):
            answer = self._send("PATCH", self._path(subject, row.data), owner, subject, edit)
            if not answer.is_success:
                yield self._sighting("missing-access", subject, owner, "UPDATE", row.data, answer)
        yield from self._give_away(subject)

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
                # held: only rows that refer to it held it back, and B can delete those first
                yield self._sighting("owner-reassigned", subject, world.actor, "UPDATE", after, answer)

    def _forge(self, subject: Subject, actor: Actor, row: dict[str, Any]) -> Iterator[Sighting]:
        new = self.prober.anew(subject, row)
        if self.may(subject, actor, new, "INSERT", new=True):
            return
        answer = self.insert(subject, actor, new)
        if answer is not None and (answer.is_success or answer.status_code == _CONFLICT):
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
            why = "a row inserted through the Data API could not be told from others: not tried"
            self.gap(subject.title, why, "say `plant:` with {mark} in a column")
            return None
        write(self.journal, [*listed(self.journal), row])
        return self._send("POST", route(subject.relation), actor, subject, sent)

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

    def may(
        self, subject: Subject, actor: Actor, row: dict[str, Any], command: str, *, new: bool = False
    ) -> bool | None:
        """What is declared of it; nothing, when nothing is to be expected."""
        if actor.role == "service_role":
            held = subject.relation.privileges
            return None if not held else True
        with self.prober.session.opened():
            return self.prober.expected(subject, actor, row, new=new)[command]

    def _path(self, subject: Subject, row: dict[str, Any]) -> str:
        query = httpx.QueryParams({name: f"eq.{row.get(name)}" for name in subject.relation.key})
        return f"{route(subject.relation)}?{query}"

    def _send(
        self, method: str, path: str, actor: Actor, subject: Subject, body: Any = None
    ) -> httpx.Response:
        return self.send(
            method, path, self.api.headers(actor), subject.relation.schema, subject.title, body
        )

    def send(
        self,
        method: str,
        path: str,
        identity: dict[str, str],
        schema: str,
        title: str,
        body: Any = None,
        prefer: str = "return=minimal",
    ) -> httpx.Response:
        """Ask for something of ``schema`` as whom ``identity`` (headers) says; an outage of it is said."""
        self.count += 1
        profile = "Accept-Profile" if method == "GET" else "Content-Profile"
        sent = {**identity, "Prefer": prefer, profile: schema}
        content = None if body is None else json.dumps(body)
        if content is not None:
            sent["Content-Type"] = "application/json"
        answer = self.api.client.request(method, path, headers=sent, content=content)
        if answer.is_server_error:
            why = f"the Data API answered {method} with HTTP {answer.status_code}: that denies nothing"
            self.gap(title, why, "see its log")
        return answer

    def refused(self, method: str, path: str, schema: str, title: str, body: Any = None) -> None:
        """Nobody is served who brings a bad token for A: neither as A, nor as somebody without one."""
        user = self.prober.worlds["A"].user
        for name, make in self.api.bad_tokens.items():
            identity = {"apikey": self.api.anon_key, "Authorization": f"Bearer {make(user)}"}
            answer = self.send(method, path, identity, schema, title, body)
            if answer.is_success or answered_by_database(answer):
                self.found.append(token_accepted(name, answer))
            elif answer.status_code not in (401, 403) and not answer.is_server_error:
                why = f"the {name} was answered with HTTP {answer.status_code}: that refuses no token"
                self.gap(title, why, "see the Data API's log")

    def gap(self, title: str, why: str, hint: str = "") -> None:
        """Say once what is not proven."""
        if (gap := Gap(title, why, hint)) not in self.gaps:
            self.gaps.append(gap)

    def note(self, title: str, what: str) -> None:
        """Say once what is not tried here: it counts for nothing, and SQL has to prove it."""
        if (note := f"{title}: not tried through the Data API: {what}") not in self.notes:
            self.notes.append(note)

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
