"""Negative controls of the questions to the serverless platform: break the real one, see it refuted."""

from __future__ import annotations

from harness.checks import cost, inference, processes, serverless
from harness.checks.base import Check
from harness.evidence import Evidence, Verdict
from tests.inference_stack import RealEngines, broken_thinking, declared

STEADY = (
    inference.served_model["thinking"],
    inference.golden_answer["thinking"],
    inference.streams["thinking"],
    inference.key_required["thinking"],
    processes.weights["thinking"],
    processes.key_hidden["thinking"],
    serverless.settings,
    serverless.execution_timeout,
    serverless.burst,
)


def only(real: RealEngines, *culprits: Check) -> str:
    """Ask everything; ``culprits`` refute, the rest hold. What the first culprit says."""
    asked = {check.name: check(real.stack) for check in STEADY}
    wrong = {name: evidence for name, evidence in asked.items() if evidence.verdict is not Verdict.HOLDS}
    assert set(wrong) == {check.name for check in culprits}, {n: e.summary for n, e in wrong.items()}
    assert all(evidence.verdict is Verdict.REFUTED for evidence in wrong.values()), wrong
    return said(asked[culprits[0].name]) if culprits else ""


def refuted(real: RealEngines, check: Check) -> str:
    evidence = check(real.stack)
    assert evidence.verdict is Verdict.REFUTED, evidence.summary
    return said(evidence)


def said(evidence: Evidence) -> str:
    return "\n".join(str(finding) for finding in evidence.findings)


def test_the_right_platform_passes_every_check(engines: RealEngines) -> None:
    only(engines)
    for check in (
        inference.token_limit["thinking"],
        serverless.cold_start,
        processes.workers_recover,
        serverless.hung_worker,
        inference.answers["thinking"],
    ):
        evidence = check(engines.stack)
        assert evidence.verdict is Verdict.HOLDS, evidence.summary


def test_other_settings_than_declared_are_refuted(engines: RealEngines) -> None:
    with broken_thinking(engines, execution_timeout_seconds=3600):
        text = only(engines, serverless.settings)
    assert "executionTimeoutMs 60000" in text
    assert "executionTimeoutMs 3600000" in text


def test_an_endpoint_without_a_key_is_refuted(engines: RealEngines) -> None:
    code = """
from aiohttp import web
@web.middleware
async def let_all_in(self, request, handler):
    return await handler(request)
platform.Platform.require_key = let_all_in
"""
    with broken_thinking(engines, code=code):
        text = refuted(engines, inference.key_required["thinking"])
    assert "401 without a key" in text
    assert "/v1/chat/completions" in text


def test_another_model_behind_the_platform_is_refuted(engines: RealEngines) -> None:
    with broken_thinking(engines, worker={"name": "another-model"}):
        text = refuted(engines, inference.served_model["thinking"])
    assert "another-model" in text


def test_a_hung_worker_is_refuted_although_health_says_200(engines: RealEngines) -> None:
    serverless.wake(engines.stack)
    with engines.thinking.control().workers_paused() as paused:
        text = refuted(engines, inference.answers["thinking"])
    assert paused
    assert "while /health says 200" in text
    for pid in paused:  # it was paused only: the platform had no reason to replace it
        assert pid in engines.thinking.control().workers()


def test_a_platform_that_never_aborts_is_refuted(engines: RealEngines) -> None:
    code = "platform.Platform._limit = lambda self, request: 3600.0"
    with broken_thinking(engines, code=code):
        text = refuted(engines, serverless.execution_timeout)
    assert "504 after 0.5 s of execution" in text


def test_a_platform_that_tries_again_is_refuted(engines: RealEngines) -> None:
    code = """
run = platform.Platform._run
async def twice(self, request, record):
    first = await run(self, request, record)
    if first.status != 504:
        return first
    platform.log("job", status=504, **record)
    return await run(self, request, record)
platform.Platform._run = twice
"""
    with broken_thinking(engines, code=code):
        text = refuted(engines, serverless.execution_timeout)
    assert "one run of the job" in text


def test_more_workers_than_declared_are_refuted(engines: RealEngines) -> None:
    with broken_thinking(engines, max_workers=2, concurrency=2):
        text = refuted(engines, serverless.burst)
    assert "at most 1 workers" in text
    assert "2 workers" in text


def test_a_platform_that_never_scales_to_zero_is_refuted(engines: RealEngines) -> None:
    with broken_thinking(engines, idle_seconds=3600):
        serverless.wake(engines.stack)
        text = refuted(engines, serverless.cold_start)
    assert "no worker 1 s after the last job" in text
    assert "/health" in text


def test_a_slow_cold_start_is_refuted(engines: RealEngines) -> None:
    budget = declared(engines, "thinking", serverless__cold_start_budget_seconds=2)
    with broken_thinking(engines, worker_code="import time; time.sleep(3)"), budget:
        text = refuted(engines, serverless.cold_start)
    assert "first token within 2 s" in text


def test_a_platform_that_does_not_replace_workers_is_refuted(engines: RealEngines) -> None:
    code = """
import inference.pool as pool
start, started = pool.Pool._dispatch, []
def only_once(self):
    if started:
        self.settings = self.settings.model_copy(update={"max_workers": len(self.workers)})
    start(self)
    started.extend(self.workers)
pool.Pool._dispatch = only_once
"""
    patience = declared(engines, "thinking", recover_within_seconds=2)
    with broken_thinking(engines, code=code, queue_seconds=3), patience:
        text = refuted(engines, processes.workers_recover)
    assert "a new process that answers within 2 s" in text


def test_a_platform_that_trusts_health_is_refuted(engines: RealEngines) -> None:
    code = """
import inference.pool as pool
pool.Pool.suspect = lambda self, worker: None
"""
    patience = declared(engines, "thinking", recover_within_seconds=2)
    with broken_thinking(engines, code=code), patience:
        text = refuted(engines, serverless.hung_worker)
    assert "another worker that answers within 2 s" in text


def test_spending_cap_without_a_provider_is_blocked(engines: RealEngines) -> None:
    evidence = cost.provider_spending_cap(engines.stack)
    assert evidence.verdict is Verdict.BLOCKED
    assert evidence.summary.startswith("no provider: ")
