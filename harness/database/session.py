"""Statements as somebody else: what the Data API does for a request, in a savepoint that is rolled back."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg

from harness.database.declaration import Declaration
from harness.database.oracle import Actor, literal
from harness.database.whose import joined

__all__ = ["CannotBecome", "Outcome", "Session", "raise_if_lost"]

REFUSED = "42501"
_RAISED = ("P0001", "PT")
"""What functions and triggers raise on purpose; PostgREST makes HTTP answers of PTxxx."""


class CannotBecome(Exception):
    """The connection may not become the caller: whatever is refused then, proves nothing."""


_SETTING_ROLES = ("check_role", "call_string_check_hook")
_OUTAGES = ("57P01", "57P02", "57P03", "08")


@dataclass(frozen=True)
class Outcome:
    """What a statement did: rows it touched, or the SQLSTATE and message that ended it."""

    rows: int = 0
    sqlstate: str = ""
    message: str = ""
    source: str = ""
    """The server's function that ended it: the same in every language."""
    result: list[Any] = field(default_factory=list)
    seen: list[Any] = field(default_factory=list)
    """What was looked at afterwards, with full rights, before it was undone."""

    @property
    def refused(self) -> bool:
        """Whether privileges, policies, or a function or trigger on purpose, refused it."""
        return self.sqlstate == REFUSED or self.raised

    @property
    def held_back(self) -> bool:
        """Whether a constraint or a publication held it back: the policies have yet to be asked."""
        return self.sqlstate.startswith("23") or self.source == "CheckCmdReplicaIdentity"

    @property
    def raised(self) -> bool:
        """Whether a function or a trigger refused it on purpose."""
        return self.sqlstate.startswith(_RAISED)

    @property
    def policy_error(self) -> bool:
        """Whether something in a policy, function or trigger broke, rather than refused.

        Any error does that is neither a refusal, nor a time-out, nor a constraint (those are looked at
        after the policies).
        """
        return bool(self.sqlstate) and not (self.refused or self.interrupted or self.held_back)

    @property
    def failed(self) -> bool:
        """Whether it ended in an error that nobody meant as a refusal, and that was no time-out."""
        return bool(self.sqlstate) and not self.refused and not self.interrupted

    @property
    def interrupted(self) -> bool:
        """Whether it ran into a time-out: nothing is known."""
        return self.sqlstate in ("57014", "55P03")


