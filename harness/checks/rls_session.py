"""Sessions as the roles of a Supabase project: what PostgREST does for a request, done in SQL."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import sql

from harness.stack import Stack

__all__ = ["acting", "as_owner", "rolled_back"]


@contextlib.contextmanager
def as_owner(stack: Stack, *, in_turn: bool = False) -> Iterator[psycopg.Connection]:
    """A transaction as `postgres`, committed unless the block raises.

    ``in_turn``: at most one such transaction at a time. A write to whole tables and the removal of planted
    rows could otherwise wait for each other for ever.
    """
    with psycopg.connect(stack.database_dsn) as connection:
        connection.execute("set local statement_timeout = '15s'")
        connection.execute("set local lock_timeout = '10s'")
        if in_turn:
            connection.execute("select pg_advisory_xact_lock(hashtext('chat-stack-harness probes'))")
        yield connection


@contextlib.contextmanager
def rolled_back(connection: psycopg.Connection) -> Iterator[None]:
    """Whatever the block does is undone, whether it succeeds or fails."""
    with connection.transaction(force_rollback=True):
        yield


@contextlib.contextmanager
def acting(connection: psycopg.Connection, role: str, user: str = "", **claims: Any) -> Iterator[None]:
    """Inside the block statements run as ``role`` (with the claims of ``user``), then as before.

    An error of the database that the block lets through undoes what it did, and leaves the transaction
    usable.
    """
    with connection.transaction():
        token = {"role": role, **({"sub": user} if user else {}), **claims}
        connection.execute("select set_config('request.jwt.claims', %s, true)", [json.dumps(token)])
        connection.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
        yield
        connection.execute("reset role")
