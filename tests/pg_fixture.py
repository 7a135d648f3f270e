"""Fixtures: a real PostgreSQL with the Supabase baseline and every migration, and a Data API before it.

tests/conftest.py offers them to every test; import what else you need from here.

* ``cluster`` (session): a running throw-away server; about a second to make.
* ``bare``: makes databases without the project's migrations.
* ``database``: a fresh, migrated and seeded database of its own (a copy of a template, 50 ms).
* ``database_stack``: a :class:`Stack` whose database is that one, without a Data API.
* ``supabase_stack``: a :class:`Stack` whose Supabase is that database behind a real PostgREST and its
  front, all on free ports, ready to be asked by the checks.
* ``project``: a copy of supabase/ that the stack's provider takes for the declaration.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from harness.environment import Environment
from harness.environment.supabase import LocalSupabase
from harness.hosts.place import Place
from harness.identity import LocalIdentities
from harness.providers.backup import Archive
from harness.providers.base import Process
from harness.providers.database import Monitor, Scope, answering
from harness.providers.local.child import running_child
from harness.providers.local.here import Here
from harness.providers.local.postgres import EmbeddedPostgres
from harness.providers.local.rest import DataApi
from harness.providers.schema import Schema
from harness.providers.selfhosted.bootstrap import bootstrap, scratch_database, set_passwords
from harness.providers.supabase_cli import SupabaseCli
from harness.secrets import Secret, SecretStore
from harness.stack import Stack
from harness.waiting import wait_until

ROOT = Path(__file__).parents[1]
MIGRATED = "migrated"


def free_port() -> int:
    """A loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Cluster:
    """A running server with the baseline; ``passwords`` by role."""

    server: EmbeddedPostgres
    passwords: dict[str, Secret]
    directory: Path

    def dsn(self, role: str = "postgres", database: str = "postgres") -> str:
        if role == "supabase_admin":
            return self.server.dsn(database=database)
        return self.server.dsn(role, self.passwords[role], database)


@dataclass(frozen=True)
class Database:
    """One database of the cluster. ``dsn`` connects as postgres, ``gateway_url`` as the gateway would."""

    cluster: Cluster
    name: str

    @property
    def dsn(self) -> str:
        return self.cluster.dsn("postgres", self.name)

    @property
    def superuser_dsn(self) -> str:
        return self.cluster.dsn("supabase_admin", self.name)

    @property
    def gateway_url(self) -> str:
        password = self.cluster.passwords["gateway"].reveal()
        return f"postgresql://gateway:{password}@127.0.0.1:{self.cluster.server.port}/{self.name}"

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run ``statement`` as postgres and commit; its rows, if it has any."""
        with psycopg.connect(self.dsn) as connection:
            done = connection.execute(statement.encode())
            return done.fetchall() if done.description else []


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A server for the whole session, with the databases postgres (bare) and `migrated` (a template)."""
    directory = tmp_path_factory.mktemp("postgres")
    server = EmbeddedPostgres(directory / "server", free_port(), Secret(uuid.uuid4().hex), durable=False)
    passwords = {role: Secret(uuid.uuid4().hex) for role in ("postgres", "authenticator", "gateway")}
    with server.running():
        bootstrap(server)
        set_passwords(server, {role: passwords[role] for role in ("postgres", "authenticator")})
        made = Cluster(server, passwords, directory)
        with psycopg.connect(made.dsn(), autocommit=True) as owner:
            owner.execute(f"create database {MIGRATED} template supabase_baseline")
        cli = SupabaseCli(ROOT, directory / "cli")
        Schema(ROOT / "supabase", made.dsn(database=MIGRATED), cli, seed=True).apply(lambda _: None)
        set_passwords(server, {"gateway": passwords["gateway"]})
        yield made
    server.destroy()


@pytest.fixture
def bare(cluster: Cluster) -> Iterator[Callable[[str], str]]:
    """Makes databases of one's own, from the baseline and some SQL; called, the DSN of one."""
    with contextlib.ExitStack() as open_:

        def made(statements: str) -> str:
            dsn = open_.enter_context(scratch_database(cluster.dsn(), "bare"))
            with psycopg.connect(dsn) as connection:
                connection.execute(statements.encode())
            return dsn

        yield made


@pytest.fixture
def database(cluster: Cluster) -> Iterator[Database]:
    """A migrated and seeded database of one's own."""
    with scratch_database(cluster.dsn(), "test", MIGRATED) as dsn:
        yield Database(cluster, str(psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]))


@dataclass
class FakeLogs:
    """Logs that a test writes itself."""

    written: dict[str, list[str]] = field(default_factory=dict)

    def lines(self, component: str, since: float = 0.0) -> list[str]:
        return self.written.get(component, [])[int(since) :]

    def mark(self, component: str) -> float:
        return float(len(self.written.get(component, [])))


