"""The gateway's settings from its declaration, and what a plan of the local provider says."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import httpx
import pytest

from harness.environment.loader import load
from harness.errors import DeployError, NoProvider
from harness.providers.gateway_environment import (
    fingerprint,
    gateway_settings,
    reveal,
    source_digest,
    source_release,
)
from harness.providers.local.gateway import LocalGateway
from harness.providers.local.processes import LocalProcesses
from harness.secrets import Secret, SecretStore
from harness.stack import Stack
from harness.waiting import wait_until
from tests.pg_fixture import free_port

ROOT = Path(__file__).parents[2]


class StandIns(SecretStore):
    def resolve(self, reference: str) -> Secret:
        return Secret(f"value/of:{reference}@{'x' * 32}", reference)


def declared(name: str, root: Path = ROOT) -> dict[str, str | Secret]:
    return gateway_settings(load(name, root).environment, StandIns(root, root), "gateway@test")


@pytest.fixture
def local(tmp_path: Path) -> tuple[Stack, LocalProcesses]:
    """A stack of which nothing runs; its gateway has copied sources."""
    root = tmp_path / "root"
    (root / "gateway").mkdir(parents=True)
    for path in (ROOT / "gateway").glob("*.py"):
        (root / "gateway" / path.name).write_text(path.read_text())
    (root / "requirements-gateway.txt").write_text("pinned==1\n")
    (root / "Dockerfile").write_text("FROM scratch\n")
    port, state = free_port(), tmp_path / "state"
    changes = [f"gateway.port={port}", f"gateway.url=http://127.0.0.1:{port}"]
    environment = load("local", ROOT, overrides=changes).environment
    return Stack(root, state, environment, SecretStore(root, state)), LocalProcesses(state)


def test_every_limit_and_engine_of_the_declaration_reaches_the_gateway() -> None:
    settings = declared("local")
    assert settings["GATEWAY_LIMIT_REQUEST_TOKENS"] == "512"
    assert settings["GATEWAY_INSTANT_URL"] == "http://127.0.0.1:8001"
    assert settings["GATEWAY_THINKING_MODEL"] == "smollm2-135m-thinking"
    assert settings["GATEWAY_JWT_ISSUER"] == "http://127.0.0.1:54321/auth/v1"
    assert settings["GATEWAY_HOST"] == "127.0.0.1"
    secret = {name for name, value in settings.items() if isinstance(value, Secret)}
    assert secret == {f"GATEWAY_{n}" for n in ("DATABASE_URL", "JWT_SECRET", "METRICS_TOKEN")} | {
        "GATEWAY_INSTANT_KEY",
        "GATEWAY_THINKING_KEY",
    }


def test_hosted_environments_verify_published_keys_and_demand_tls_to_the_database() -> None:
    settings = declared("production")
    assert str(settings["GATEWAY_JWKS_URL"]).endswith("/auth/v1/.well-known/jwks.json")
    assert reveal(settings["GATEWAY_DATABASE_URL"]).endswith("/postgres?sslmode=verify-full")
    assert settings["GATEWAY_ALLOWED_HOSTS"] == "gateway.chat.example"
    assert "GATEWAY_DATABASE_CA" not in settings


def test_the_authority_of_a_hosted_database_goes_with_the_gateway(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "environments", tmp_path / "environments")
    (tmp_path / "environments" / "supabase-ca.crt").write_text("an authority\n")
    assert declared("production", tmp_path)["GATEWAY_DATABASE_CA"] == "an authority\n"


def test_a_password_with_any_character_stays_one_password() -> None:
    url = reveal(declared("local")["GATEWAY_DATABASE_URL"])
    assert url.startswith("postgresql://gateway:value%2Fof%3Alocal%3Agateway_database_password%40xxx")
    assert url.count("@") == 1


def test_no_secret_is_in_the_arguments(local: tuple[Stack, LocalProcesses]) -> None:
    program = LocalGateway(*local).program()
    assert program.argv == [sys.executable, "-m", "gateway"]
    assert program.cwd == local[0].root


def test_the_release_follows_sources_and_pins_and_nothing_else(local: tuple[Stack, LocalProcesses]) -> None:
    root = local[0].root
    first = source_release(root)
    assert first == f"gateway@{source_digest(root)[:12]}"
    (root / "gateway" / "notes.txt").write_text("not a source")
    assert source_release(root) == first
    (root / "requirements-gateway.txt").write_text("pinned==2\n")
    second = source_release(root)
    (root / "gateway" / "extra.py").write_text("")
    assert len({first, second, source_release(root)}) == 3


def test_a_plan_says_what_it_would_do_and_does_nothing(local: tuple[Stack, LocalProcesses]) -> None:
    gateway = LocalGateway(*local)
    plan = gateway.plan()
    assert plan.changes == (f"start {gateway.release}",)
    assert plan.digest == f"sha256:{source_digest(local[0].root)}"
    assert not (local[1].state / "programs").exists()
    with pytest.raises(DeployError, match="it does not run"):
        gateway.live_settings()


def test_settings_are_shown_by_fingerprint_alone(local: tuple[Stack, LocalProcesses]) -> None:
    shown = LocalGateway(*local).declared_settings()
    secret = local[0].secret("local:jwt_secret")
    assert shown["GATEWAY_JWT_SECRET"] == fingerprint(secret) == fingerprint(secret.reveal())
    assert secret.reveal() not in str(shown)


def test_a_gateway_of_another_provider_is_not_deployed_here(tmp_path: Path) -> None:
    stack = Stack(ROOT, tmp_path, load("staging", ROOT).environment, StandIns(ROOT, tmp_path))
    with pytest.raises(NoProvider, match="docker"):
        LocalGateway(stack, LocalProcesses(tmp_path)).program()


def test_for_daily_work_it_reloads_and_logs_more(local: tuple[Stack, LocalProcesses]) -> None:
    stack, processes = local
    section = stack.environment.gateway.model_copy(update={"reload": True})
    stack.environment = stack.environment.model_copy(update={"gateway": section})
    gateway = LocalGateway(stack, processes)
    url = f"{section.url}/health/live"

    def answers_with(text: str) -> bool:
        try:
            return text in httpx.get(url, timeout=2, trust_env=False).text
        except httpx.TransportError:
            return False

    try:
        assert gateway.deploy(lambda _: None).changed
        assert answers_with('"live"')
        assert not gateway.deploy(lambda _: None).changed
        source = stack.root / "gateway" / "app.py"
        source.write_text(source.read_text().replace('{"status": "live"}', '{"status": "edited"}'))
        wait_until("the edit is served", lambda: answers_with("edited"), seconds=20)
        lines = [json.loads(line) for line in processes.lines("gateway") if line.strip()]
        assert any(line.get("level") == "debug" for line in lines)
    finally:
        processes.shutdown()
