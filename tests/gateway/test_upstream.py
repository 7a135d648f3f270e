"""Engines that fail in every way, and clients that go away: who is told, what is closed, what is booked."""

from __future__ import annotations

import fcntl
import json
import socket
import struct
import termios
import time

import httpx
import psutil
import pytest

from harness.waiting import wait_until
from tests.gateway.stand import bearer, body, until

CLOSED_WITHIN = 0.1


def leave(gateway, user, content, *, stream, after, pause=0.0):
    """Ask, wait until ``after`` holds of what came, go away; when that was.

    With ``pause`` the body comes that many seconds after its first byte.
    """
    sent = json.dumps(body(content, stream=stream)).encode()
    head = [
        "POST /v1/chat/completions HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Authorization: {bearer(user)['Authorization']}",
        f"Content-Length: {len(sent)}",
        "",
        "",
    ]
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as connection:
        first = 1 if pause else len(sent)
        connection.sendall("\r\n".join(head).encode() + sent[:first])
        time.sleep(pause)
        connection.sendall(sent[first:])
        got = b""
        until_time = time.monotonic() + 5
        while not after(got) and time.monotonic() < until_time:
            connection.settimeout(0.05)
            try:
                got += connection.recv(65536)
            except TimeoutError:
                continue
    return time.monotonic()


@pytest.mark.parametrize(
    ("content", "stream", "seen"),
    [("slow", True, b"w3"), ("stall", True, None), ("stall", False, None)],
    ids=["in the middle", "before the first byte", "not a stream"],
)
def test_a_disconnect_closes_the_upstream(gateway, engine, user, booked, content, stream, seen):
    before = len(engine.asked)
    arrived = lambda got: seen in got if seen else len(engine.asked) > before  # noqa: E731
    left = leave(gateway, user, content, stream=stream, after=arrived)
    asked = engine.asked[before]
    until(lambda: asked.closed, 30, "the upstream's closing")
    assert asked.closed - left <= CLOSED_WITHIN
    prompt, completion, outcome = booked(user)
    assert outcome == "disconnect" and prompt > 0
    if stream:
        assert (completion >= 4) if seen else completion == 0
    else:
        assert completion == 16  # nothing told how far it got: the worst case


def test_a_cut_stream_is_logged_with_its_usage(gateway, user, booked):
    leave(gateway, user, "slow", stream=True, after=lambda got: b"w5" in got)
    _, completion, _ = booked(user)
    line = until(lambda: next((one for one in gateway.events() if one.get("user") == user), None), 3)
    assert line["cut"] == "disconnect" and line["completion_tokens"] == completion >= 5


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        ("status-500", 502, "upstream_error"),
        ("status-401", 502, "upstream_error"),
        ("status-404", 502, "upstream_error"),
        ("status-302", 502, "upstream_error"),
        ("status-400", 400, "upstream_refused"),
        ("status-429", 503, "upstream_busy"),
        ("status-503", 503, "upstream_busy"),
        ("garbage", 502, "upstream_invalid"),
        ("drop", 502, "upstream_unreachable"),
        ("stall", 504, "upstream_timeout"),
    ],
)
def test_failures_before_the_answer(gateway, user, booked, content, status, code):
    for stream in (False, True):
        if stream and content == "garbage":
            continue
        response = gateway.chat(content, user=user, stream=stream)
        seen = response.text
        assert "secret-upstream-detail" not in seen and "engine-" not in seen
        if response.status_code == 200:  # it had begun with comments
            assert stream and code in seen
        else:
            assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    booked(user)


def test_a_garbage_answer_in_place_of_a_stream(gateway, user):
    assert gateway.chat("garbage", user=user, stream=True).json()["error"]["code"] == "upstream_invalid"


