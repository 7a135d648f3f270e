"""What a run is told that it lacks, before it touches anything."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.environment import reach
from harness.environment.explain import dotted, secret_fields
from harness.environment.loader import load, preflight
from harness.secrets import SecretStore
from tests.unit.environment_files import ROOT


@pytest.fixture
def staging(monkeypatch: pytest.MonkeyPatch):
    """Staging on a machine that has none of its secrets."""
    environment = load("staging", ROOT).environment
    for _, reference in secret_fields(environment):
        monkeypatch.delenv(reference.removeprefix("env:"), raising=False)
    return environment


@pytest.fixture
def nothing_resolves(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name server: nothing leaves this machine."""

    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)


@pytest.mark.usefixtures("nothing_resolves")
def test_every_missing_secret_and_every_host_is_named_at_once(staging, tmp_path: Path) -> None:
    state = tmp_path / "state"
    found = "\n".join(str(problem) for problem in preflight(staging, SecretStore(tmp_path, state)))
    references = [(dotted(path), reference) for path, reference in secret_fields(staging)]
    assert len(references) == 15
    for path, reference in references:
        assert f"{path}: the environment variable {reference.removeprefix('env:')} is not set" in found
    for host, port in reach.targets(staging):
        assert f"{host}:{port} cannot be reached: the name does not resolve" in found
    assert not state.exists(), "preflight wrote something"


@pytest.mark.usefixtures("nothing_resolves")
def test_a_secret_of_two_places_is_one_problem(staging, tmp_path: Path) -> None:
    gateway = staging.gateway.model_copy(update={"database_password": staging.gateway.metrics_token})
    environment = staging.model_copy(update={"gateway": gateway})
    found = [str(problem) for problem in preflight(environment, SecretStore(tmp_path, tmp_path))]
    expected = (
        "gateway.metrics_token, gateway.database_password: "
        "the environment variable STAGING_METRICS_TOKEN is not set"
    )
    assert found.count(expected) == 1


@pytest.mark.usefixtures("nothing_resolves")
def test_a_file_that_nobody_has_put_there_is_named(staging, tmp_path: Path) -> None:
    def found() -> list[str]:
        problems = preflight(staging, SecretStore(tmp_path, tmp_path / "state"))
        return [str(problem) for problem in problems if "there is no file" in str(problem)]

    (problem,) = found()
    assert problem.startswith("supabase.database_ca: there is no file environments/supabase-ca.crt")
    assert "dashboard" in problem
    (tmp_path / "environments").mkdir()
    (tmp_path / "environments" / "supabase-ca.crt").write_text("a certificate")
    assert found() == []


def test_local_needs_nothing_and_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("it asked"))
    environment = load("local", ROOT).environment
    assert reach.targets(environment) == {}
    assert preflight(environment, SecretStore(tmp_path, tmp_path / "state")) == []
    assert not (tmp_path / "state").exists()


def test_an_engine_that_runs_elsewhere_is_a_target() -> None:
    overrides = ["instant.engine=url", "instant.url=https://gpu.chat.example/base"]
    environment = load("local", ROOT, overrides=overrides).environment
    assert reach.targets(environment) == {("gpu.chat.example", 443): ["instant.url"]}


@pytest.fixture
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_who_answers_is_no_problem_and_who_refuses_is(listening: int) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening: refuses
        closed = unused.getsockname()[1]
        found = reach._unreachable({("127.0.0.1", listening): ["a"], ("127.0.0.1", closed): ["b", "c"]})
    assert [str(p) for p in found] == [f"b, c: 127.0.0.1:{closed} cannot be reached: Connection refused"]


def test_twenty_silent_hosts_take_two_seconds_together(monkeypatch: pytest.MonkeyPatch) -> None:
    forever = threading.Event()
    monkeypatch.setattr(reach, "DEADLINE_SECONDS", 0.3)
    monkeypatch.setattr(reach, "_connect", lambda target: str(forever.wait(30)))
    started = time.monotonic()
    found = reach._unreachable({("host.example", port): [f"p{port}"] for port in range(1, 21)})
    forever.set()
    assert time.monotonic() - started < 5.0  # one after another they would take 6 s
    assert [problem.where for problem in found] == [f"p{port}" for port in range(1, 21)]
    assert all("no answer within 0.3 s" in problem.what for problem in found)
