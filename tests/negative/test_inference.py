"""Negative controls of the questions to the engines: break a real engine, see that check refute it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.checks import firewall, inference, machines, processes
from harness.checks.base import Check
from harness.evidence import Evidence, Verdict
from harness.providers.local import processes as process_manager
from harness.waiting import wait_until
from tests.inference_stack import (
    CONTEXT,
    RealEngines,
    broken_instant,
    declared,
)
from tests.lying_proxy import LyingProxy

STEADY = {
    name: questions["instant"]
    for name, questions in {
        "served_model": inference.served_model,
        "answers": inference.answers,
        "golden_answer": inference.golden_answer,
        "streams": inference.streams,
        "key_required": inference.key_required,
        "key_hidden": processes.key_hidden,
        "weights": processes.weights,
    }.items()
}
TOKEN_LIMIT = inference.token_limit["instant"]  # computes the most: asked where it matters


def verdicts(real: RealEngines, *names: str) -> dict[str, Evidence]:
    return {name: STEADY[name](real.stack) for name in names or STEADY}


def only(real: RealEngines, culprit: str, *also: str) -> str:
    """Ask everything; ``culprit`` (and ``also``) refute, the rest hold. What the culprit says."""
    asked = verdicts(real)
    wrong = {name for name, evidence in asked.items() if evidence.verdict is not Verdict.HOLDS}
    assert wrong == {culprit, *also}, {name: evidence.summary for name, evidence in asked.items()}
    assert all(asked[name].verdict is Verdict.REFUTED for name in wrong)
    return said(asked[culprit])


def said(evidence: Evidence) -> str:
    return "\n".join(str(finding) for finding in evidence.findings)


def ask(real: RealEngines, check: Check) -> Evidence:
    return check(real.stack)


def test_the_right_engine_passes_every_check(engines: RealEngines) -> None:
    asked = {**verdicts(engines), "token_limit": ask(engines, TOKEN_LIMIT)}
    assert {e.verdict for e in asked.values()} == {Verdict.HOLDS}, {n: e.summary for n, e in asked.items()}


def test_another_model_id_is_refuted(engines: RealEngines) -> None:
    with broken_instant(engines, name="another-model"):
        text = only(engines, "served_model")
    assert "another-model" in text
    assert engines.stack.environment.instant.model.name in text


def test_a_smaller_context_is_refuted(engines: RealEngines) -> None:
    with declared(engines, "instant", model__context_tokens=2 * CONTEXT):
        text = only(engines, "served_model")
    assert f"{2 * CONTEXT} tokens of context" in text
    assert f"observed  {CONTEXT}" in text


def test_a_larger_context_than_declared_is_refuted(engines: RealEngines) -> None:
    with broken_instant(engines, context_tokens=2 * CONTEXT):
        text = said(ask(engines, TOKEN_LIMIT))
    assert f"at most {CONTEXT} tokens with max_tokens=100000" in text
    assert f"200, {2 * CONTEXT} tokens" in text


def damaged(engines: RealEngines, directory: Path, share: float) -> Path:
    """A copy of the weights whose last part is overwritten."""
    good = engines.instant.files.ensure("instant", engines.instant.config.model.sha256)
    bad = directory / good.name
    shutil.copy(good, bad)
    size = bad.stat().st_size
    with bad.open("r+b") as file:
        file.seek(int(size * (1 - share)))
        file.write(b"\x3c" * int(size * share))
    return bad


def test_corrupted_weights_are_refuted(engines: RealEngines, tmp_path: Path) -> None:
    bad = damaged(engines, tmp_path, 1e-7)  # a few bytes: the model still answers
    with broken_instant(engines, model=str(bad)):
        text = only(engines, "weights")
        assert str(bad) in text
        bad.replace(tmp_path / "elsewhere.bin")  # replaced on disk while it is served
        assert "weights" in said(ask(engines, STEADY["weights"]))


def test_a_model_that_cannot_compute_is_refuted(engines: RealEngines, tmp_path: Path) -> None:
    with broken_instant(engines, model=str(damaged(engines, tmp_path, 0.5))):
        text = said(ask(engines, STEADY["golden_answer"]))
    assert "an answer to 'What is 2+2?' with a 4" in text


def test_a_hung_engine_is_refuted(engines: RealEngines) -> None:
    with engines.processes.paused("instant"):
        evidence = ask(engines, STEADY["answers"])
    assert evidence.verdict is Verdict.REFUTED, evidence.summary
    assert "the worker hangs: restart instant" in said(evidence)
    engines.stack.close()


def test_a_stopped_engine_is_an_outage_and_not_a_finding(engines: RealEngines) -> None:
    with engines.processes.stopped("instant"):
        engines.stack.close()
        evidence = ask(engines, STEADY["answers"])
    assert evidence.verdict is Verdict.UNREACHABLE
    assert engines.stack.environment.instant.url in evidence.summary


def test_a_stream_without_usage_and_end_is_refuted(engines: RealEngines) -> None:
    right = engines.stack.environment.instant.url
    with LyingProxy(right) as proxy, declared(engines, "instant", url=proxy.url):
        text = only(engines, "streams")
    assert "a chunk with the usage" in text
    assert "[DONE] at the end" in text


def test_something_else_in_the_engines_place_is_refuted(engines: RealEngines) -> None:
    right = engines.stack.environment.instant.url
    with LyingProxy(right, garbled=True) as proxy, declared(engines, "instant", url=proxy.url):
        answers, golden = (ask(engines, STEADY[name]) for name in ("answers", "golden_answer"))
    assert answers.verdict is golden.verdict is Verdict.REFUTED
    assert "chat 200 with no chat in it, /health 200" in said(answers)
    assert "<html>It works!</html>" in said(golden)
    assert proxy.url in said(golden)


def test_an_engine_without_a_key_is_refuted(engines: RealEngines) -> None:
    code = """