@dataclass
class FakeProcesses:
    """A process table of real pids that a test fills in."""

    pids: dict[str, int] = field(default_factory=dict)

    def programs(self) -> list[Process]:
        return [Process(name, "RUNNING", pid, 1.0, True) for name, pid in self.pids.items()]

    def pid(self, program: str) -> int:
        return self.pids.get(program, 0)

    def instances(self, program: str) -> list[tuple[Place, int]]:
        return [(Here(), self.pid(program))]


@dataclass
class TestSupabase:
    """What the checks reach through ``stack.provider("supabase")``; see LocalSupabase."""

    __test__ = False

    database: Database
    source: Path
    cli: SupabaseCli
    directory: Path
    dump_options: tuple[str, ...] = ()
    monitored: dict[str, str] = field(default_factory=dict)
    stack: Stack | None = None
    scope: Scope = field(default_factory=Scope)
    component: str = "supabase"

    def dsn(self) -> str:
        return self.database.dsn

    def programs_directory(self) -> Path:
        return self.database.cluster.server.bin

    @contextlib.contextmanager
    def scratch(self) -> Iterator[str]:
        with scratch_database(self.database.cluster.dsn()) as dsn:
            yield dsn

    def backup(self, snapshot: str) -> Path:
        path = self.directory / "backup.dump"
        Archive(path, self.programs_directory()).dump(self.dsn(), snapshot, self.dump_options)
        return path

    def restore_place(self) -> contextlib.AbstractContextManager[str]:
        return self.scratch()

    def monitors(self) -> list[Monitor]:
        assert self.stack is not None
        return answering(self.stack, self.monitored)


def environment_for(database: Database, api_port: int, rest_port: int, admin_port: int) -> Environment:
    """environments/local.yaml with the ports of this test."""
    text = yaml.safe_load((ROOT / "environments" / "local.yaml").read_text())
    text["supabase"] |= {
        "api_url": f"http://127.0.0.1:{api_port}",
        "api_port": api_port,
        "database_port": database.cluster.server.port,
        "rest_port": rest_port,
        "rest_admin_port": admin_port,
    }
    return Environment.model_validate(text)


@contextlib.contextmanager
def running_data_api(stack: Stack, database: Database, directory: Path) -> Iterator[DataApi]:
    """PostgREST and its front for ``database``, on the ports that the stack's environment names."""
    settings = stack.environment.supabase
    assert isinstance(settings, LocalSupabase)
    api = DataApi(
        root=ROOT,
        directory=directory,
        port=settings.api_port,
        rest_port=settings.rest_port,
        admin_port=settings.rest_admin_port,
        database_port=database.cluster.server.port,
        database=database.name,
        authenticator_password=database.cluster.passwords["authenticator"],
        jwt_secret=stack.secret(settings.jwt_secret),
        anon_key=stack.identities.anon_key(),
        service_role_key=stack.identities.service_role_key(),
    )
    api.configure()
    with contextlib.ExitStack() as running:
        programs = api.programs()
        for program in programs:
            running.enter_context(running_child(program, directory))
        for program in programs:
            wait_until(f"{program.name} ready", program.ready, seconds=20)
        yield api


@pytest.fixture
def database_stack(database: Database, tmp_path: Path) -> Iterator[Stack]:
    """A stack with a real database and no Data API; logs and process table are the test's to fill."""
    environment = environment_for(database, free_port(), free_port(), free_port())
    stack = Stack(ROOT, tmp_path, environment, SecretStore(ROOT, tmp_path))
    stack.identities_source = LocalIdentities(stack)
    stack.dsn_source = lambda: database.dsn
    stack.logs_source = FakeLogs()
    stack.process_control = FakeProcesses()
    cli = SupabaseCli(ROOT, tmp_path / "cli")
    provider = TestSupabase(database, ROOT / "supabase", cli, tmp_path, stack=stack)
    stack.providers["supabase"] = provider
    yield stack
    stack.close()


@pytest.fixture
def project(database_stack: Stack, tmp_path: Path) -> Path:
    """A copy of supabase/ that the stack's provider takes for the declaration."""
    copy = tmp_path / "project" / "supabase"
    shutil.copytree(ROOT / "supabase", copy, ignore=shutil.ignore_patterns(".temp"))
    database_stack.providers["supabase"].source = copy
    return copy


@pytest.fixture
def supabase_stack(database_stack: Stack, database: Database, tmp_path: Path) -> Iterator[Stack]:
    """The same, behind a real PostgREST and its front."""
    settings = database_stack.environment.supabase
    assert isinstance(settings, LocalSupabase)
    provider = database_stack.providers["supabase"]
    assert isinstance(provider, TestSupabase)
    provider.monitored = {
        "PostgREST is connected and knows the schema": f"http://127.0.0.1:{settings.rest_admin_port}/ready",
        "the Data API's front": f"{settings.api_url}/health",
    }
    with running_data_api(database_stack, database, tmp_path):
        yield database_stack
