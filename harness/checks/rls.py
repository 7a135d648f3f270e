"""Row level security, by role: who sees and changes whose rows, through the real Data API and in SQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
from psycopg import sql

from harness.checks.base import Effect, check
from harness.checks.rls_findings import Culprit
from harness.checks.rls_session import acting, as_owner, rolled_back
from harness.checks.rls_subjects import SUBJECTS, Person, Planted, Subject, planted
from harness.evidence import Evidence, Finding, judge
from harness.stack import Stack

__all__ = ["reads", "unfiltered_writes", "writes"]

_REFUSED = (401, 403)
_INSUFFICIENT_PRIVILEGE = "42501"


@dataclass(frozen=True)
class Caller:
    """Somebody who asks the Data API."""

    role: str
    headers: dict[str, str]
    person: Person | None = None

    @property
    def title(self) -> str:
        """As findings call them."""
        return self.role if self.person is None else f"{self.role} ({self.person.name})"


def _anon(stack: Stack) -> Caller:
    return Caller("anon", {"apikey": stack.identities.anon_key().reveal()})


def _service(stack: Stack) -> Caller:
    key = stack.identities.service_role_key().reveal()
    return Caller("service_role", {"apikey": key, "Authorization": f"Bearer {key}"})


def _user(stack: Stack, person: Person) -> Caller:
    token = stack.identities.token(person.name).reveal()
    headers = {"apikey": stack.identities.anon_key().reveal(), "Authorization": f"Bearer {token}"}
    return Caller("authenticated", headers, person)


@check("supabase.rls.reads", component="supabase", effect=Effect.PLANTS)
def reads(stack: Stack) -> Evidence:
    """Through the Data API the owner and the service role see a planted row; nobody else does."""
    findings: list[Finding] = []
    asked = 0
    with planted(stack, "rls-reads") as people:
        anon, service = _anon(stack), _service(stack)
        a, b = (_user(stack, person) for person in (people.a, people.b))
        for subject in SUBJECTS:
            for caller, sees in ((a, True), (service, True), (b, False), (anon, False)):
                if caller is service and not subject.service_role:
                    continue
                asked += 1
                findings += _read(stack, subject, people.a, caller, sees)
    summary = (
        f"{asked} reads of {len(SUBJECTS)} relations: owner and service_role see the row, others do not"
    )
    return judge(summary, findings, requests=asked, relations=[s.name for s in SUBJECTS])


def _read(stack: Stack, subject: Subject, owner: Person, caller: Caller, sees: bool) -> Iterator[Finding]:
    path = f"/rest/v1/{subject.name}?{subject.key}=eq.{subject.row(owner)}"
    answer = stack.http(stack.environment.supabase.api_url).get(path, headers=caller.headers)
    rows = _rows(answer)
    if bool(rows) == sees:
        return
    observed = f"HTTP {answer.status_code}, {len(rows)} rows"
    if rows:
        observed += f", among them {subject.key} = {rows[0].get(subject.key)}"
    expected = "the planted row" if sees else f"no row: it belongs to {owner.name}"
    culprit = Culprit(subject.name, "SELECT", caller.role)
    yield culprit.finding(stack, expected, f"GET {path} as {caller.title}", observed, grants=sees)


@check("supabase.rls.writes", component="supabase", effect=Effect.PLANTS)
def writes(stack: Stack) -> Evidence:
    """Through the Data API nobody writes in another's name; owners can in their own."""
    findings: list[Finding] = []
    with (
        planted(stack, "rls-writes") as people,
        psycopg.connect(stack.database_dsn, autocommit=True) as watcher,
    ):
        a, b = (_user(stack, person) for person in (people.a, people.b))
        for subject in SUBJECTS:
            for caller in (b, _anon(stack)):
                findings += _forge(stack, subject, people.a, caller)
                findings += _harm(stack, watcher, subject, people.a, caller)
            findings += _own(stack, subject, a)
    summary = (
        f"{len(SUBJECTS)} relations: forged inserts refused, others' rows untouched, owners not hindered"
    )
    return judge(summary, findings)


def _forge(stack: Stack, subject: Subject, victim: Person, caller: Caller) -> Iterator[Finding]:
    """Insert a row in the victim's name. `return=minimal`: reading it back would be refused anyway."""
    if subject.forged is None:
        return
    answer = _send(stack, "POST", f"/rest/v1/{subject.name}", caller, subject.forged(victim))
    if answer.status_code in _REFUSED:
        return
    culprit = Culprit(subject.name, "INSERT", caller.role)
    yield culprit.finding(
        stack,
        f"HTTP 401 or 403: {subject.owner} is {victim.name}, not the caller",
        f"POST /rest/v1/{subject.name} as {caller.title}",
        f"HTTP {answer.status_code} {answer.text[:120]}".rstrip(),
    )


def _harm(
    stack: Stack, watcher: psycopg.Connection, subject: Subject, victim: Person, caller: Caller
) -> Iterator[Finding]:
    """Change, then delete the victim's row by its key."""
    if subject.edit is None:
        return
    path = f"/rest/v1/{subject.name}?{subject.key}=eq.{subject.row(victim)}"
    for method, command in (("PATCH", "UPDATE"), ("DELETE", "DELETE")):
        before = _fingerprint(watcher, subject, victim)
        if not before:
            return  # an earlier finding deleted it
        answer = _send(stack, method, path, caller, subject.edit if method == "PATCH" else None)
        after = _fingerprint(watcher, subject, victim)
        if before == after:
            continue
        what = "gone" if not after else "changed"
        culprit = Culprit(subject.name, command, caller.role)
        yield culprit.finding(
            stack,
            f"the row of {victim.name} stays as it is",
            f"{method} {path} as {caller.title}",
            f"HTTP {answer.status_code}, and the row is {what}",
        )
        if not after:
            return


