"""Negative controls of the gateway's checks: break the real gateway, see exactly that check refute it."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.checks import declared, gateway, logs, settings
from harness.evidence import Evidence, Verdict
from harness.secrets import Secret
from tests.gateway_asking import OF_SOURCES, refuted_by, said
from tests.gateway_stack import RealStack, broken


def test_the_right_gateway_passes_every_check(gateway_stack: RealStack) -> None:
    refuted_by(gateway_stack)
    for check in OF_SOURCES:
        evidence = check(gateway_stack.stack)
        assert evidence.verdict is Verdict.HOLDS, said(evidence)


def test_a_second_deploy_changes_nothing(gateway_stack: RealStack) -> None:
    provider = gateway_stack.gateway
    pid = gateway_stack.processes.pid("gateway")
    assert provider.plan().unchanged
    assert not provider.deploy(lambda _: None).changed
    assert gateway_stack.processes.pid("gateway") == pid


# --- health --------------------------------------------------------------------------------------


def test_a_dead_gateway_is_not_alive(gateway_stack: RealStack) -> None:
    with gateway_stack.processes.stopped("gateway"):
        assert gateway.live(gateway_stack.stack).verdict is Verdict.UNREACHABLE
    assert gateway.live(gateway_stack.stack).verdict is Verdict.HOLDS


def test_a_hung_gateway_is_not_alive(gateway_stack: RealStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "_LIVE_SECONDS", 0.5)
    with gateway_stack.processes.paused("gateway"):
        assert gateway.live(gateway_stack.stack).verdict is Verdict.UNREACHABLE
    gateway_stack.stack.close()
    assert gateway.live(gateway_stack.stack).verdict is Verdict.HOLDS


def test_a_dead_engine_is_named_by_readiness(gateway_stack: RealStack) -> None:
    with gateway_stack.processes.stopped("thinking"):
        evidence = gateway.ready(gateway_stack.stack)
    assert evidence.verdict is Verdict.REFUTED
    assert [finding.where.rpartition(" ")[2] for finding in evidence.findings] == ["thinking"]
    assert gateway.ready(gateway_stack.stack).verdict is Verdict.HOLDS


def drill(real: RealStack, program: str, dependency: str, seconds: float) -> Evidence:
    return gateway.notices(real.stack, program=program, dependency=dependency, seconds=seconds)


DRILLS = [("postgres", "database"), ("instant", "instant"), ("thinking", "thinking")]


@pytest.mark.parametrize(("program", "dependency"), DRILLS)
def test_an_honest_readiness_passes_the_drill(
    gateway_stack: RealStack, program: str, dependency: str
) -> None:
    evidence = drill(gateway_stack, program, dependency, 5.0)
    assert evidence.verdict is Verdict.HOLDS, said(evidence)


LYING = """
import gateway.health
async def report(self):
    names = ("database", "instant", "thinking")
    settings = self._services.settings
    return {
        "status": "ready",
        "environment": settings.environment,
        "release": settings.release,
        "dependencies": {name: {"state": "up", "error": None, "latency_ms": 0.1} for name in names},
    }
