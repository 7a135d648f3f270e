"""The thinking model at RunPod: what is planned, done, done again, and told to checks.

RunPod is a double on loopback (tests/runpod_double.py), written from what is known of its APIs.
"""

# ruff: noqa: F811 - fixtures are imported
from __future__ import annotations

from harness.checks import cost, inference, serverless
from harness.evidence import Verdict
from harness.redaction import encodings
from tests.runpod_stand import HIDDEN, TOKEN, RunpodStand, gateway, thinking  # noqa: F401


def test_an_endpoint_as_declared_is_left_alone(thinking: RunpodStand) -> None:
    assert thinking.provider.plan().unchanged
    assert thinking.deploy() == ()
    assert not thinking.double.sent("PATCH")


def test_what_differs_is_planned_then_changed_and_nothing_else(thinking: RunpodStand) -> None:
    thinking.double.settings |= {"workersMin": 1, "idleTimeout": 5}
    thinking.double.variables["MAX_MODEL_LEN"] = "4096"
    assert thinking.provider.plan().changes == (
        "set workersMin to 0 (is 1)",
        "set idleTimeout to 60 (is 5)",
        "set MAX_MODEL_LEN to 32768 (is 4096)",
    )
    assert thinking.double.settings["workersMin"] == 1, "a plan changes nothing"
    assert len(thinking.deploy()) == 3
    template, endpoint = [asked.json() for asked in thinking.double.sent("PATCH")]
    assert endpoint == {"workersMin": 0, "idleTimeout": 60}
    assert template["env"] == thinking.double.variables
    assert template["env"]["HF_TOKEN"] == HIDDEN, "what is not declared stays"
    assert thinking.provider.plan().unchanged
    assert thinking.deploy() == ()


def test_the_checks_find_their_answers(thinking: RunpodStand) -> None:
    for check in (serverless.settings, cost.provider_spending_cap, inference.answers["thinking"]):
        evidence = check(thinking.stack)
        assert evidence.verdict is Verdict.HOLDS, evidence
    told = serverless.settings(thinking.stack).summary
    assert "gpu NVIDIA A100 80GB PCIe" in told
    assert "model Qwen/Qwen3-32B" in told


def test_zero_workers_are_counted_by_the_platform(thinking: RunpodStand) -> None:
    assert thinking.provider.health()["workers"] == {"total": 0}
    evidence = serverless.cold_start(thinking.stack)
    assert evidence.verdict is Verdict.HOLDS, evidence
    assert thinking.double.sent("GET", "/workers")
    assert thinking.double.workers == 1, "the first request started one"


def test_a_request_through_the_gateway_is_counted(thinking: RunpodStand) -> None:
    gateway(thinking)
    evidence = serverless.reached_through_gateway(thinking.stack)
    assert evidence.verdict is Verdict.HOLDS, evidence
    assert "1 more" in evidence.summary


def test_secrets_appear_nowhere_but_where_they_must(thinking: RunpodStand, capfd) -> None:
    thinking.double.settings["workersMax"] = 2
    thinking.double.variables["MAX_MODEL_LEN"] = "1"
    live = thinking.provider.api.endpoint()
    shown = [repr(thinking.provider.plan()), repr(thinking.provider.deploy(lambda _: None)), repr(live)]
    shown += [repr(check(thinking.stack)) for check in (serverless.settings, cost.provider_spending_cap)]
    text = "\n".join([*shown, *capfd.readouterr()])
    for secret in (TOKEN, HIDDEN):
        assert not [form for form in encodings(secret) if form in text]
    assert all(TOKEN not in str(asked.query) + asked.path for asked, _ in thinking.double.pairs)
    assert all(asked.headers["authorization"] == f"Bearer {TOKEN}" for asked, _ in thinking.double.pairs)
