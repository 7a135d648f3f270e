"""The way to a hosted database: its certificate, and the name in it, are verified."""

from __future__ import annotations

import asyncio
import ssl
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from gateway.settings import load
from gateway.store import Store
from harness.providers.local.postgres import EmbeddedPostgres
from harness.secrets import Secret
from tests.gateway.stand import settings
from tests.hosted_project import encrypted
from tests.pg_fixture import free_port


@dataclass
class Database:
    """A PostgreSQL that speaks TLS: where it is, its authority, and another one."""

    port: int
    authority: str
    stranger: str


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    folder = tmp_path_factory.mktemp("tls")
    server = EmbeddedPostgres(folder / "server", free_port(), Secret(uuid.uuid4().hex), durable=False)
    server.initialise()
    encrypted(server, folder, ["localhost"])
    with server.running():
        with psycopg.connect(server.dsn(), autocommit=True) as owner:
            owner.execute("create role gateway login password 'pw'")
        yield Database(server.port, _read(folder / "ca.crt"), _read(folder / "other-ca.crt"))
    server.destroy()


def _read(path: Path) -> str:
    return path.read_text(encoding="ascii")


def asked(database: Database, host: str = "localhost", **more: str) -> int:
    """What the database answers to the gateway's own client."""
    url = f"postgresql://gateway:pw@{host}:{database.port}/postgres?sslmode=verify-full"

    async def once() -> int:
        store = Store(load(settings(url, "http://127.0.0.1:9", **more)))
        try:
            return int(
                await store.value("select count(*) from pg_stat_ssl where ssl and pid = pg_backend_pid()")
            )
        finally:
            store.close()

    return asyncio.run(once())


def test_a_database_with_a_certificate_of_its_authority_is_spoken_to(database: Database) -> None:
    assert asked(database, database_ca=database.authority) == 1


def test_a_certificate_of_another_authority_is_refused(database: Database) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer certificate"):
        asked(database, database_ca=database.stranger)


def test_a_certificate_for_another_name_is_refused(database: Database) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for"):
        asked(database, "127.0.0.1", database_ca=database.authority)


def test_without_an_authority_nothing_is_trusted(
    database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(Exception, match=r"root\.crt"):
        asked(database)