gateway.health.Health.report = report
"""


def test_readiness_that_lies_is_caught(gateway_stack: RealStack) -> None:
    with broken(gateway_stack, code=LYING):
        refuted_by(gateway_stack)  # as long as all is well, nobody can tell
        evidence = drill(gateway_stack, "instant", "instant", 1.0)
    assert evidence.verdict is Verdict.REFUTED
    assert "/health/ready: instant" in said(evidence)
    assert "200 ready, down: none" in said(evidence)


BLAMING = LYING.replace('"state": "up"', '"state": "down" if name != "instant" else "up"').replace(
    '"status": "ready"', '"status": "not_ready"'
)


def test_readiness_that_blames_another_is_caught(gateway_stack: RealStack) -> None:
    with broken(gateway_stack, code=BLAMING):
        evidence = gateway.ready(gateway_stack.stack)
    assert evidence.verdict is Verdict.REFUTED
    assert {finding.where.rpartition(" ")[2] for finding in evidence.findings} == {"database", "thinking"}


# --- identity and settings -----------------------------------------------------------------------


def test_a_wrong_environment_and_a_wrong_release_are_seen(gateway_stack: RealStack) -> None:
    with broken(gateway_stack, {"GATEWAY_RELEASE": "gateway@000000000000"}):
        identity, live = refuted_by(gateway_stack, gateway.identity, settings.settings_live)
    assert "x-gateway-release: gateway@000000000000" in said(identity)
    assert "GATEWAY_RELEASE" in said(live)
    code = "import gateway.settings; gateway.settings.LOCAL = 'another'"  # elsewhere TLS is demanded
    with broken(gateway_stack, {"GATEWAY_ENVIRONMENT": "another"}, code):
        identity, _ = refuted_by(gateway_stack, gateway.identity, settings.settings_live)
    assert "x-gateway-environment: another" in said(identity)


def test_a_changed_setting_is_named(gateway_stack: RealStack) -> None:
    with broken(gateway_stack, {"GATEWAY_LOG_LEVEL": "debug", "GATEWAY_RETRIES": "2"}):
        (evidence,) = refuted_by(gateway_stack, settings.settings_live)
        plan = gateway_stack.gateway.plan()
    assert "GATEWAY_LOG_LEVEL is the value with fingerprint" in said(evidence)
    assert "GATEWAY_RETRIES as declared (absent)" in said(evidence)
    assert "debug" not in said(evidence)
    assert plan.changes[0].endswith("(GATEWAY_LOG_LEVEL, GATEWAY_RETRIES changed)")


def test_a_published_secret_is_seen(gateway_stack: RealStack) -> None:
    stack = gateway_stack.stack
    reference = stack.environment.gateway.metrics_token
    right = stack.secret(reference)
    stack.secrets._values[reference] = Secret("changeme")
    try:
        gateway_stack.gateway.deploy(lambda _: None)
        stack.close()
        evidence = settings.settings_live(stack)
    finally:
        stack.secrets._values[reference] = right
        gateway_stack.gateway.deploy(lambda _: None)
        stack.close()
    assert evidence.verdict is Verdict.REFUTED
    assert "GATEWAY_METRICS_TOKEN is a development default" in said(evidence)
    assert settings.settings_live(stack).verdict is Verdict.HOLDS


def test_a_validation_that_lets_a_default_through_is_seen(gateway_stack: RealStack) -> None:
    source = gateway_stack.stack.root / "gateway" / "settings.py"
    right = source.read_text()
    assert "yield from _unsafe_in_production(given, query)" in right
    source.write_text(right.replace("yield from _unsafe_in_production(given, query)", "yield from ()"))
    try:
        evidence = settings.defaults_refused(gateway_stack.stack)
    finally:
        source.write_text(right)
    assert evidence.verdict is Verdict.REFUTED
    for name in ("LOG_LEVEL", "RELOAD", "ALLOWED_HOSTS", "DATABASE_URL", "JWT_SECRET", "METRICS_TOKEN"):
        assert f"its settings: GATEWAY_{name}" in said(evidence)
    assert settings.defaults_refused(gateway_stack.stack).verdict is Verdict.HOLDS


def test_production_settings_that_the_gateway_refuses_are_seen(
    gateway_stack: RealStack, environment_files: Path
) -> None:
    text = (environment_files / "local.yaml").read_text()
    (environment_files / "odd.yaml").write_text(text.replace("environment: local", "environment: odd"))
    evidence = declared.every_environment(gateway_stack.stack)
    assert evidence.verdict is Verdict.REFUTED
    assert {finding.where for finding in evidence.findings} == {"environments/odd.yaml"}
    assert "GATEWAY_JWT_ISSUER must be https" in said(evidence)


# --- logs and metrics ----------------------------------------------------------------------------

CHATTY = """
import gateway.front
right = gateway.front.Front._record
def record(self, exchange, route):
    right(self, exchange, route)
    print("INFO:     served", route, flush=True)
