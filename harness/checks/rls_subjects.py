"""What the Data API exposes, declared: every relation of `public`, who may do what, and a row of each.

A relation that is not declared here, or a privilege beyond what is declared, refutes the check
`supabase.rls.declared`: whoever adds a table adds its subject, and with it every probe.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

from harness.checks.rls_session import as_owner
from harness.stack import Stack

__all__ = ["SUBJECTS", "Person", "Planted", "Subject", "planted"]


@dataclass(frozen=True)
class Person:
    """A user with one row in every table; all ids are UUIDs as text."""

    name: str
    id: str
    conversation: str
    message: str
    attachment: str

    @classmethod
    def named(cls, stack: Stack, name: str) -> Person:
        """The test user ``name`` with rows of new ids."""
        return cls(name, stack.identities.user_id(name), *(str(uuid.uuid4()) for _ in range(3)))


@dataclass(frozen=True)
class Subject:
    """One relation of the exposed schema.

    ``row`` is the key column's value of a person's planted row; ``forged`` a new row that claims to belong
    to a person (None: users insert nothing); ``stolen`` what an update sets to give a row away (None: users
    update nothing); ``edit`` a harmless update of one column.
    """

    name: str
    key: str
    owner: str
    row: Callable[[Person], str]
    privileges: frozenset[str]
    forged: Callable[[Person], dict[str, Any]] | None = None
    stolen: Callable[[Person], dict[str, Any]] | None = None
    edit: dict[str, Any] | None = None
    service_role: bool = True

    @property
    def users_may_delete(self) -> bool:
        """Whether owners may delete their rows."""
        return "DELETE" in self.privileges


_ALL = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})


def _attachment(person: Person) -> dict[str, Any]:
    return {
        "conversation_id": person.conversation,
        "owner_id": person.id,
        "path": f"{person.id}/{uuid.uuid4()}.txt",
        "size_bytes": 1,
        "mime_type": "text/plain",
    }


SUBJECTS = (
    Subject(
        name="profiles",
        key="id",
        owner="id",
        row=lambda p: p.id,
        privileges=frozenset({"SELECT"}),
        edit={"display_name": "changed"},
    ),
    Subject(
        name="conversations",
        key="id",
        owner="owner_id",
        row=lambda p: p.conversation,
        privileges=_ALL,
        forged=lambda p: {"owner_id": p.id, "title": "forged"},
        stolen=lambda p: {"owner_id": p.id},
        edit={"title": "changed"},
    ),
    Subject(
        name="messages",
        key="id",
        owner="owner_id",
        row=lambda p: p.message,
        privileges=_ALL,
        forged=lambda p: {
            "conversation_id": p.conversation,
            "owner_id": p.id,
            "role": "user",
            "content": "forged",
        },
        stolen=lambda p: {"owner_id": p.id, "conversation_id": p.conversation},
        edit={"content": "changed"},
    ),
    Subject(
        name="attachments",
        key="id",
        owner="owner_id",
        row=lambda p: p.attachment,
        privileges=_ALL,
        forged=_attachment,
        stolen=lambda p: {
            "owner_id": p.id,
            "conversation_id": p.conversation,
            "message_id": None,
            "path": f"{p.id}/{uuid.uuid4()}.txt",
        },
        edit={"mime_type": "text/markdown"},
    ),
    Subject(
        name="my_usage",
        key="day",
        owner="scope",
        row=lambda _: dt.datetime.now(dt.UTC).date().isoformat(),
        privileges=frozenset({"SELECT"}),
        service_role=False,
    ),
)


@dataclass(frozen=True)
class Planted:
    """Two users who exist, and have a row in everything that is exposed."""

    a: Person
    b: Person


@contextlib.contextmanager
def planted(stack: Stack, purpose: str) -> Iterator[Planted]:
    """Plant two users, unique to this call, and their rows; everything is removed after the block."""
    mark = uuid.uuid4().hex[:8]
    people = [Person.named(stack, f"{purpose}-{mark}-{who}") for who in "ab"]
    try:
        with as_owner(stack, in_turn=True) as connection:
            for person in people:
                _plant(connection, person)
            # An unused day: the ledger's own audit finds nothing wrong with it. B has none.
            connection.execute(
                "insert into usage.totals (scope, day) values (%s, (now() at time zone 'utc')::date)",
                [people[0].id],
            )
        yield Planted(*people)
    finally:
        with as_owner(stack, in_turn=True) as connection:
            ids = [person.id for person in people]
            connection.execute("delete from usage.totals where scope = any (%s)", [ids])
            connection.execute("delete from auth.users where id = any (%s::uuid[])", [ids])


def _plant(connection: psycopg.Connection, person: Person) -> None:
    execute = connection.execute
    execute(
        "insert into auth.users (id, aud, role, email) values (%s, 'authenticated', 'authenticated', %s)",
        [person.id, f"{person.name}@chat-stack.test"],
    )
    execute("insert into public.profiles (id) values (%s) on conflict do nothing", [person.id])
    execute(
        "insert into public.conversations (id, owner_id, title) values (%s, %s, 'planted')",
        [person.conversation, person.id],
    )
    execute(
        "insert into public.messages (id, conversation_id, owner_id, role, content)"
        " values (%s, %s, %s, 'user', 'planted')",
        [person.message, person.conversation, person.id],
    )
    execute(
        "insert into public.attachments (id, conversation_id, owner_id, path, size_bytes, mime_type)"
        " values (%s, %s, %s, %s, 1, 'text/plain')",
        [person.attachment, person.conversation, person.id, f"{person.id}/planted.txt"],
    )
