"""Fixture: a schema of a test's own behind a real PostgREST, with the two users who ask it.

``exposed`` makes one: called with SQL (and further settings of PostgREST, and further secrets that it takes
for its own), it gives an :class:`Exposed`, whose ``probe`` is what the checks do through the Data API.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql

from harness.database.data_api import Api, probe
from harness.database.declaration import parse
from harness.database.findings import Report
from harness.identity import LocalIdentities, mint
from harness.providers.local.rest import DataApi
from harness.secrets import Secret, SecretStore
from harness.stack import Stack
from tests.pg_fixture import ROOT, Cluster, Database, environment_for, free_port, running_data_api

OTHERS = "not-the-secret-of-this-project-at-all"


@dataclass
class Exposed:
    """A database behind its Data API."""

    dsn: str
    api: Api
    journal: Path

    def probe(self, declared: str, *, writes: bool) -> Report:
        """What the checks ask; nothing may be left behind by it."""
        before = self.everything()
        report = probe(self.dsn, parse(declared), self.api, self.journal, writes=writes)
        assert self.everything() == before
        assert not self.journal.exists()
        return report

    def everything(self) -> list[Any]:
        """Every row of public and auth.users."""
        with psycopg.connect(self.dsn) as connection:
            known = connection.execute(
                b"select oid::regclass::text from pg_class"
                b" where relkind = 'r' and relnamespace = 'public'::regnamespace order by 1"
            ).fetchall()
            return [self.rows(name) for name in ("auth.users", *(row[0] for row in known))]

    def rows(self, table: str) -> list[Any]:
        """Every row of ``table`` (as SQL writes its name), as text."""
        with psycopg.connect(self.dsn) as connection:
            names = connection.execute("select parse_ident(%s)", (table,)).fetchone() or ([],)
            query = sql.SQL("select array(select t::text from {} t order by 1)")
            found = connection.execute(query.format(sql.Identifier(*names[0]))).fetchone()
        return list(found[0]) if found else []


def told(report: Report) -> str:
    """Everything that a person would read."""
    found = [f"{one.rule} {one.object} {one.what} {one.proofs}" for one in report.found]
    return "\n".join([*found, *map(str, report.gaps), *report.notes])


def key_set(*secrets: str) -> Secret:
    """Secrets as PostgREST takes several: whoever has one of them, signs tokens."""
    keys = [{"kty": "oct", "k": urlsafe_b64encode(s.encode()).decode().rstrip("=")} for s in secrets]
    return Secret(json.dumps({"keys": keys}))


def api_of(stack: Stack, client: httpx.Client | None = None) -> Api:
    """Two users of the stack, and the tokens that must be refused."""
    names = {stack.identities.user_id(name): name for name in (f"{uuid.uuid4().hex}-{who}" for who in "ab")}
    a, b = names
    forged = {"role": "authenticated", "aud": "authenticated", "exp": 2082758400}
    return Api(
        client or stack.http(stack.environment.supabase.api_url),
        stack.identities.anon_key().reveal(),
        stack.identities.service_role_key().reveal(),
        a,
        b,
        lambda user: stack.identities.token(names[user]).reveal(),
        {
            "expired token": lambda user: stack.identities.token(names[user], ttl_seconds=-60).reveal(),
            "forged token": lambda user: mint(Secret(OTHERS), {"sub": user, **forged}).reveal(),
        },
    )


@pytest.fixture
def exposed(
    cluster: Cluster, bare: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Exposed]]:
    """Makes schemas behind a Data API of their own."""
    with contextlib.ExitStack() as open_:

        def made(statements: str, settings: str = "", also_trusts: str = "") -> Exposed:
            dsn = bare(statements)
            database = Database(cluster, str(psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]))
            environment = environment_for(database, free_port(), free_port(), free_port())
            directory = tmp_path / database.name
            directory.mkdir()
            stack = Stack(ROOT, directory, environment, SecretStore(ROOT, directory))
            open_.callback(stack.close)
            stack.identities_source = LocalIdentities(stack)
            text = DataApi._text
            own = stack.secret(environment.supabase.jwt_secret).reveal()

            def configured(self: DataApi) -> str:
                if also_trusts:
                    self = dataclasses.replace(self, jwt_secret=key_set(own, also_trusts))
                return text(self) + settings

            monkeypatch.setattr(DataApi, "_text", configured)
            open_.enter_context(running_data_api(stack, database, directory))
            return Exposed(dsn, api_of(stack), directory / "journal.json")

        yield made