gateway.front.Front._record = record
"""


def test_a_line_that_is_not_json_is_seen(gateway_stack: RealStack) -> None:
    with broken(gateway_stack, code=CHATTY):
        (evidence,) = refuted_by(gateway_stack, logs.logs_structured)
    assert "INFO:     served chat" in said(evidence)
    assert evidence.findings[0].where.endswith("its log")


SILENT = """
import gateway.front
right = gateway.front.Front._record
def record(self, exchange, route):
    if exchange.status != 401:
        right(self, exchange, route)
gateway.front.Front._record = record
"""


def test_a_request_that_was_not_logged_is_seen(gateway_stack: RealStack, monkeypatch) -> None:
    monkeypatch.setattr(logs, "_WRITTEN_SECONDS", 0.5)
    with broken(gateway_stack, code=SILENT):
        (evidence,) = refuted_by(gateway_stack, logs.logs_structured)
    assert [finding.where.rpartition(": ")[2] for finding in evidence.findings] == ["a bad token"]


PROMPT_LEAK = """
import base64, json, gateway.chat
right = gateway.chat.read
def read(raw):
    line = {"ts": 1, "level": "debug", "event": "x", "environment": "local", "release": "r"}
    print(json.dumps({**line, "body": base64.b64encode(b"x" + raw).decode()}), flush=True)
    return right(raw)
gateway.chat.read = read
"""
TOKEN_LEAK = """
import json, gateway.front
right = gateway.front.Front._record
def record(self, exchange, route):
    right(self, exchange, route)
    line = {"ts": 1, "level": "debug", "event": "x", "environment": "local", "release": "r"}
    print(json.dumps({**line, "sent": (exchange.authorization or b"").decode()}), flush=True)
gateway.front.Front._record = record
"""


def test_a_leak_into_the_log_is_seen(gateway_stack: RealStack) -> None:
    with broken(gateway_stack, code=PROMPT_LEAK):
        (evidence,) = refuted_by(gateway_stack, logs.logs_private)
    for name in ("prompt", "streamed prompt", "prompt of a refused chat"):
        assert f"observed  {name} (encoded) is there" in said(evidence)
    with broken(gateway_stack, code=TOKEN_LEAK):
        (evidence,) = refuted_by(gateway_stack, logs.logs_private)
    for name in ("access token", "bad token", "gateway.metrics_token"):
        assert f"observed  {name} (plain) is there" in said(evidence)
    assert gateway_stack.stack.identities.token("gateway-log-secrets").reveal() not in said(evidence)
    gateway_stack.processes.log_path("gateway").write_text("")


def test_what_was_logged_before_anybody_looked_is_seen(gateway_stack: RealStack) -> None:
    key = gateway_stack.stack.secret(gateway_stack.stack.environment.instant.api_key).reveal()
    log = gateway_stack.processes.log_path("gateway")
    with log.open("a") as file:
        file.write(f"Traceback: upstream refused Bearer {key}\n")
    evidence = refuted_by(gateway_stack, logs.logs_structured, logs.logs_private)
    log.write_text("")
    assert "observed  Traceback: upstream refused" in said(evidence[0])
    assert "observed  instant.api_key (plain) is there" in said(evidence[1])
    assert "of what is kept" in evidence[1].findings[0].where
    refuted_by(gateway_stack)


OPEN_METRICS = """
import types, gateway.app
gateway.app.hmac = types.SimpleNamespace(compare_digest=lambda given, expected: True)
"""


def test_open_metrics_are_seen(gateway_stack: RealStack) -> None:
    with broken(gateway_stack, code=OPEN_METRICS):
        (evidence,) = refuted_by(gateway_stack, logs.metrics_private)
    assert "no token got 200" in said(evidence)
    assert evidence.findings[0].where.endswith("/metrics")
