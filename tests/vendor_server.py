"""Serves a double of a vendor's API on loopback, so that clients and tools really talk HTTP."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Asked:
    """A request, as a double sees it."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body) if self.body else None


@dataclass(frozen=True)
class Told:
    """An answer. ``cut``: the connection ends before all of it was sent; ``hangs``: it is never sent."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    cut: bool = False
    hangs: bool = False

    @property
    def content(self) -> bytes:
        return json.dumps(self.body).encode() if self.raw is None else self.raw


@dataclass
class Double:
    """What every double has: what it was asked and told, and answers that a test put in its mouth."""

    pairs: list[tuple[Asked, Told]] = field(default_factory=list)
    instead: dict[tuple[str, str], Told] = field(default_factory=dict)
    """By method and path (or its end): what is answered instead, always."""

    def answer(self, asked: Asked) -> Told:
        raise NotImplementedError

    def __call__(self, asked: Asked) -> Told:
        for (method, path), told in self.instead.items():
            if asked.method == method and asked.path.endswith(path):
                return told
        told = self.answer(asked)
        self.pairs.append((asked, told))
        return told

    def sent(self, method: str, path: str = "") -> list[Asked]:
        """The requests of ``method`` whose path has ``path`` in it."""
        return [asked for asked, _ in self.pairs if asked.method == method and path in asked.path]


@contextlib.contextmanager
def serving(double: Callable[[Asked], Told]) -> Iterator[str]:
    """``double`` on a free port of loopback for as long as the block lasts; its address."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or each answer waits 40 ms for an acknowledgement

        def _answer(self) -> None:
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            asked = Asked(self.command, parts.path, dict(parse_qsl(parts.query)), headers, body)
            told = double(asked)
            if told.hangs:
                over.wait(20)
                self.close_connection = True
                return
            self.send_response(told.status)
            for name, value in {"content-type": "application/json", **told.headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(told.content) + (10 if told.cut else 0)))
            self.end_headers()
            self.wfile.write(told.content)
            self.close_connection = self.close_connection or told.cut

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _answer

        def log_message(self, format: str, *arguments: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        over.set()
        server.shutdown()
        server.server_close()
