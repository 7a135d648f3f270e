"""Views through a Data API: who sees rows of A's in them, and who writes A's rows through them.

A view has no key, so rows are asked for by what is in A's: ids, made-up texts, numbers. A write is sent
when a rehearsal of it in SQL, undone, touched the planted row beneath and nothing else; what would reach
further (INSTEAD OF triggers, rules, cascades) is tried in SQL alone, and that is said.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx

from harness.database.catalogue import Column
from harness.database.data_api_answers import asked, outcome, route, rows, shown
from harness.database.data_api_caller import Caller
from harness.database.data_api_view_writes import ViewWrites
from harness.database.oracle import Actor, Subject
from harness.database.planted import Planted, World
from harness.database.prober_views import foreign_marks, marks
from harness.database.sightings import Sighting

__all__ = ["Views"]

_MOST_IDS = 40
_LONGEST = 3000
_ROWS = 1000
_INT4 = 2**31


@dataclass
class Views:
    """Asks for views as ``caller`` asks for tables."""

    caller: Caller

    def reads(self, subject: Subject) -> Iterator[Sighting]:
        """Everybody, and nobody with a good token, looks for A's rows."""
        worlds, proven = self.caller.prober.worlds, False
        owner, service = worlds["A"].actor, Actor("service", "service_role")
        for actor in (owner, worlds["B"].actor, self.caller.prober.anonymous, service):
            for answer in self._looked(subject, actor):
                if self.caller.unknown(subject.title, answer):
                    return
                seen = self._ours(subject, actor, answer)
                proven = proven or (bool(seen) and actor in (owner, service))
                yield from self._judged(subject, actor, answer, seen)
        first = next(iter(self._queries(subject, service)), "limit=1")
        path = f"{route(subject.relation)}?{first}"
        self.caller.refused("GET", path, subject.relation.schema, subject.title)
        if not proven:
            what = "neither A nor the service role sees a planted row in it, so others prove nothing"
            self.caller.note(subject.title, what)

    def _looked(self, subject: Subject, actor: Actor) -> Iterator[httpx.Response]:
        for query in self._queries(subject, actor):
            yield self._send("GET", f"{route(subject.relation)}?{query}", actor, subject)

    def _send(
        self, method: str, path: str, actor: Actor, subject: Subject, body: Any = None
    ) -> httpx.Response:
        identity = self.caller.api.headers(actor)
        return self.caller.send(method, path, identity, subject.relation.schema, subject.title, body)

    def _queries(self, subject: Subject, actor: Actor) -> Iterator[str]:
        """Queries for A's rows: by columns that can hold what is A's; else everything, up to a limit."""
        relation = subject.relation
        granted = relation.columns_for(actor.role, "SELECT")
        columns = granted or relation.columns
        known = self._known(subject)
        tests = [(c, test) for c in columns if (test := self._test(c, known))]
        chosen = "" if len(columns) == len(relation.columns) else ",".join(_name(c) for c in columns)
        part: list[str] = []
        for _, test in tests:
            if part and sum(map(len, part)) + len(test) > _LONGEST:
                yield _query(part, chosen)
                part = []
            part.append(test)
        if part:
            yield _query(part, chosen)
        if (
            any(c.base in ("json", "jsonb", "xml", "record") or c.category == "C" for c in columns)
            or not tests
        ):
            yield str(httpx.QueryParams({"limit": _ROWS} | ({"select": chosen} if chosen else {})))

    def _known(self, subject: Subject) -> list[str]:
        world = self.caller.prober.worlds["A"]
        reached = {key: row for key, row in world.rows.items() if row in self._below(subject)}
        part = replace(world, rows=reached) if reached else world
        return marks(part)

    def _test(self, column: Column, known: list[str]) -> str:
        """A filter that A's rows pass by this column; nothing, when it cannot be one's alone."""
        ids = [mark for mark in known if len(mark) == 36][:_MOST_IDS]
        most = _INT4 if column.base == "int4" else 2**63
        numbers = [mark for mark in known if mark.isdigit() and int(mark) < most][:_MOST_IDS]
        name, text = _name(column), f"*probe-{self.caller.prober.mark}-*"
        if column.base == "uuid" and ids:
            return f"{name}.in.({','.join(ids)})"
        if column.base in ("int4", "int8", "numeric") and numbers:
            return f"{name}.in.({','.join(numbers)})"
        if column.category == "S":
            found = [f"{name}.ilike.{text}"]
            return ",".join(found + ([f"{name}.in.({','.join(ids)})"] if ids else []))
        return f"{name}.ov.{{{','.join(ids)}}}" if column.base in ("_uuid", "_text") and ids else ""

    def _ours(self, subject: Subject, actor: Actor, answer: httpx.Response) -> list[tuple[Any, str]]:
        """Rows of the answer that hold something of A's, and what that is."""
        prober = self.caller.prober
        mine = actor.name == "A" or actor.role == "service_role"
        wanted = marks(prober.worlds["A"]) if mine else foreign_marks(prober, actor)
        came = rows(answer)
        if len(came) == _ROWS:
            why = f"what is in its documents (it shows more than {_ROWS} rows)"
            self.caller.note(subject.title, why)
        texts = [(row, json.dumps(row, default=str)) for row in came]
        return [(row, mark) for row, text in texts if (mark := next((m for m in wanted if m in text), ""))]

    def _judged(
        self, subject: Subject, actor: Actor, answer: httpx.Response, seen: list[tuple[Any, str]]
    ) -> Iterator[Sighting]:
        ended = outcome(answer)
        if actor.role == "service_role":
            return
        if actor.name == "A":
            if ended.refused and self._promised(subject, actor):
                yield self._sighting("missing-access", subject, actor, "SELECT", {}, answer, ended.message)
            elif ended.policy_error and not ended.sqlstate.startswith(("PGRST", "HTTP")):
                yield self._sighting("policy-error", subject, actor, "SELECT", {}, answer, ended.message)
            return
        for row, mark in seen:
            if not self.caller.may(subject, actor, row, "SELECT"):
                what = f"{len(rows(answer))} rows, saw {shown(answer, mark)} of user A"
                yield self._sighting("foreign-read", subject, actor, "SELECT", row, answer, what)
                return

    def _promised(self, subject: Subject, actor: Actor) -> bool:
        granted = "SELECT" in subject.relation.privileges.get(actor.role, ())
        return granted or bool(self.caller.may(subject, actor, {}, "SELECT"))

    # --- writes -------------------------------------------------------------------------------------

    def writes(self, subject: Subject) -> Iterator[Sighting]:
        """Rows in A's name made, A's changed and deleted, and B's given away, through the view."""
        for below in self._below(subject):
            shared = [c for c in subject.relation.columns if below.relation.column(c.name)]
            if subject.relation.kind == "v" and len(shared) > 1 and subject.relation.updatable:
                yield from ViewWrites(self.caller, subject, below, shared).everything()

    def _below(self, subject: Subject) -> list[Planted]:
        """A's planted rows that the view shows, or may."""
        reached = self.caller.prober.catalogue.reach(subject.relation)
        world: World = self.caller.prober.worlds["A"]
        return [
            row
            for (oid, _), row in world.rows.items()
            if oid in reached and row.relation.schema != "auth" and not row.found
        ]

    def _sighting(
        self,
        kind: str,
        subject: Subject,
        actor: Actor,
        command: str,
        row: dict[str, Any],
        answer: httpx.Response,
        what: str,
    ) -> Sighting:
        saw = f"HTTP {answer.status_code}: {what}"
        return Sighting(kind, subject, actor, command, row, asked(answer), saw)


def _query(tests: list[str], chosen: str) -> str:
    wanted = {"or": f"({','.join(tests)})", "limit": "50"} | ({"select": chosen} if chosen else {})
    return str(httpx.QueryParams(wanted))


def _name(column: Column) -> str:
    plain = column.name.replace("_", "").isalnum() and column.name.isascii()
    return column.name if plain else f'"{column.name}"'
