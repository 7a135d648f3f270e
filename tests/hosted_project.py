"""A hosted project for tests: a real PostgreSQL behind TLS and a real Data API, on free ports of loopback.

Doubles are the Management API (tests/management_api.py, checked against the vendor's document), and what a
hosted database has beyond the baseline (tests/hosted_like.sql).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import trustme
import yaml

from harness.environment import Environment
from harness.identity import LocalIdentities
from harness.providers.cloud.supabase import CloudSupabase
from harness.providers.local.child import running_child
from harness.providers.local.postgres import EmbeddedPostgres
from harness.providers.local.rest import DataApi
from harness.providers.selfhosted.bootstrap import bootstrap, set_passwords
from harness.secrets import Secret, SecretStore
from harness.stack import Stack
from harness.waiting import wait_until
from tests.management_api import healthy, project
from tests.pg_fixture import ROOT, free_port

REF = "hostedchatprojectxyz"


@dataclass
class Platform:
    """The Management API: what it answers at each path of the project; tests change ``says``."""

    says: dict[str, Any] = field(default_factory=dict)
    asked: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        path = request.url.path.partition(f"/v1/projects/{REF}")[2].strip("/")
        if path not in self.says:
            return httpx.Response(404, json={"message": f"no {path}"})
        return httpx.Response(200, json=self.says[path])


@dataclass
class Hosted:
    """The project as a test sees it."""

    stack: Stack
    provider: CloudSupabase
    platform: Platform
    server: EmbeddedPostgres

    def execute(self, statement: str, *, superuser: bool = False) -> list[tuple[Any, ...]]:
        """Run ``statement`` as postgres (or as the platform would) and commit; its rows, if any."""
        dsn = self.server.dsn() if superuser else self.provider.dsn()
        with psycopg.connect(dsn) as connection:
            done = connection.execute(statement.encode())
            return done.fetchall() if done.description else []


def encrypted(
    server: EmbeddedPostgres, folder: Path, names: Sequence[str] = ("127.0.0.1", "localhost")
) -> None:
    """Give ``server`` a certificate for ``names``, of an authority that ``folder``/ca.crt holds."""
    authority = trustme.CA()
    certificate = authority.issue_cert(*names)
    authority.cert_pem.write_to_path(str(folder / "ca.crt"))
    trustme.CA().cert_pem.write_to_path(str(folder / "other-ca.crt"))
    files = {
        "server.crt": b"".join(part.bytes() for part in certificate.cert_chain_pems),
        "server.key": certificate.private_key_pem.bytes(),
    }
    for name, content in files.items():
        path = server.data / name
        path.write_bytes(content)
        path.chmod(0o600)
        os.chown(path, server.user.uid, server.user.gid)
    with (server.data / "postgresql.auto.conf").open("a") as file:
        file.write("ssl = on\nssl_cert_file = 'server.crt'\nssl_key_file = 'server.key'\n")


def _environment(folder: Path, port: int, api_port: int) -> Environment:
    """environments/staging.yaml, its Supabase being this project."""
    text = yaml.safe_load((ROOT / "environments" / "staging.yaml").read_text())
    text["supabase"] = {
        "provider": "cloud",
        "project_ref": REF,
        "api_url": f"http://127.0.0.1:{api_port}",
        "access_token": "local:access_token",
        "jwt_secret": "local:jwt_secret",
        "database_host": "127.0.0.1",
        "database_port": port,
        "database_ca": str(folder / "ca.crt"),
        "database_password": "local:database_password",
        "pooler": False,
        "management_url": "http://127.0.0.1:9",
    }
    text["gateway"]["database_password"] = "local:gateway_password"
    return Environment.model_validate_json(json.dumps(text))


@contextlib.contextmanager
def _data_api(hosted: Hosted, folder: Path, authenticator: Secret) -> Iterator[None]:
    settings = hosted.provider.settings
    api = DataApi(
        root=ROOT,
        directory=folder / "api",
        port=int(settings.api_url.rpartition(":")[2]),
        rest_port=free_port(),
        admin_port=free_port(),
        database_port=settings.database_port,
        database="postgres",
        authenticator_password=authenticator,
        jwt_secret=hosted.stack.secret(settings.jwt_secret),
        anon_key=hosted.stack.identities.anon_key(),
        service_role_key=hosted.stack.identities.service_role_key(),
    )
    api.configure()
    with contextlib.ExitStack() as running:
        for program in api.programs():
            running.enter_context(running_child(program, folder / "api"))
            wait_until(f"{program.name} ready", program.ready, seconds=20)
        yield


@pytest.fixture(scope="module")
def hosted_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    """A project that nothing has been deployed to; the tests of a module deploy to it and break it."""
    folder = tmp_path_factory.mktemp("hosted")
    server = EmbeddedPostgres(folder / "server", free_port(), Secret(uuid.uuid4().hex), durable=False)
    server.initialise()
    encrypted(server, folder)
    environment = _environment(folder, server.port, free_port())
    stack = Stack(ROOT, folder / "state", environment, SecretStore(ROOT, folder / "state"))
    stack.identities_source = LocalIdentities(stack)
    platform = Platform({"": project(), "health": healthy()})
    stack._clients[environment.supabase.management_url] = httpx.Client(
        base_url=environment.supabase.management_url, transport=httpx.MockTransport(platform)
    )
    provider = CloudSupabase(stack)
    stack.providers["supabase"] = provider
    authenticator = Secret(uuid.uuid4().hex)
    made = Hosted(stack, provider, platform, server)
    with server.running():
        bootstrap(server)
        password = stack.secret(provider.settings.database_password)
        set_passwords(server, {"postgres": password, "authenticator": authenticator})
        made.execute((ROOT / "tests" / "hosted_like.sql").read_text(), superuser=True)
        with _data_api(made, folder, authenticator):
            yield made
        stack.close()
    server.destroy()


@pytest.fixture
def declaration(hosted_project: Hosted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of supabase/ that the provider takes for the declaration."""
    copy = tmp_path / "supabase"
    shutil.copytree(ROOT / "supabase", copy, ignore=shutil.ignore_patterns(".temp"))
    monkeypatch.setattr(CloudSupabase, "source", copy)
    return copy
