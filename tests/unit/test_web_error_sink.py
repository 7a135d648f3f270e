"""The double of Sentry: what it takes, what it refuses, what it remembers."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from harness.providers.error_sink import EventStore, parse_envelope, serve

PATH = "/api/1/envelope/?sentry_key=public"


def envelope(*events: dict[str, object], explicit: bool = True) -> bytes:
    lines = [b'{"event_id": "1"}', b'{"type": "session"}', b'{"ok": true}']
    for event in events:
        payload = json.dumps(event).encode()
        header = {"type": "event", **({"length": len(payload)} if explicit else {})}
        lines += [json.dumps(header).encode(), payload]
    return b"\n".join(lines)


@pytest.fixture
def sink() -> Iterator[httpx.Client]:
    server = serve(0, EventStore(None, keep=3))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    with httpx.Client(
        base_url=f"http://127.0.0.1:{server.server_port}", timeout=30, trust_env=False
    ) as client:
        yield client
    server.shutdown()
    server.server_close()
    thread.join(5)


def messages(sink: httpx.Client, since: int = 0) -> list[str]:
    return [record["event"]["message"] for record in sink.get(f"/events?since={since}").json()["events"]]


@pytest.mark.parametrize("explicit", [True, False])
def test_events_are_read_out_of_an_envelope(explicit: bool) -> None:
    events = parse_envelope(envelope({"message": "a\nb"}, {"message": "c"}, explicit=explicit))
    assert [event["message"] for event in events] == ["a\nb", "c"]


def test_events_are_kept_in_order_and_the_oldest_go(sink: httpx.Client) -> None:
    for name in "abcd":
        assert sink.post(PATH, content=envelope({"message": name})).status_code == 200
    assert messages(sink) == ["b", "c", "d"]
    assert messages(sink, since=3) == ["d"]
    assert sink.get("/events").json()["next"] == 4


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_packed_bodies_are_unpacked(sink: httpx.Client, encoding: str, pack: object) -> None:
    body = pack(envelope({"message": "packed"}))
    assert sink.post(PATH, content=body, headers={"content-encoding": encoding}).status_code == 200
    assert messages(sink) == ["packed"]


def test_a_body_in_chunks_is_taken_as_node_sends_it(sink: httpx.Client) -> None:
    body = envelope({"message": "in pieces"})
    assert sink.post(PATH, content=(body[at : at + 7] for at in range(0, len(body), 7))).status_code == 200
    assert messages(sink) == ["in pieces"]


def test_what_is_too_large_is_refused(sink: httpx.Client) -> None:
    def refused(content: object, **headers: str) -> int:
        return sink.post(PATH, content=content, headers=headers).status_code

    bomb = gzip.compress(b"{}\n" + b" " * 6_000_000)
    assert refused(bomb, **{"content-encoding": "gzip"}) == 413
    assert refused(iter([b"x" * 600_000, b"y" * 600_000])) == 413
    assert refused(b"x" * 1_000_001) == 413
    assert sink.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("path", "content", "headers", "status"),
    [
        ("/api/1/envelope/", envelope(), {}, 403),
        ("/api/1/envelope/?sentry_key=other", envelope(), {}, 403),
        ("/api/1/other/?sentry_key=public", envelope(), {}, 404),
        (PATH, b"not an envelope", {}, 400),
        (PATH, b"[]\n", {}, 400),
        (PATH, b'{}\n{"type":"event","length":5}\n{"a"', {}, 400),
        (PATH, b"garbage", {"content-encoding": "gzip"}, 400),
        (PATH, b"", {"content-encoding": "zstd"}, 400),
    ],
)
def test_what_is_no_envelope_is_refused(
    sink: httpx.Client, path: str, content: bytes, headers: dict[str, str], status: int
) -> None:
    assert sink.post(path, content=content, headers=headers).status_code == status
    assert messages(sink) == []


def test_browsers_may_send_but_not_read(sink: httpx.Client) -> None:
    assert sink.options(PATH).headers["access-control-allow-origin"] == "*"
    assert sink.post(PATH, content=envelope()).headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-origin" not in sink.get("/events").headers


def test_it_listens_on_the_loopback_only_and_says_when_a_port_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            serve(taken.getsockname()[1], EventStore(None))
    server = serve(0, EventStore(None))
    assert server.server_address[0] == "127.0.0.1"
    server.server_close()


def test_events_outlive_the_process_even_a_killed_one(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    store = EventStore(path, keep=2)
    for name in "abc":
        store.add({"message": name})
    with path.open("a") as file:
        file.write('{"sequence": 4, "eve')
    again = EventStore(path, keep=2)
    assert [record["event"]["message"] for record in again.since(0)["events"]] == ["b", "c"]
    assert again.add({"message": "d"}) == 4
    assert len(path.read_text().splitlines()) <= 3
