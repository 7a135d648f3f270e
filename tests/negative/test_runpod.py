"""Negative controls of the thinking model at RunPod: whatever is wrong there is named."""

# ruff: noqa: F811 - fixtures are imported
from __future__ import annotations

import httpx
import pytest

from harness.checks import cost, inference, processes, serverless
from harness.errors import DeployError
from harness.evidence import Evidence, Verdict
from harness.redaction import encodings
from tests.runpod_stand import HIDDEN, TOKEN, RunpodStand, gateway, thinking  # noqa: F401
from tests.vendor_server import Told

ENDPOINT = "/endpoints/stagingthinking0"


def refused(stand: RunpodStand) -> str:
    """What the deployment is refused with; no secret is in it."""
    with pytest.raises(DeployError) as caught:
        stand.deploy()
    text = str(caught.value)
    assert "what to do: " in text
    assert not [form for secret in (TOKEN, HIDDEN) for form in encodings(secret) if form in text]
    return text


def said(evidence: Evidence) -> str:
    assert evidence.verdict is Verdict.REFUTED, evidence
    return "\n".join(str(finding) for finding in evidence.findings)


@pytest.mark.parametrize(
    ("name", "value", "planned", "found"),
    [
        ("workersMin", 1, "set workersMin to 0 (is 1)", "workersMin 1"),
        ("workersMax", 5, "set workersMax to 1 (is 5)", "workersMax 5"),
        ("idleTimeout", 3600, "set idleTimeout to 60 (is 3600)", "idleTimeout 3600"),
        ("executionTimeoutMs", 0, "set executionTimeoutMs to 600000 (is 0)", "executionTimeoutMs 0"),
        ("scalerValue", 1, "set scalerValue to 8 (is 1)", "concurrency 1"),
        (
            "scalerType",
            "QUEUE_DELAY",
            "set scalerType to REQUEST_COUNT (is QUEUE_DELAY)",
            "by QUEUE_DELAY",
        ),
        (
            "gpuTypeIds",
            ["NVIDIA H100 80GB HBM3"],
            "set gpuTypeIds to NVIDIA A100 80GB PCIe (is NVIDIA H100 80GB HBM3)",
            "gpu NVIDIA H100 80GB HBM3",
        ),
        (
            "workersMax",
            0,
            "set workersMax to 1 (is 0: RunPod does that after seven days without a request)",
            "workersMax 0",
        ),
    ],
)
def test_another_setting_is_planned_away_and_refuted(
    thinking: RunpodStand, name: str, value: object, planned: str, found: str
) -> None:
    thinking.double.settings[name] = value
    assert thinking.provider.plan().changes == (planned,)
    assert found in said(serverless.settings(thinking.stack))
    thinking.deploy()
    assert serverless.settings(thinking.stack).verdict is Verdict.HOLDS


def test_another_model_is_planned_away_and_refuted(thinking: RunpodStand) -> None:
    thinking.double.variables["OPENAI_SERVED_MODEL_NAME_OVERRIDE"] = "Qwen/Qwen3-0.6B"
    [change] = thinking.provider.plan().changes
    assert change == "set OPENAI_SERVED_MODEL_NAME_OVERRIDE to Qwen/Qwen3-32B (is Qwen/Qwen3-0.6B)"
    assert "model Qwen/Qwen3-0.6B" in said(serverless.settings(thinking.stack))


def test_a_model_that_nobody_named_is_not_taken_for_the_right_one(thinking: RunpodStand) -> None:
    thinking.double.variables.clear()
    assert "model not set" in said(serverless.settings(thinking.stack))
    assert len(thinking.provider.plan().changes) == 4


def test_settings_that_nobody_made_are_made(thinking: RunpodStand) -> None:
    del thinking.double.settings["executionTimeoutMs"], thinking.double.settings["gpuTypeIds"]
    assert thinking.provider.plan().changes == (
        "set executionTimeoutMs to 600000 (is not set)",
        "set gpuTypeIds to NVIDIA A100 80GB PCIe (is not set)",
    )
    assert "executionTimeoutMs None" in said(serverless.settings(thinking.stack))
    thinking.deploy()
    assert thinking.provider.plan().unchanged


def test_an_endpoint_that_is_not_there_is_named(thinking: RunpodStand) -> None:
    thinking.double.endpoint_id = "another"
    text = refused(thinking)
    assert f"{ENDPOINT}: HTTP 404" in text
    assert "thinking.endpoint_id" in text


def test_a_change_that_is_ignored_is_no_success(thinking: RunpodStand) -> None:
    thinking.double.settings["workersMin"] = 1
    thinking.double.looks = -1
    text = refused(thinking)
    assert "the new settings in force: not within 0.3 s; last seen: workersMin 1, wanted 0" in text
    assert ENDPOINT in text


def test_an_endpoint_without_a_template_is_named(thinking: RunpodStand) -> None:
    told = {**thinking.double.settings, "id": "stagingthinking0", "templateId": ""}
    thinking.double.instead["GET", ENDPOINT] = Told(200, told)
    assert "the endpoint names no template" in refused(thinking)


def test_an_endpoint_that_is_unknown_for_jobs_is_named(thinking: RunpodStand) -> None:
    thinking.double.instead["GET", "/health"] = Told(503, {})
    assert "the endpoint's health: not within 0.3 s; last seen: RemoteProtocolError: HTTP 503" in refused(
        thinking
    )


