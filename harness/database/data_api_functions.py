"""Functions through a Data API: does anything of A's come out when others call them with A's ids?

PostgREST runs a GET, and every call of what is stable or immutable, in a read-only transaction: nothing
can stay of what they would write. So that is how functions are called. One that is volatile and writes (a
rehearsal in SQL, undone, shows it) is called by POST only where the API takes `Prefer: tx=rollback` and
confirms it; elsewhere what it wrote would stay, so it is tried in SQL alone, and that is said.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

import httpx

from harness.database.arguments import argument_values
from harness.database.catalogue import Function
from harness.database.data_api_answers import READ_ONLY, asked, outcome, shown
from harness.database.data_api_caller import Caller
from harness.database.declaration import FunctionRule
from harness.database.findings import Found
from harness.database.oracle import Actor, literal
from harness.database.privacy import Privacy, privacy
from harness.database.prober_functions import concerned, gave, leak, secrets_of
from harness.database.rehearsal import rehearsed
from harness.database.session import Outcome

__all__ = ["Functions"]

_MOST = 20
"""Calls of a function by each caller; all ways that are promising are tried in SQL."""
_LONGEST = 2000
_ROLLBACK = "tx=rollback"
_KEPT = "the Data API would keep what they write: its db-tx-end allows no rollback"
_JSON = ("json", "jsonb")

Way = list[tuple[dict[str, Any], str | None]]


@dataclass
class Functions:
    """Calls functions as ``caller`` asks for tables."""

    caller: Caller
    _rolls_back: bool | None = field(default=None, init=False)

    def everything(self) -> Iterator[Found]:
        """Every declared function that is to keep to its caller's own and that is exposed."""
        prober = self.caller.prober
        known = [
            (function, rule)
            for function, rule in concerned(prober)
            if function.schema in prober.declaration.schemas
            and function.returns not in ("trigger", "event_trigger")
        ]
        if not known:
            return
        with prober.session.opened():
            views = [privacy(prober, actor) for actor in (prober.worlds["B"].actor, prober.anonymous)]
        for function, rule in known:
            if any(not given["name"] for given in function.inputs):
                what = "its arguments have no names, so it cannot pass them"
                self.caller.note(f"function {function.title}", what)
                continue
            yield from self._promised(function, rule)
            for view in views:
                yield from self._called(function, rule, view)

    def _ways(self, function: Function, rule: FunctionRule, actor: Actor) -> list[Way]:
        secret = secrets_of(self.caller.prober, rule)
        ways = argument_values(self.caller.prober, function, actor, secret)
        return list(itertools.islice(ways, _MOST))

    def _called(self, function: Function, rule: FunctionRule, view: Privacy) -> Iterator[Found]:
        """Called as somebody else, until something comes out."""
        title, ways = f"function {function.title}", self._ways(function, rule, view.actor)
        for index, way in enumerate(ways):
            for answer in self._answers(function, view.actor, way, twice=index == 0):
                ended = outcome(answer)
                if self.caller.unknown(title, answer):
                    return
                if ended.interrupted:
                    self.caller.gap(title, f"a call through the Data API was interrupted: {ended.message}")
                    return
                if found := self._gave(function, view, way, answer):
                    yield found
                    return
            if index == 0 and view.actor.user:
                self._unserved(function, way)

    def _unserved(self, function: Function, way: Way) -> None:
        """Nobody is answered who brings a bad token: by GET, which writes nothing."""
        title = f"function {function.title}"
        if path := _path(function, way):
            self.caller.refused("GET", path, function.schema, title)
        if function.volatile != "v":
            self.caller.refused("POST", _path(function), function.schema, title, _body(way))

    def _promised(self, function: Function, rule: FunctionRule) -> Iterator[Found]:
        """A is a declared caller: being refused the function itself is missing access."""
        actor = self.caller.prober.worlds["A"].actor
        way = next(iter(self._ways(function, rule, actor)), None)
        if way is None or actor.role not in rule.callers:
            return
        for answer in self._answers(function, actor, way):
            if outcome(answer).message == f"permission denied for function {function.name}":
                yield Found(
                    "missing-access",
                    f"function {function.title}",
                    f"{actor.role} may not call it",
                    "declared callers may call it",
                    f"grant execute on function {function.title} to {actor.role};",
                    (actor.role,),
                    proofs=(f"{actor.title}: {asked(answer)}: HTTP {answer.status_code}",),
                )
                return

    def _gave(self, function: Function, view: Privacy, way: Way, answer: httpx.Response) -> Found | None:
        if not answer.is_success:
            return None
        given = [str(value) for _, value in way if value is not None]
        what = gave(Outcome(result=[[answer.text]]), view, given)
        if not what:
            return None
        mark = next(mark for mark in view.marks if mark in answer.text and mark in what)
        sent = asked(answer) + (
            f" {json.dumps(_body(way))[:120]}" if answer.request.method == "POST" else ""
        )
        proof = (
            f"{view.actor.title}: {sent}: HTTP {answer.status_code}, saw {shown(answer, mark)} of user A"
        )
        return replace(leak(function, view.actor, what, ""), proofs=(proof,))

    def _answers(
        self, function: Function, actor: Actor, way: Way, *, twice: bool = False
    ) -> Iterator[httpx.Response]:
        """The answers to a call, by whatever method leaves nothing behind."""
        title = f"function {function.title}"
        identity, where = self.caller.api.headers(actor), (function.schema, title)
        if function.volatile != "v":
            yield self.caller.send("POST", _path(function), identity, *where, _body(way))
            if twice and (path := _path(function, way)):
                yield self.caller.send("GET", path, identity, *where)
        elif rehearsed(self.caller.prober.session, actor, _statement(function, way)).harmless:
            if path := _path(function, way):
                yield (answer := self.caller.send("GET", path, identity, *where))
                if outcome(answer).sqlstate == READ_ONLY:
                    yield from self._undone(function, identity, way)
        else:
            yield from self._undone(function, identity, way)

    def _undone(self, function: Function, identity: dict[str, str], way: Way) -> Iterator[httpx.Response]:
        """The answer to a call that writes, where the API takes back what it wrote."""
        title = f"function {function.title}"
        if self._undoes(identity, function):
            prefer = f"return=minimal, {_ROLLBACK}"
            yield self.caller.send(
                "POST", _path(function), identity, function.schema, title, _body(way), prefer
            )
        else:
            self.caller.note(title, f"calls that write ({_KEPT})")

    def _undoes(self, identity: dict[str, str], function: Function) -> bool:
        """Whether the API takes back what a request writes, when asked to: tried with one that reads."""
        if self._rolls_back is None:
            subject = next(
                (s for s in self.caller.prober.subjects if s.relation.table and not s.bucket), None
            )
            path = f"/rest/v1/{subject.relation.name}?limit=0" if subject else "/rest/v1/"
            schema = subject.relation.schema if subject else function.schema
            answer = self.caller.send("GET", path, identity, schema, "Data API", None, _ROLLBACK)
            self._rolls_back = _ROLLBACK in answer.headers.get("Preference-Applied", "")
        return self._rolls_back


def _path(function: Function, way: Way | None = None) -> str:
    """The path of a call; with ``way``, of a GET: none, where an argument is null or they are too long."""
    path = f"/rest/v1/rpc/{quote(function.name, safe='')}"
    if any(value is None for _, value in way or ()):
        return ""
    query = httpx.QueryParams({str(given["name"]): value for given, value in way or ()})
    whole = f"{path}?{query}" if query else path
    return whole if len(whole) < _LONGEST else ""


def _body(way: Way) -> dict[str, Any]:
    return {given["name"]: _typed(given, value) for given, value in way}


def _typed(given: dict[str, Any], value: str | None) -> Any:
    return json.loads(value) if value is not None and given["type"] in _JSON else value


def _statement(function: Function, way: Way) -> str:
    arguments = ", ".join(f'"{g["name"]}" => {literal(v)}::{g["type"]}' for g, v in way)
    return f'select * from "{function.schema}"."{function.name}"({arguments})'
