"""The same questions through a real Data API: rows are planted for real, and removed whatever happens.

What will be removed is written down (and flushed to the disk) before it is committed; a run that was killed
leaves that list behind, and the next one removes what stands on it. From another machine, planted users are
known by their address (`@probe.invalid`), and what belongs to them goes with them.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg

from harness.database.blame import blamed
from harness.database.catalogue import Catalogue, read
from harness.database.declaration import Declaration
from harness.database.findings import Gap, Report
from harness.database.oracle import Actor, Subject, subjects
from harness.database.prober import Prober, Sighting
from harness.database.session import Session
from harness.database.worlds import CannotPlant, Planter, World

__all__ = ["Api", "probe", "swept"]

_REFUSED = (401, 403)


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


def probe(dsn: str, declaration: Declaration, api: Api, journal: Path, *, writes: bool) -> Report:
    """Read (and with ``writes``: insert, change and delete) each other's rows through ``api``.

    Raises:
        psycopg.OperationalError, httpx.TransportError: when the database or the API does not answer.
    """
    report = Report()
    swept(dsn, journal)
    with _planted(dsn, declaration, (api.a, api.b), journal, report) as prober:
        caller = _Caller(prober, api, journal)
        sightings: list[Sighting] = []
        for subject in prober_subjects(prober):
            if prober.worlds["A"].row(subject) is None:
                continue
            sightings += caller.writes(subject) if writes else caller.reads(subject)
        report.probes = caller.count
        report.tables = len(prober_subjects(prober))
        with prober.session.opened():
            report.found = blamed(prober, sightings)
    return report


def prober_subjects(prober: Prober) -> list[Subject]:
    """The declared tables that the Data API exposes."""
    known = subjects(prober.catalogue, prober.declaration)
    return [
        s
        for s in known
        if s.relation.table and not s.bucket and s.relation.schema in prober.declaration.schemas
    ]


@contextlib.contextmanager
def _planted(
    dsn: str, declaration: Declaration, users: tuple[str, str], journal: Path, report: Report
) -> Iterator[Prober]:
    mark = secrets.token_hex(3)
    try:
        with psycopg.connect(dsn) as connection:
            connection.execute(b"set lock_timeout = '10s'")
            connection.execute(b"set statement_timeout = '15s'")
            catalogue = read(connection, declaration.callers, declaration.service)
            prober = _plant(connection, catalogue, declaration, users, mark, report)
            rows = [
                (p.relation.sql, p.match())
                for world in prober.worlds.values()
                for p in world.rows.values()
                if p.relation.key
            ]
            _write(journal, rows)
            connection.commit()
            connection.autocommit = True
            yield prober
    finally:
        swept(dsn, journal)


def _plant(
    connection: psycopg.Connection[Any],
    catalogue: Catalogue,
    declaration: Declaration,
    users: tuple[str, str],
    mark: str,
    report: Report,
) -> Prober:
    known = [s for s in subjects(catalogue, declaration) if s.relation.table and not s.bucket]
    planter = Planter(connection, catalogue, declaration, known, mark)
    worlds: dict[str, World] = {}
    for name, user in zip("AB", users, strict=True):
        worlds[name] = planter.world(name, declaration.signed_in, user)
        planter.act(worlds[name])
        for subject in known:
            try:
                if subject.relation.key:
                    planter.plant(worlds[name], subject)
            except CannotPlant as error:
                report.gaps.append(
                    Gap(subject.title, f"its rows cannot be made up: {error}", "say `plant:`")
                )
    for world in worlds.values():
        planter.refresh(world)
    return Prober(Session(connection, declaration), catalogue, declaration, worlds, mark)


def _write(journal: Path, rows: list[tuple[str, str]]) -> None:
    journal.parent.mkdir(parents=True, exist_ok=True)
    part = journal.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        json.dump(rows, file)
        file.flush()
        os.fsync(file.fileno())
    part.rename(journal)


def swept(dsn: str, journal: Path) -> int:
    """Remove what an earlier run planted and could not remove itself; how many rows that were.

    Raises:
        psycopg.Error: when something cannot be removed; the list of it stays.
    """
    removed = 0
    if journal.exists():
        rows = json.loads(journal.read_text(encoding="utf-8"))
        with psycopg.connect(dsn) as connection:
            for table, match in reversed(rows):
                removed += max(
                    connection.execute(f"delete from {table} where {match}".encode()).rowcount, 0
                )
        journal.unlink()
    return removed


def swept_users(dsn: str, declaration: Declaration) -> int:
    """Remove planted users that no list names any more, and what belongs to them."""
    if not declaration.users:
        return 0
    table = ".".join('"' + part.strip('"') + '"' for part in declaration.users.split(".", 1))
    with psycopg.connect(dsn) as connection:
        statement = f"delete from {table} where email like 'probe-%@probe.invalid'"
        return max(connection.execute(statement.encode()).rowcount, 0)


@dataclass
class _Caller:
    """Asks the API, and says what should not have happened."""

    prober: Prober
    api: Api
    journal: Path
    count: int = 0

    def reads(self, subject: Subject) -> Iterator[Sighting]:
        row = self.prober.worlds["A"].row(subject)
        assert row is not None  # noqa: S101 - the caller looked
        owner = self.prober.worlds["A"].actor
        service = Actor("service", "service_role")
        for actor in (owner, self.prober.worlds["B"].actor, self.prober.anonymous, service):
            may = self._may(subject, actor, row.data, "SELECT")
            if may is None:
                continue
            answer = self._send("GET", self._path(subject, row.data), actor, subject)
            rows = _rows(answer)
            if bool(rows) != may:
                yield self._sighting(
                    "foreign-read" if rows else "missing-access",
                    subject,
                    actor,
                    "SELECT",
                    row.data,
                    answer,
                    len(rows),
                )
        for title, make in self.api.bad_tokens.items():
            headers = {"apikey": self.api.anon_key, "Authorization": f"Bearer {make(owner.user or '')}"}
            answer = self._send("GET", self._path(subject, row.data), owner, subject, headers=headers)
            if _rows(answer):
                yield self._sighting(
                    "foreign-read",
                    subject,
                    Actor(title, owner.role, owner.user),
                    "SELECT",
                    row.data,
                    answer,
                    1,
                )

    def writes(self, subject: Subject) -> Iterator[Sighting]:
        row = self.prober.worlds["A"].row(subject)
        assert row is not None  # noqa: S101 - the caller looked
        owner = self.prober.worlds["A"].actor
        for actor in (self.prober.worlds["B"].actor, self.prober.anonymous):
            yield from self._forge(subject, actor, row.data)
            yield from self._harm(subject, actor, row.data)
        new = self.prober.anew(subject, row.data)
        if self._may(subject, owner, new, "INSERT", new=True):
            answer = self._insert(subject, owner, new)
            if answer.status_code in _REFUSED:
                yield self._sighting("missing-access", subject, owner, "INSERT", row.data, answer)
        if self._may(subject, owner, row.data, "UPDATE") and (edit := self._edit(subject, owner, row.data)):
            answer = self._send("PATCH", self._path(subject, row.data), owner, subject, edit)
            if answer.status_code in _REFUSED:
                yield self._sighting("missing-access", subject, owner, "UPDATE", row.data, answer)

    def _forge(self, subject: Subject, actor: Actor, row: dict[str, Any]) -> Iterator[Sighting]:
        new = self.prober.anew(subject, row)
        if self._may(subject, actor, new, "INSERT", new=True):
            return
        answer = self._insert(subject, actor, new)
        if answer.is_success or answer.status_code == 409:
            yield self._sighting("forged-insert", subject, actor, "INSERT", new, answer)

    def _insert(self, subject: Subject, actor: Actor, new: dict[str, Any]) -> httpx.Response:
        allowed = {
            c.name
            for c in subject.relation.columns_for(actor.role, "INSERT")
            if not c.generated and c.identity != "a"
        }
        allowed = allowed or {c.name for c in subject.relation.columns if not c.generated}
        key = " and ".join(f'"{name}" = {_literal(new.get(name))}' for name in subject.relation.key)
        rows = json.loads(self.journal.read_text(encoding="utf-8"))
        _write(self.journal, [*rows, (subject.relation.sql, key)])
        return self._send(
            "POST",
            f"/rest/v1/{subject.relation.name}",
            actor,
            subject,
            {k: v for k, v in new.items() if k in allowed},
        )

    def _harm(self, subject: Subject, actor: Actor, row: dict[str, Any]) -> Iterator[Sighting]:
        for method, command in (("PATCH", "UPDATE"), ("DELETE", "DELETE")):
            if self._may(subject, actor, row, command):
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
        match = " and ".join(f'"{name}" = {_literal(row.get(name))}' for name in subject.relation.key)
        query = f"select xmin::text || ctid::text from {subject.relation.sql} where {match}"
        found = self.prober.session.connection.execute(query.encode()).fetchone()
        return str(found[0]) if found else ""

    def _may(
        self, subject: Subject, actor: Actor, row: dict[str, Any], command: str, *, new: bool = False
    ) -> bool | None:
        if actor.role == "service_role":
            held = subject.relation.privileges
            return None if not held else True
        with self.prober.session.opened():
            return self.prober.expected(subject, actor, row, new=new)[command]

    def _path(self, subject: Subject, row: dict[str, Any]) -> str:
        query = httpx.QueryParams({name: f"eq.{row.get(name)}" for name in subject.relation.key})
        return f"/rest/v1/{subject.relation.name}?{query}"

    def _send(
        self,
        method: str,
        path: str,
        actor: Actor,
        subject: Subject,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        self.count += 1
        profile = "Accept-Profile" if method == "GET" else "Content-Profile"
        sent = {
            **(headers or self.api.headers(actor)),
            "Prefer": "return=minimal",
            profile: subject.relation.schema,
        }
        content = None if body is None else json.dumps(body)
        if content is not None:
            sent["Content-Type"] = "application/json"
        return self.api.client.request(method, path, headers=sent, content=content)

    def _sighting(
        self,
        kind: str,
        subject: Subject,
        actor: Actor,
        command: str,
        row: dict[str, Any],
        answer: httpx.Response,
        rows: int = 0,
    ) -> Sighting:
        request = answer.request
        did = f"{request.method} {request.url.raw_path.decode()[:120]}"
        saw = f"HTTP {answer.status_code}" + (
            f", {rows} rows" if request.method == "GET" else f" {answer.text[:120]}".rstrip()
        )
        return Sighting(
            kind, subject, actor, command, row, did, saw, row if kind == "forged-insert" else None
        )


def _literal(value: Any) -> str:
    return "null" if value is None else "'" + str(value).replace("'", "''") + "'"


def _rows(answer: httpx.Response) -> list[Any]:
    found = answer.json() if answer.status_code == 200 else []
    return found if isinstance(found, list) else []
