"""HTTP itself: what a hostile or broken client sends."""

from __future__ import annotations

import json
import socket
import time

import pytest

from tests.gateway.stand import bearer, body


def talk(gateway, *pieces, seconds=20.0, pause=0.0):
    """Send raw bytes; what came back until the server closed or fell silent, and after how many seconds."""
    started = time.monotonic()
    got = b""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=seconds) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
                if pause:
                    time.sleep(pause)
            while more := connection.recv(65536):
                got += more
        except TimeoutError:
            got += b"<silent>"
        except ConnectionError:
            got += b"<reset>"
    return got, time.monotonic() - started


def head(*lines, path="/health/live", method="GET", host="127.0.0.1"):
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode()


def status(answer):
    return int(answer.split(b" ")[1]) if answer.startswith(b"HTTP/1.1 ") else 0


POST = {"path": "/v1/chat/completions", "method": "POST"}
SOON = 10
"""Seconds: far more than the one that the gateway waits, and less than all of the ``DRIPS`` take."""
DRIPS = 100
AUTH = f"Authorization: {bearer()['Authorization']}"
JSON = "Content-Type: application/json"
CLOSE = "Connection: close"


def test_content_length_with_transfer_encoding(gateway):
    sent = head(AUTH, JSON, "Content-Length: 4", "Transfer-Encoding: chunked", **POST)
    answer, _ = talk(gateway, sent + b"0\r\n\r\nGET /metrics HTTP/1.1\r\n\r\n")
    assert status(answer) == 400 and answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    "doubled", ["Authorization: Bearer x", JSON, "Content-Length: 2", "Host: 127.0.0.1", "Origin: http://x"]
)
def test_doubled_headers(gateway, doubled):
    name = doubled.partition(":")[0]
    first = [] if name == "Host" else [doubled]
    answer, _ = talk(gateway, head(*first, doubled, CLOSE, **POST) + b"{}")
    assert status(answer) == 400


def test_a_header_of_64_kilobytes(gateway):
    answer, _ = talk(gateway, head("X-Big: " + "a" * 65536))
    assert status(answer) == 431


def test_a_header_that_never_ends(gateway):
    answer, seconds = talk(gateway, b"GET / HTTP/1.1\r\nX-Big: " + b"a" * 500_000)
    assert status(answer) == 431 or b"<reset>" in answer
    assert seconds < SOON


def test_2000_headers(gateway):
    answer, _ = talk(gateway, head(*[f"X-{n}: 1" for n in range(2000)]))
    assert status(answer) == 431


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "", "127.0.0.1:1@evil.example", "[::1]", "localhost:x"],
)
def test_foreign_host(gateway, host):
    assert status(talk(gateway, head(CLOSE, host=host))[0]) in (400, 421)


def test_no_host(gateway):
    assert status(talk(gateway, b"GET /health/live HTTP/1.1\r\nConnection: close\r\n\r\n")[0]) in (400, 421)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "LOCALHOST:3"])
def test_own_host(gateway, host):
    assert status(talk(gateway, head(CLOSE, host=host))[0]) == 200


def test_declared_ten_gigabytes(gateway):
    answer, seconds = talk(gateway, head(AUTH, JSON, "Content-Length: 10737418240", **POST) + b"{}")
    assert status(answer) == 413 and seconds < SOON


@pytest.mark.parametrize("length", ["-1", "abc", "1e3", "0x10", "99999999999999999999999999", "+5", "5,5"])
def test_malformed_length(gateway, length):
    answer, _ = talk(gateway, head(AUTH, JSON, f"Content-Length: {length}", **POST) + b"{}")
    assert status(answer) in (400, 413)


def test_chunked_without_end_is_limited(gateway):
    chunk = b"10000\r\n" + b"a" * 65536 + b"\r\n"
    answer, seconds = talk(gateway, head(AUTH, JSON, "Transfer-Encoding: chunked", **POST), *[chunk] * 10)
    assert (status(answer) == 413 or b"<reset>" in answer) and seconds < SOON