def _own(stack: Stack, subject: Subject, owner: Caller) -> Iterator[Finding]:
    """The same requests by the owner succeed; otherwise the refusals above would prove nothing."""
    person = owner.person
    assert person is not None  # noqa: S101 - for the type checker: owners are people
    path = f"/rest/v1/{subject.name}?{subject.key}=eq.{subject.row(person)}"
    attempts: list[tuple[str, str, str, Any]] = []
    if subject.forged is not None:
        attempts.append(("INSERT", "POST", f"/rest/v1/{subject.name}", subject.forged(person)))
    if subject.edit is not None:
        attempts.append(("UPDATE", "PATCH", path, subject.edit))
    for command, method, url, body in attempts:
        answer = _send(stack, method, url, owner, body)
        if not answer.is_success:
            culprit = Culprit(subject.name, command, owner.role)
            where, observed = (
                f"{method} {url} as {owner.title}",
                f"HTTP {answer.status_code} {answer.text[:160]}",
            )
            yield culprit.finding(
                stack, "owners may do this with their own row", where, observed, grants=True
            )


@check("supabase.rls.unfiltered", component="supabase", effect=Effect.PLANTS)
def unfiltered_writes(stack: Stack) -> Evidence:
    """Updates and deletes without a filter touch nobody else's row, and no row can be given away.

    A filter would bring the SELECT policies in and hide a weak one, hence `where true`; hence also SQL, in
    a transaction that is rolled back, with the role and claims that the Data API would set.
    """
    findings: list[Finding] = []
    with (
        planted(stack, "rls-unfiltered") as people,
        as_owner(stack, in_turn=True) as connection,
        rolled_back(connection),
    ):
        for subject in (s for s in SUBJECTS if s.edit is not None):
            for role, user in (("authenticated", people.b.id), ("anon", "")):
                findings += _sweep(stack, connection, subject, people.a, (role, user))
            findings += _give_away(stack, connection, subject, people)
    tables = [s.name for s in SUBJECTS if s.edit is not None]
    return judge(f"unfiltered updates and deletes on {len(tables)} tables stay with the owner", findings)


def _sweep(
    stack: Stack, connection: psycopg.Connection, subject: Subject, victim: Person, who: tuple[str, str]
) -> Iterator[Finding]:
    role, user = who
    table, edit = sql.Identifier("public", subject.name), subject.edit or {}
    statements = {
        "UPDATE": sql.SQL("update {} set {} where true").format(table, _assignments(edit)),
        "DELETE": sql.SQL("delete from {} where true").format(table),
    }
    for command, statement in statements.items():
        with rolled_back(connection):
            before = _fingerprint(connection, subject, victim)
            refused = _try(
                connection, role, user, statement, list(edit.values()) if command == "UPDATE" else []
            )
            if refused or _fingerprint(connection, subject, victim) == before:
                continue
            where = f"{statement.as_string(connection)} as {role}"
            observed = f"the row of {victim.name} was {'changed' if command == 'UPDATE' else 'deleted'}"
            culprit = Culprit(subject.name, command, role)
            yield culprit.finding(stack, "rows of others stay as they are", where, observed)


def _give_away(
    stack: Stack, connection: psycopg.Connection, subject: Subject, people: Planted
) -> Iterator[Finding]:
    """B makes A the owner of B's row: the update's check has to refuse it."""
    if subject.stolen is None:
        return
    values = subject.stolen(people.a)
    statement = sql.SQL("update {} set {} where true").format(
        sql.Identifier("public", subject.name), _assignments(values)
    )
    with rolled_back(connection):
        # Without dependants: a foreign key must not be what refuses it.
        others = {"conversations": ("attachments", "messages"), "messages": ("attachments",)}
        for table in others.get(subject.name, ()):
            delete = sql.SQL("delete from {} where owner_id = %s").format(sql.Identifier("public", table))
            connection.execute(delete, [people.b.id])
        refused = _try(connection, "authenticated", people.b.id, statement, list(values.values()))
    if refused != _INSUFFICIENT_PRIVILEGE:
        culprit = Culprit(subject.name, "UPDATE", "authenticated")
        where = f"{statement.as_string(connection)} as authenticated"
        observed = f"refused by {refused} alone" if refused else f"it became {people.a.name}'s row"
        yield culprit.finding(stack, "refused by the policy's WITH CHECK (42501)", where, observed)


def _try(
    connection: psycopg.Connection, role: str, user: str, statement: sql.Composed, values: list[Any]
) -> str:
    """Run ``statement`` as ``role``; the SQLSTATE of its refusal, or nothing."""
    try:
        with acting(connection, role, user):
            connection.execute(statement, values)
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        return error.sqlstate or "unknown"
    return ""


def _assignments(values: dict[str, Any]) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(column)) for column in values)


def _fingerprint(connection: psycopg.Connection, subject: Subject, person: Person) -> str:
    query = sql.SQL("select t::text from {} t where {} = %s").format(
        sql.Identifier("public", subject.name), sql.Identifier(subject.key)
    )
    row = connection.execute(query, [subject.row(person)]).fetchone()
    return str(row[0]) if row else ""


def _send(stack: Stack, method: str, path: str, caller: Caller, body: Any) -> httpx.Response:
    headers = {**caller.headers, "Prefer": "return=minimal", "Content-Type": "application/json"}
    content = None if body is None else json.dumps(body)
    client = stack.http(stack.environment.supabase.api_url)
    return client.request(method, path, headers=headers, content=content)


def _rows(answer: httpx.Response) -> list[dict[str, Any]]:
    found = answer.json() if answer.status_code == 200 else []
    return found if isinstance(found, list) else []
