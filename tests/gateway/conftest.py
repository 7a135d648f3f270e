"""One PostgreSQL for all tests, an engine under the tests' control, gateways on demand."""

from __future__ import annotations

import shutil
import socket
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from harness.providers.local.postgres import EmbeddedPostgres
from harness.providers.selfhosted.bootstrap import bootstrap, scratch_database, set_passwords
from harness.secrets import Secret
from tests.gateway.fake_engine import FakeEngine
from tests.gateway.stand import LEDGER, Gateway, settings, until

PASSWORD = "sentinel-database-password-0123456789"


@pytest.fixture(scope="session")
def cluster() -> Iterator[EmbeddedPostgres]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    directory = Path(tempfile.mkdtemp(prefix="gateway-tests-"))
    server = EmbeddedPostgres(directory, port, Secret("superuser-password"), durable=False)
    with server.running():
        bootstrap(server)
        set_passwords(server, {"postgres": Secret("postgres-password")})
        yield server
    server.destroy()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def database(cluster: EmbeddedPostgres) -> Iterator[str]:
    """A migrated database; yields the connection string of its owner, who is not a superuser."""
    owner = cluster.dsn("postgres", Secret("postgres-password"))
    with scratch_database(owner, "gateway") as dsn:
        with psycopg.connect(dsn) as connection:
            for migration in LEDGER:
                connection.execute(migration.read_bytes())
        set_passwords(cluster, {"gateway": Secret(PASSWORD)})
        yield dsn


@pytest.fixture
def sql(database: str) -> Iterator[Callable[..., list[tuple]]]:
    with psycopg.connect(database, autocommit=True) as connection:

        def run(text: str, *values: object) -> list[tuple]:
            cursor = connection.execute(text, values)
            return cursor.fetchall() if cursor.description else []

        yield run


@pytest.fixture(scope="session")
def gateway_url(cluster: EmbeddedPostgres, database: str) -> str:
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    return f"postgresql://gateway:{PASSWORD}@127.0.0.1:{cluster.port}/{name}"


@pytest.fixture(scope="session")
def engine() -> Iterator[FakeEngine]:
    made = FakeEngine()
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="session")
def start(gateway_url: str, engine: FakeEngine) -> Iterator[Callable[..., Gateway]]:
    """Starts a gateway with changed settings; all are stopped at the end."""
    started: list[Gateway] = []

    def make(**more: str) -> Gateway:
        one = Gateway(settings(more.pop("database", gateway_url), more.pop("engine", engine.url), **more))
        started.append(one)
        return one

    yield make
    for one in started:
        one.ask_to_stop()
    for one in started:
        one.stop()


@pytest.fixture(scope="session")
def gateway(start: Callable[..., Gateway], engine: FakeEngine) -> Gateway:
    """The gateway that most tests share: short time-outs, no other oddity."""
    return start(
        timeout_first_byte_seconds="1",
        timeout_answer_seconds="1",
        timeout_idle_seconds="1",
        timeout_cold_start_seconds="3",
        timeout_comment_seconds="0.2",
        timeout_headers_seconds="1",
        timeout_body_seconds="1",
        jwks_cooldown_seconds="1",
        jwks_url=f"{engine.url}/jwks",
    )


@pytest.fixture
def user() -> str:
    return str(uuid.uuid4())


@pytest.fixture
def booked(sql: Callable[..., list[tuple]]) -> Callable[[str], tuple]:
    """What the ledger has booked last for a user: prompt, completion, outcome."""

    def ask(user: str) -> tuple:
        query = """select prompt_tokens, completion_tokens, outcome from usage.entries
            where user_id = %s order by id desc"""
        return until(lambda: sql(query, user), 30, "the booking")[0]

    return ask


@pytest.fixture(scope="module")
def own(cluster):
    """A database of its own, whose ledger may be tampered with; yields its owner's connection string."""
    with scratch_database(cluster.dsn("postgres", Secret("postgres-password")), "ledger") as dsn:
        with psycopg.connect(dsn) as connection:
            for migration in LEDGER:
                connection.execute(migration.read_bytes())
        yield dsn


@pytest.fixture
def owner(own):
    """Its owner, in a transaction that is rolled back."""
    with psycopg.connect(own) as connection:
        yield connection
        connection.rollback()