@pytest.mark.parametrize(
    "path",
    [
        "/v1/../metrics",
        "/v1/./chat/completions",
        "/v1//chat/completions",
        "/v1/chat/completions/",
        "/v1/%2e%2e/metrics",
        "/health/../metrics",
        "//metrics",
        "/%00",
        "/v1/chat/completions%00",
    ],
)
def test_dot_segments_lead_nowhere(gateway, path):
    assert status(talk(gateway, head(AUTH, CLOSE, path=path))[0]) in (400, 404)


def test_origins(gateway):
    evil = gateway.http.get("/health/live", headers={"Origin": "https://evil.example"})
    assert evil.status_code == 403 and "access-control-allow-origin" not in evil.headers
    assert gateway.http.get("/health/live", headers={"Origin": "null"}).status_code == 403
    good = gateway.http.get("/health/live", headers={"Origin": "http://localhost:3000"})
    assert good.headers["access-control-allow-origin"] == "http://localhost:3000"
    asked = gateway.http.options("/v1/chat/completions", headers={"Origin": "http://localhost:3000"})
    assert asked.status_code == 204 and "authorization" in asked.headers["access-control-allow-headers"]
    assert (
        gateway.http.options("/v1/chat/completions", headers={"Origin": "http://evil"}).status_code == 403
    )


def test_slow_headers(gateway):
    silent, seconds = talk(gateway)
    assert status(silent) == 408 and seconds < SOON
    endless = head("X-Long: " + "a" * DRIPS)
    drip, seconds = talk(gateway, *[bytes([byte]) for byte in endless[:DRIPS]], pause=0.15)
    assert (status(drip) == 408 or b"<reset>" in drip) and seconds < SOON
    blank, seconds = talk(gateway, *[b"\r\n"] * DRIPS, pause=0.15)
    assert (status(blank) == 408 or b"<reset>" in blank) and seconds < SOON


def test_slow_headers_on_a_kept_connection(gateway):
    answer, seconds = talk(gateway, head(), b"GET /he")
    assert status(answer) == 200 and b" 408 " in answer and seconds < SOON


def test_slow_body(gateway):
    whole = json.dumps(body("a" * DRIPS)).encode()
    first = head(AUTH, JSON, f"Content-Length: {len(whole)}", **POST)
    answer, seconds = talk(gateway, first, whole[:10])
    assert status(answer) == 408 and seconds < SOON
    answer, seconds = talk(gateway, first, *[whole[n : n + 1] for n in range(DRIPS)], pause=0.15)
    assert (status(answer) == 408 or b"<reset>" in answer) and seconds < SOON


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\xff" * 100,
        b"PRI * HTTP/2.0\r\n\r\n",
    ],
)
def test_not_http(gateway, sent):
    assert status(talk(gateway, sent + b"\r\n\r\n")[0]) in (0, 400, 408, 421)


def test_pipelined_requests_are_answered_in_order(gateway):
    answer, _ = talk(gateway, head() + head(path="/nowhere") + head(CLOSE))
    assert [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]] == [200, 404, 200]


def test_websocket_is_not_served(gateway):
    upgrade = [
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: x",
        "Sec-WebSocket-Version: 13",
    ]
    assert status(talk(gateway, head(*upgrade), seconds=5)[0]) in (200, 400, 403, 404)


def test_methods(gateway):
    assert gateway.http.get("/v1/chat/completions").status_code == 405
    assert gateway.http.request("TRACE", "/health/live").status_code == 405
    assert gateway.http.delete("/health/live").json()["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize("given", ["good-id_1.2", "x" * 64])
def test_a_sane_request_id_is_kept(gateway, given):
    assert (
        gateway.http.get("/health/live", headers={"X-Request-ID": given}).headers["x-request-id"] == given
    )


@pytest.mark.parametrize("given", ["x" * 65, "a b", 'a"b', "<script>", "ä".encode().decode("latin1"), ""])
def test_another_request_id_is_replaced(gateway, given):
    headers = {"X-Request-ID": given.encode("latin1")}
    seen = gateway.http.get("/health/live", headers=headers).headers["x-request-id"]
    assert seen != given and len(seen) == 32


def test_it_lives_after_all_this(gateway):
    assert gateway.process.poll() is None
    assert gateway.chat().status_code == 200