@dataclass
class Session:
    """One connection inside one transaction."""

    connection: psycopg.Connection[Any]
    declaration: Declaration
    count: int = 0

    def __post_init__(self) -> None:
        self.connection.execute(b"savepoint probe")

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """On a connection that commits by itself: a transaction to probe in, rolled back at the end."""
        with self.connection.transaction(force_rollback=True):
            self.connection.execute(b"savepoint probe")
            yield

    def attempt(
        self, actor: Actor, statement: str, inspect: str = "", prepare: str = "select 1"
    ) -> Outcome:
        """Run ``statement`` as ``actor``; undone before the next one.

        ``prepare`` comes before it and ``inspect`` after it, both with full rights.

        Raises:
            psycopg.OperationalError: when the connection is lost.
            CannotBecome: when the connection may not become ``actor``.
        """
        self.count += 1
        identity = statement_identity(self.declaration, actor)
        script = f"{prepare}; {identity}; set local role {_name(actor.role)}; {statement}"
        if inspect:
            script += f"; reset role; {inspect}"
        outcome = self._run(script, 4, bool(inspect))
        if actor.user is None and outcome.sqlstate == "22P02" and outcome.message.endswith(': ""'):
            # no token, hence no id: an auth.uid() of one's own may not expect that, and lets nobody in
            return Outcome(sqlstate=REFUSED, message=outcome.message)
        return outcome

    def inside(self, actor: Actor, query: str) -> list[Any]:
        """Run a query with full rights and the claims of ``actor``: its one row, or an empty list.

        Raises:
            ValueError: when the database refuses it; says why.
        """
        outcome = self._run(f"{statement_identity(self.declaration, actor)}; {query}", 2, False)
        if outcome.sqlstate:
            raise ValueError(f"{outcome.message} [{outcome.sqlstate}]")
        return list(outcome.result[0]) if outcome.result else []

    @contextlib.contextmanager
    def redefined(self, statement: str) -> Iterator[bool]:
        """Inside the block a definition stands; False when it was refused."""
        self.connection.execute(b"rollback to savepoint probe; savepoint definition")
        try:
            self.connection.execute(statement.encode())
            done = True
        except psycopg.Error as error:
            raise_if_lost(error)
            self.connection.execute(b"rollback to savepoint definition")
            done = False
        self.connection.execute(b"savepoint probe")
        try:
            yield done
        finally:
            if not self.connection.closed:
                self.connection.execute(b"rollback to savepoint definition; release savepoint definition")

    @contextlib.contextmanager
    def altered(self, change: str) -> Iterator[list[Any] | None]:
        """Inside the block a change made with full rights stands: its rows; None when it was refused."""
        self.connection.execute(b"rollback to savepoint probe; savepoint variant")
        try:
            cursor = self.connection.execute(change.encode())
            rows: list[Any] | None = cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            raise_if_lost(error)
            rows = None
            self.connection.execute(b"rollback to savepoint variant")
        self.connection.execute(b"savepoint probe")  # the inner one: what it undoes ends here
        try:
            yield rows
        finally:
            if not self.connection.closed:
                self.connection.execute(b"rollback to savepoint variant; release savepoint variant")

    def _run(self, script: str, position: int, inspected: bool) -> Outcome:
        try:
            cursor = self.connection.execute(f"rollback to savepoint probe; {script}".encode())
            for _ in range(position):
                cursor.nextset()
            rows, result = max(cursor.rowcount, 0), cursor.fetchall() if cursor.description else []
            seen: list[Any] = []
            if inspected:
                cursor.nextset()
                cursor.nextset()
                seen = cursor.fetchall() if cursor.description else []
            return Outcome(rows, result=result, seen=seen)
        except psycopg.Error as error:
            raise_if_lost(error)
            message = (error.diag.message_primary or str(error)).strip()
            if error.diag.source_function in _SETTING_ROLES and not error.diag.context:
                raise CannotBecome(message) from None
            source = error.diag.source_function or ""
            return Outcome(sqlstate=error.diag.sqlstate or "XX000", message=message, source=source)


def statement_identity(declaration: Declaration, actor: Actor) -> str:
    """SQL that makes the session's claims those of ``actor``."""
    settings = {"request.jwt.claims": actor.token, "request.jwt.claim.sub": actor.user or ""}
    for name, value in declaration.settings.items():
        if actor.user is None and "{user}" in value:
            settings.setdefault(name, "")  # the application makes it for signed-in callers alone
        else:
            settings[name] = _claimed(value.replace("{user}", actor.user or ""), actor)
    calls = ", ".join(f"set_config({literal(k)}, {literal(v)}, true)" for k, v in settings.items())
    return f"select {calls}"


def _claimed(value: str, actor: Actor) -> str:
    """A setting that holds the token, with what this caller's token says besides."""
    if not actor.claims or not value.startswith("{"):
        return value
    try:
        return json.dumps(joined(json.loads(value), actor.claims))
    except (ValueError, TypeError):
        return value


def raise_if_lost(error: psycopg.Error) -> None:
    """Raise psycopg.OperationalError when ``error`` means that the connection is gone, and only then.

    A lock that is not to be had, or a time-out, is psycopg's OperationalError as well: the server still
    answers.
    """
    state = error.diag.sqlstate or ""
    if not state or state.startswith(_OUTAGES):
        raise psycopg.OperationalError(str(error)) from error


def _name(role: str) -> str:
    return '"' + role.replace('"', '""') + '"'
