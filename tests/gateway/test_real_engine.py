"""Against the real default engine with real weights: what a fake engine cannot prove."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import httpx
import pytest
import yaml

from harness.providers.local.model_files import ModelFiles
from tests.gateway.stand import INSTANT_KEY, ROOT, bearer, body, until
from tests.mortal import spawn


@pytest.fixture(scope="module")
def real(start, tmp_path_factory):
    declared = yaml.safe_load((ROOT / "environments/local.yaml").read_text())["instant"]["model"]
    weights = ModelFiles(ROOT).ensure("instant", declared["sha256"])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    file = tmp_path_factory.mktemp("engine") / "engine.yaml"
    settings = {"model": str(weights), "name": declared["name"], "context_tokens": 512, "parallel": 2}
    file.write_text(yaml.safe_dump(settings))
    engine = spawn(
        [sys.executable, "-m", "inference.llamacpp_server", "--config", str(file), "--port", str(port)],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "INFERENCE_API_KEY": INSTANT_KEY},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"

    def healthy() -> bool:
        assert engine.poll() is None
        try:
            return httpx.get(url + "/health", timeout=2, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    try:
        until(healthy, 60, "the engine's start")
        more = {
            "instant_model": declared["name"],
            "thinking_key": INSTANT_KEY,
            "thinking_model": declared["name"],
        }
        yield start(engine=url, timeout_probe_seconds="10", **more)
    finally:
        engine.terminate()
        engine.wait(20)


QUESTION = "What is 2+2? Answer with the number."


def test_it_answers_and_books_exactly(real, user, booked):
    response = real.chat(QUESTION, user=user, temperature=0, max_tokens=24)
    assert response.status_code == 200, response.text
    seen = response.json()
    assert "4" in seen["choices"][0]["message"]["content"]
    usage = seen["usage"]
    assert booked(user) == (usage["prompt_tokens"], usage["completion_tokens"], "done")


def test_estimates_bound_what_the_engine_counts(real, user, sql, booked):
    """The reservation is a true worst case: the engine's own count never exceeds it."""
    texts = ["hello", "12345 67890", "日本語のテキスト", "😀" * 20, "a b c d e f g", "!@#$%^&*()" * 5]
    for text in texts:
        assert real.chat(text, user=user, max_tokens=1).status_code == 200
    query = """select reserved, prompt_tokens + completion_tokens from usage.entries where user_id = %s"""
    rows = until(lambda: len(found := sql(query, user)) == len(texts) and found, 30, "the bookings")
    assert all(actual <= reserved for reserved, actual in rows), rows


def test_it_streams_with_hidden_usage(real, user, booked):
    wanted = body(QUESTION, stream=True, temperature=0, max_tokens=24)
    with real.http.stream("POST", "/v1/chat/completions", json=wanted, headers=bearer(user)) as response:
        lines = [line[6:] for line in response.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    text = "".join(one["choices"][0]["delta"].get("content") or "" for one in chunks)
    assert "4" in text and all("usage" not in one and "timings" not in one for one in chunks)
    prompt, completion, outcome = booked(user)
    assert outcome == "done" and prompt > 10 and completion >= len(chunks) - 2


def test_a_cut_stream_is_booked_by_its_chunks(real, user, booked):
    wanted = body("Count from 1 to 200.", stream=True, temperature=0, max_tokens=300)
    with real.http.stream("POST", "/v1/chat/completions", json=wanted, headers=bearer(user)) as response:
        lines = response.iter_lines()
        for _ in range(20):
            next(lines)
    prompt, completion, outcome = booked(user)
    assert outcome == "disconnect" and prompt > 0 and 5 <= completion < 300


def test_overflow_of_the_context_is_a_400(real, user):
    response = real.chat("word " * 600, user=user, max_tokens=10)
    assert response.status_code == 400


def test_readiness_is_proven_by_an_answer(real):
    ready = real.http.get("/health/ready")
    assert ready.status_code == 200, ready.text