@pytest.mark.parametrize(
    ("content", "code", "outcome"),
    [
        ("garbage-stream", "upstream_invalid", "failed"),
        ("stall-after", "upstream_stalled", "idle"),
        ("cut-after", "upstream_invalid", "failed"),
        ("endless", "upstream_overrun", "failed"),
    ],
)
def test_failures_in_the_middle(gateway, engine, user, booked, content, code, outcome):
    response = gateway.chat(content, user=user, stream=True)
    assert code in response.text and "[DONE]" not in response.text
    prompt, completion, seen = booked(user)
    assert prompt > 0 and seen == outcome
    assert completion == {"garbage-stream": 0, "endless": 16}.get(content, 2)
    if content == "endless":
        until(lambda: engine.asked[-1].closed or engine.asked[-1].finished, 30, "the upstream's closing")


def test_retried_before_the_first_byte(gateway, engine, user, booked):
    for stream in (False, True):
        before, engine.fail_next = len(engine.asked), 1
        assert gateway.chat(user=user, stream=stream).status_code == 200
        assert len(engine.asked) == before + 2
        assert booked(user) == (7, 3, "done")


def test_not_retried_after_it(gateway, engine, user):
    before = len(engine.asked)
    gateway.chat("cut-after", user=user, stream=True)
    assert len(engine.asked) == before + 1


def test_comments_during_a_cold_start(gateway, user, booked):
    response = gateway.chat("wait 1", user=user, stream=True, model="thinking")
    lines = response.text.split("\n\n")
    comments = [line for line in lines if line.startswith(":")]
    assert len(comments) >= 3 and lines[0].startswith(":")
    assert "data: [DONE]" in lines and booked(user) == (7, 3, "done")


def test_an_error_after_comments_is_an_event(gateway, user):
    response = gateway.chat("stall", user=user, stream=True, model="thinking")
    assert response.status_code == 200
    error = json.loads(response.text.strip().split("\n\n")[-1].removeprefix("data: "))["error"]
    assert error["code"] == "upstream_timeout" and error["request_id"] == response.headers["x-request-id"]
    assert gateway.logged(error["request_id"])["status"] == 504


def test_a_client_that_does_not_read_is_dropped(gateway, engine, user, booked):
    before = len(engine.asked)
    sent = json.dumps(body("endless", stream=True, max_tokens=800)).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    head += f"Authorization: {bearer(user)['Authorization']}\r\nContent-Length: {len(sent)}\r\n\r\n"
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.connect(("127.0.0.1", gateway.port))
        connection.sendall(head.encode() + sent)
        booked(user)
        until(lambda: engine.asked[before].finished, 30, "the upstream's end")


def test_events_in_pieces_are_put_together(start, user, booked):
    response = start().chat("torn", user=user, stream=True)
    events = [one.removeprefix("data: ") for one in response.text.strip().split("\n\n")]
    assert events.pop() == "[DONE]"
    words = [one["delta"].get("content") for event in events for one in json.loads(event)["choices"]]
    assert [word for word in words if word] == ["w0 ", "w1 ", "w2 "]
    assert booked(user) == (7, 3, "done")


def test_a_slow_client_holds_up_the_engine(start, engine, user, booked):
    """18 MB for a client that does not read: the engine waits, not the gateway's memory."""
    one = start()
    one.chat(user=user, stream=True)
    memory = psutil.Process(one.process.pid).memory_info
    before, asked = memory().rss, len(engine.asked)
    sent = json.dumps(body("heavy", stream=True, max_tokens=400)).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    head += f"Authorization: {bearer(user)['Authorization']}\r\nConnection: close\r\n"
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        connection.settimeout(10)
        connection.connect(("127.0.0.1", one.port))
        connection.sendall(f"{head}Content-Length: {len(sent)}\r\n\r\n".encode() + sent)
        moved = [(0, 0), (0, 0)]  # bytes that wait for the client, and that the gateway holds

        def at_rest() -> bool:
            waiting = struct.unpack("i", fcntl.ioctl(connection, termios.FIONREAD, b"\0" * 4))[0]
            moved.append((waiting, memory().rss))
            return waiting > 0 and len(set(moved[-3:])) == 1

        wait_until("nothing to move any more", at_rest, seconds=10, first_pause=0.1)
        assert not engine.asked[asked].finished
        most, got = memory().rss, bytearray()
        while piece := connection.recv(65_536):
            got += piece
            most = max(most, memory().rss)
    assert most - before < 8 * 2**20
    assert got.count(b"data: ") == 300 + 3 and got.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    assert booked(user) == (7, 3, "done")