right = server.parameters
def parameters(configuration, key):
    made = right(configuration, key)
    made.api_keys = []
    return made
server.parameters = parameters
"""
    with broken_instant(engines, code=code):
        text = only(engines, "key_required")
    assert "/v1/chat/completions" in text
    assert "401 without a key" in text
    assert "401 with a wrong key" in text


def test_a_key_in_an_argument_is_refuted(engines: RealEngines) -> None:
    key = engines.stack.secret(engines.stack.environment.instant.api_key).reveal()
    argv = [sys.executable, "-c", "import time; time.sleep(60)", f"--api-key={key}"]
    with subprocess.Popen(argv) as careless:
        try:
            text = only(engines, "key_hidden")
        finally:
            careless.kill()
    assert f"pid {careless.pid}" in text
    assert key not in text


def steady(engines: RealEngines) -> bool:
    states = {program.name: program.state for program in engines.processes.programs()}
    return states["instant"] == "RUNNING"


def test_an_engine_that_is_not_restarted_is_refuted(
    engines: RealEngines, monkeypatch: pytest.MonkeyPatch
) -> None:
    careless = process_manager._PROGRAM.replace("autorestart=true", "autorestart=false")
    assert careless != process_manager._PROGRAM
    with monkeypatch.context() as patch, declared(engines, "instant", recover_within_seconds=3):
        patch.setattr(process_manager, "_PROGRAM", careless)
        with broken_instant(engines):
            wait_until("past its start, where failures are retried", lambda: steady(engines), seconds=30)
            evidence = ask(engines, processes.engine_recovers)
            patch.undo()
    assert evidence.verdict is Verdict.REFUTED, evidence.summary
    assert "process manager, program instant" in said(evidence)
    wait_until("healed", lambda: engines.processes.pid("instant"), seconds=30)


def test_a_killed_engine_comes_back(engines: RealEngines) -> None:
    evidence = ask(engines, processes.engine_recovers)
    assert evidence.verdict is Verdict.HOLDS, evidence.summary
    assert evidence.facts["old"] != evidence.facts["new"]


def test_gpu_without_a_provider_is_blocked(engines: RealEngines) -> None:
    evidence = ask(engines, machines.gpu)
    assert evidence.verdict is Verdict.BLOCKED
    assert evidence.summary.startswith("no provider: ")


def test_firewall_without_a_provider_is_blocked(engines: RealEngines) -> None:
    evidence = ask(engines, firewall.instant_reach)
    assert evidence.verdict is Verdict.BLOCKED
    assert evidence.summary.startswith("no provider: ")
