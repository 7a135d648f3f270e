"""Secrets: neither keys nor tokens nor what people write is in logs, errors or metrics, in any encoding."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
from urllib.parse import quote, quote_plus

import pytest

from tests.gateway.conftest import PASSWORD
from tests.gateway.stand import (
    INSTANT_KEY,
    METRICS_TOKEN,
    ROOT,
    SECRET,
    THINKING_KEY,
    bearer,
    body,
    token,
    until,
)

PROMPT = "sentinel-prompt-Zürich+/=&"
ANSWER = "w0 w1 w2 "


def forms(secret):
    raw = secret.encode()
    yield secret
    yield quote(secret, safe="")
    yield quote_plus(secret)
    yield json.dumps(secret)[1:-1]
    for padding in range(3):  # base64 of the secret wherever it may begin
        encoded = base64.b64encode(b"\0" * padding + raw).decode()
        inner = encoded[4 : len(encoded) - 4]
        if len(inner) >= 8:
            yield from (inner, inner.replace("+", "-").replace("/", "_"))


def assert_absent(text, *secrets):
    for secret in secrets:
        for form in forms(secret):
            assert form not in text, f"{secret[:12]}... is shown"


def test_nothing_secret_is_shown(start, engine, user):
    one = start()
    given = token(user)
    headers = {"Authorization": f"Bearer {given}"}
    answers = []
    for content in (
        PROMPT,
        f"status-500 {PROMPT}",
        f"garbage {PROMPT}",
        f"drop {PROMPT}",
        f"garbage-stream {PROMPT}",
    ):
        for stream in (False, True):
            sent = body(content, stream=stream)
            answers.append(one.http.post("/v1/chat/completions", json=sent, headers=headers).text)
    broken = [
        json.dumps(body(PROMPT))[:-1],
        json.dumps(body(PROMPT, model=PROMPT)),
        json.dumps(body(PROMPT, max_tokens=PROMPT)),
        json.dumps(body(PROMPT, stop=[PROMPT] * 9)),
    ]
    for content in broken:
        kind = {"Content-Type": "application/json", **headers}
        answers.append(one.http.post("/v1/chat/completions", content=content, headers=kind).text)
    for path in ("/" + quote(PROMPT), "/v1/models?key=" + given):
        answers.append(one.http.get(path, headers=headers).text)
    one.http.get("/health/live", headers={"X-Request-ID": given[:60] + " x", "Origin": PROMPT.encode()})
    with socket.create_connection(("127.0.0.1", one.port)) as connection:
        connection.sendall(f"GET /{PROMPT} {given}\r\n\r\n".encode())
        connection.settimeout(2)
        connection.recv(1000)
    metrics = one.http.get("/metrics", headers={"Authorization": f"Bearer {METRICS_TOKEN}"})
    assert metrics.status_code == 200
    one.stop()
    log = "\n".join(one.lines)
    secrets = (
        SECRET,
        INSTANT_KEY,
        THINKING_KEY,
        METRICS_TOKEN,
        PASSWORD,
        PROMPT,
        given,
        given.split(".")[2],
    )
    assert_absent(log, *secrets, ANSWER)
    assert_absent(metrics.text, *secrets, user, ANSWER)
    assert_absent("\n".join(answers), *secrets)
    for line in one.lines:
        assert isinstance(json.loads(line), dict)


def test_every_line_is_json_even_when_it_breaks(start, engine, tmp_path):
    """A warning, an exception of a thread, of a task, of the whole process: one JSON line each."""
    script = f"""
import asyncio, logging, sys, threading, warnings
sys.path.insert(0, {str(ROOT)!r})
from gateway import logs
log = logs.Log("local", "r")
logs.install(log, [{SECRET!r}])
warnings.warn("careful " + {SECRET!r})
logging.getLogger("uvicorn.error").error("a\\nb " + {SECRET!r})
try:
    raise ValueError({SECRET!r})
except ValueError:
    logging.getLogger("asyncio").exception("broken")
thread = threading.Thread(target=lambda: 1 / 0); thread.start(); thread.join()
class Bad:
    def __del__(self): raise OSError({SECRET!r})
Bad()
async def lost():
    asyncio.get_running_loop().create_task(fail()); await asyncio.sleep(0.01)
async def fail(): raise KeyError({SECRET!r})
asyncio.run(lost())
raise RuntimeError("end " + {SECRET!r})
"""
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=False
    )
    lines = run.stdout.splitlines()
    assert run.returncode == 1 and run.stderr == ""
    events = [json.loads(line) for line in lines]
    assert len(events) >= 7
    assert_absent(run.stdout, SECRET)
    assert any(one.get("error", {}).get("frames") for one in events)


def test_every_request_is_logged_with_its_id(gateway, user):
    seen = [
        gateway.chat(user=user),
        gateway.chat("status-500", user=user),
        gateway.http.get("/v1/models"),
        gateway.http.get("/nowhere"),
    ]
    fields = {"ts", "level", "event", "request_id", "user", "route", "model", "status", "ms"}
    fields |= {"prompt_tokens", "completion_tokens", "environment", "release"}
    for response in seen:
        line = gateway.logged(response.headers["x-request-id"])
        assert fields <= line.keys() and line["status"] == response.status_code
        assert line["environment"] == "local" and line["release"] == "gateway@test"


def test_metrics_are_private_and_their_labels_bounded(gateway, user):
    assert gateway.http.get("/metrics").status_code == 401
    assert gateway.http.get("/metrics", headers=bearer(user)).status_code == 401

    def series():
        text = gateway.http.get("/metrics", headers={"Authorization": f"Bearer {METRICS_TOKEN}"}).text
        return {line.rpartition(" ")[0] for line in text.splitlines() if line and line[0] != "#"}

    def noise(salt):
        for n in range(10):
            gateway.http.get(f"/{salt}/{n}")
            gateway.chat(user=None, model=f"{salt}-{n}")
            gateway.chat(f"{salt}{n}", user=None)

    noise("warm")
    series()
    before = series()
    noise("other")
    assert series() == before
    assert any('model="instant"' in one for one in before)


@pytest.mark.parametrize("path", ["/health/live", "/nowhere", "/v1/models"])
def test_responses_carry_no_server_name(gateway, path):
    headers = gateway.http.get(path).headers
    assert "server" not in headers and headers["cache-control"] == "no-store"


def test_secrets_are_not_in_the_command_line(gateway):
    from pathlib import Path

    line = Path(f"/proc/{gateway.process.pid}/cmdline").read_bytes().decode()
    assert_absent(line, SECRET, INSTANT_KEY, PASSWORD)
    assert until(lambda: "gateway" in line, 1)