def test_an_engine_that_is_gone(start, user):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{probe.getsockname()[1]}"
        lonely = start(engine=nowhere, timeout_probe_seconds="1")
        response = lonely.chat(user=user)
        assert (response.status_code, response.json()["error"]["code"]) == (502, "upstream_unreachable")
        ready = lonely.http.get("/health/ready")
        assert ready.status_code == 503
        states = {name: one["state"] for name, one in ready.json()["dependencies"].items()}
        assert states == {"database": "up", "instant": "down", "thinking": "down"}


def test_readiness_sees_through_a_healthy_looking_engine(start, engine):
    """/health answers 200 while the worker hangs: only a generated token proves that it works."""
    one = start(timeout_hung_seconds="0.5")
    engine.hung = True
    try:
        assert httpx.get(engine.url + "/health", trust_env=False).status_code == 200
        ready = one.http.get("/health/ready")
        assert ready.status_code == 503
        instant = ready.json()["dependencies"]["instant"]
        assert (instant["state"], instant["error"]) == ("down", "TimeoutError")
    finally:
        engine.hung = False
    until(lambda: one.http.get("/health/ready").status_code == 200, 30, "recovery")
    engine.health_status = 500
    try:
        ready = one.http.get("/health/ready")
        assert ready.json()["dependencies"]["instant"]["error"] == "health answers 500"
    finally:
        engine.health_status = 200


def test_readiness_reads_what_the_engine_answers(start, engine):
    """Something else listens where the engine should: it says 200 to everything, and no chat works."""
    one = start()
    engine.garbled = True
    try:
        ready = one.http.get("/health/ready")
        assert ready.status_code == 503
        instant = ready.json()["dependencies"]["instant"]
        assert (instant["state"], instant["error"]) == ("down", "upstream_invalid")
    finally:
        engine.garbled = False
    until(lambda: one.http.get("/health/ready").status_code == 200, 30, "recovery")


def test_readiness_does_not_wake_the_thinking_engine(start, engine):
    one = start()
    engine.workers = {"total": 0, "running": 0, "idle": 0, "initializing": 0}
    before = len(engine.asked)
    try:
        ready = one.http.get("/health/ready").json()["dependencies"]["thinking"]
        assert ready["state"] == "up" and ready["workers"] == 0
        assert all(asked.body["model"] == "engine-instant" for asked in engine.asked[before:])
    finally:
        engine.workers = {"total": 1, "running": 0, "idle": 1, "initializing": 0}


def test_streams_reuse_their_connections(gateway, engine):
    with httpx.Client(base_url=gateway.url, trust_env=False) as client:
        for _ in range(5):
            client.post("/v1/chat/completions", json=body(stream=True), headers=bearer())


def test_a_disconnect_after_a_large_body_is_noticed(start, engine, user, booked):
    """A body larger than the server reads ahead stops its reading, which must go on."""
    one = start(limit_request_tokens="100000", limit_user_tokens_per_day="1000000")
    before = len(engine.asked)
    arrived = lambda _: len(engine.asked) > before  # noqa: E731
    left = leave(one, user, "stall " + "x" * 100_000, stream=True, after=arrived, pause=0.3)
    asked = engine.asked[before]
    until(lambda: asked.closed, 30, "the upstream's closing")
    assert asked.closed - left <= CLOSED_WITHIN
    assert booked(user)[2] == "disconnect"
