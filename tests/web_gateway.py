"""A stand-in for the gateway's HTTP contract, for tests of the web app: streams words, keeps a log."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Behaviour:
    """What the stand-in does; a test may change it at any time."""

    environment: str = "local"
    release: str = "gateway@stand-in"
    status: int = 200
    error: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    words: str = "One two three four five six seven eight"
    pause: float = 0.01
    first_pause: float = 0.0
    buffered: bool = False
    cut: bool = False
    anyone: bool = False
    silent: bool = False


@dataclass
class StandIn:
    """The running stand-in. ``log`` are the lines it wrote, ``seen`` the chat requests it got."""

    url: str
    behaviour: Behaviour
    log: list[str] = field(default_factory=list)
    seen: list[dict[str, Any]] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def lines(self, component: str, since: float = 0.0) -> list[str]:
        return self.log[int(since) :] if component == "gateway" else []

    def mark(self, component: str) -> float:
        return float(len(self.log))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stand: StandIn

    def do_GET(self) -> None:
        self._json(200, {"status": "ok"}, "")

    def do_POST(self) -> None:
        how, stand = self.stand.behaviour, self.stand
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        identifier = self.headers.get("x-request-id", "")
        stand.seen.append({"body": body, "headers": {k.lower(): v for k, v in self.headers.items()}})
        if not how.silent:
            line = {"event": "request", "request_id": identifier, "environment": how.environment}
            stand.log.append(json.dumps(line))
        token = self.headers.get("authorization", "").removeprefix("Bearer ")
        if not how.anyone and len(token) < 100:
            self._json(401, {"error": {"message": "sign in first", "code": "unauthorized"}}, identifier)
        elif how.status != 200:
            self._json(how.status, {"error": how.error}, identifier)
        else:
            self._stream(identifier)

    def _stream(self, identifier: str) -> None:
        how = self.stand.behaviour
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self._identify(identifier)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        time.sleep(how.first_pause)
        pieces = [{"choices": [{"delta": {"content": f"{word} "}}]} for word in how.words.split(" ")]
        events = [f"data: {json.dumps(piece)}\n\n" for piece in pieces]
        events.append('data: {"choices": [], "usage": {"completion_tokens": 8}}\n\n')
        if not how.cut:
            events.append("data: [DONE]\n\n")
        try:
            for event in ["".join(events)] if how.buffered else events:
                self.wfile.write(f"{len(event.encode()):x}\r\n{event}\r\n".encode())
                self.wfile.flush()
                time.sleep(how.pause)
            self.wfile.write(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            self.stand.cancelled.set()

    def _json(self, status: int, body: dict[str, Any], identifier: str) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        for name, value in self.stand.behaviour.headers.items():
            self.send_header(name, value)
        self._identify(identifier)
        self.end_headers()
        self.wfile.write(content)

    def _identify(self, identifier: str) -> None:
        self.send_header("x-request-id", identifier)
        self.send_header("x-gateway-environment", self.stand.behaviour.environment)
        self.send_header("x-gateway-release", self.stand.behaviour.release)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Silent."""


@contextlib.contextmanager
def stand_in(behaviour: Behaviour | None = None, port: int = 0) -> Iterator[StandIn]:
    """A gateway on a loopback port of its own inside the block."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    handler.stand = StandIn(f"http://127.0.0.1:{server.server_port}", behaviour or Behaviour())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield handler.stand
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