@pytest.mark.parametrize(
    ("told", "words", "hint"),
    [
        (Told(401, {"error": "unauthorized"}), "HTTP 401", "thinking.token"),
        (Told(403, {"error": "forbidden"}), "HTTP 403", "read and write access"),
        (Told(400, {"error": "bad"}), "HTTP 400", "correct thinking"),
        (Told(429, {}, {"retry-after": "30"}), "HTTP 429; asks to wait 30 s", "outage"),
        (Told(500, raw=b"<html>"), "HTTP 500", "outage"),
        (Told(200, raw=b'{"workersMin": '), "not what this API answers", "what to do"),
        (Told(200, {"workersMin": 0}), "workersMax: Field required", "what to do"),
        (Told(200, {}, cut=True), "RemoteProtocolError", "outage"),
    ],
)
def test_an_api_that_refuses_or_breaks_is_named(thinking: RunpodStand, told, words, hint) -> None:
    thinking.double.instead["GET", ENDPOINT] = told
    text = refused(thinking)
    assert ENDPOINT in text
    assert words in text
    assert hint in text
    evidence = serverless.settings(thinking.stack)
    assert evidence.verdict in (Verdict.UNREACHABLE, Verdict.BLOCKED)


def test_an_api_that_hangs_has_a_deadline(thinking: RunpodStand) -> None:
    url = thinking.provider.settings.management_url
    thinking.stack._clients[url] = httpx.Client(base_url=url, timeout=0.2, trust_env=False)
    thinking.double.instead["GET", ENDPOINT] = Told(hangs=True)
    assert f"{ENDPOINT}: ReadTimeout" in refused(thinking)


# --- what it costs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("account", "observed"),
    [
        ({"spendLimit": None}, "no limit"),
        ({}, "no limit"),
        ({"spendLimit": 0}, "no limit"),
        ({"spendLimit": 80}, "80 USD an hour"),
        ({"spendLimit": 3.0, "currentSpendPerHr": 9.5}, "9.5 USD an hour"),
    ],
)
def test_an_account_that_may_spend_too_much_is_refuted(thinking: RunpodStand, account, observed) -> None:
    thinking.double.account = {"currentSpendPerHr": 0.0, **account}
    text = said(cost.provider_spending_cap(thinking.stack))
    assert observed in text
    assert "3.5 USD an hour" in text
    assert "/graphql (myself)" in text


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (Told(200, {"errors": [{"message": "not allowed"}], "data": None}), "not allowed"),
        (Told(200, {"data": {"myself": None}}), "it knows no account"),
        (Told(401, {}), "thinking.token"),
    ],
)
def test_an_account_that_cannot_be_asked_is_no_pass(thinking: RunpodStand, told, words) -> None:
    thinking.double.instead["POST", "/graphql"] = told
    evidence = cost.provider_spending_cap(thinking.stack)
    assert evidence.verdict is Verdict.BLOCKED
    assert words in evidence.summary


# --- workers -----------------------------------------------------------------------------------------


def test_an_endpoint_that_never_scales_to_zero_is_refuted(thinking: RunpodStand, monkeypatch) -> None:
    serverless_ = thinking.stack.environment.thinking.serverless
    thinking.declare(serverless=serverless_.model_copy(update={"idle_seconds": 0.1}))
    monkeypatch.setattr(serverless, "_IDLE_MARGIN", 0.2)
    monkeypatch.setattr(type(thinking.provider), "poll_seconds", 0.05)
    thinking.double.workers = 1
    assert "workers {'total': 1}" in said(serverless.cold_start(thinking.stack))


def test_more_workers_than_declared_are_refuted(thinking: RunpodStand, monkeypatch) -> None:
    monkeypatch.setattr(type(thinking.provider), "poll_seconds", 0.0)
    thinking.double.workers = 2
    assert "2 workers" in said(serverless.burst(thinking.stack))


def test_a_gateway_that_asks_elsewhere_is_refuted(thinking: RunpodStand, monkeypatch) -> None:
    monkeypatch.setattr(serverless, "_COUNTED_SECONDS", 0.2)
    gateway(thinking, elsewhere=True)
    text = said(serverless.reached_through_gateway(thinking.stack))
    assert "has completed no job meanwhile" in text
    assert "GATEWAY_THINKING_URL" in text


@pytest.mark.parametrize("check", [processes.workers_recover, serverless.hung_worker])
def test_what_needs_hands_on_a_worker_is_blocked_and_says_so(thinking: RunpodStand, check) -> None:
    evidence = check(thinking.stack)
    assert evidence.verdict is Verdict.BLOCKED
    assert "RunPod lets nobody kill or hang a worker from outside" in evidence.summary
    assert thinking.double.workers == 0, "none was started for it"


def test_weights_that_nobody_can_see_are_not_taken_for_the_right_ones(thinking: RunpodStand) -> None:
    for check in (processes.weights["thinking"], processes.key_hidden["thinking"]):
        assert check(thinking.stack).verdict is Verdict.BLOCKED
    assert serverless.execution_timeout(thinking.stack).verdict is Verdict.BLOCKED
    assert thinking.double.workers == 0, "none was started for it"


def test_workers_that_cannot_be_counted_are_no_pass(thinking: RunpodStand) -> None:
    thinking.double.instead["GET", "/workers"] = Told(503, {})
    assert inference.answers["thinking"](thinking.stack).verdict is Verdict.UNREACHABLE
