"""A double of Sentry on the loopback: takes error events over Sentry's envelope protocol and keeps them.

    python -m harness.providers.error_sink --port 3001 --store .harness/local/errors.jsonl

The DSN is ``http://public@127.0.0.1:3001/1``. ``GET /events?since=N`` shows what came after event N. It is
not a bug tracker: it exists so that error reporting is proven end to end where no Sentry may be called.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import re
import signal
import socket
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

__all__ = ["EventStore", "main", "parse_envelope", "serve"]

KEY = "public"
MAX_BODY = 1_000_000
MAX_UNPACKED = 5_000_000
_ENVELOPE = re.compile(r"^/api/(\d+)/envelope/?$")
_AUTH_KEY = re.compile(r"sentry_key=([\w-]+)")


class TooLarge(Exception):
    """A body over the limit."""


def unpack(body: bytes, encoding: str) -> bytes:
    """``body`` without its content encoding.

    Raises:
        TooLarge: when it unpacks to more than 5 MB.
        ValueError: when it is damaged, or its encoding is not known.
    """
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "deflate"):
        raise ValueError(f"content-encoding {encoding} is not known")
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        plain = unpacker.decompress(body, MAX_UNPACKED)
    except zlib.error as error:
        raise ValueError(f"damaged {encoding} body") from error
    if unpacker.unconsumed_tail:
        raise TooLarge
    return plain


def parse_envelope(body: bytes) -> list[dict[str, Any]]:
    """The error events in a Sentry envelope; its other items (sessions, transactions) are passed over.

    Raises:
        ValueError: when it is not an envelope.
    """
    header, _, rest = body.partition(b"\n")
    if not isinstance(json.loads(header), dict):
        raise ValueError("an envelope begins with a JSON object")
    events: list[dict[str, Any]] = []
    while rest:
        line, _, rest = rest.partition(b"\n")
        if not line.strip():
            continue
        item = json.loads(line)
        length = item.get("length")
        end = length if isinstance(length, int) else (rest + b"\n").index(b"\n")
        payload, rest = rest[:end], rest[end:].removeprefix(b"\n")
        if item.get("type") == "event":
            events.append(json.loads(payload))
    return events


class EventStore:
    """The last ``keep`` events, in memory and, one JSON object a line, in ``path``. Thread-safe."""

    def __init__(self, path: Path | None, keep: int = 500) -> None:
        self._path, self._keep = path, keep
        self._lock = threading.Lock()
        self._events: collections.deque[dict[str, Any]] = collections.deque(maxlen=keep)
        self._sequence = 0
        if path is not None and path.exists():
            self._load(path)
            self._rewrite(path)

    def _load(self, path: Path) -> None:
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
                self._sequence = max(self._sequence, int(record["sequence"]))
            except (ValueError, KeyError, TypeError):
                continue  # the last line of a sink that was killed while writing
            self._events.append(record)

    def _rewrite(self, path: Path) -> None:
        part = path.with_suffix(".part")
        part.write_text("".join(json.dumps(record) + "\n" for record in self._events), encoding="utf-8")
        part.replace(path)

    def add(self, event: dict[str, Any]) -> int:
        """Keep ``event``; its number."""
        with self._lock:
            self._sequence += 1
            record = {"sequence": self._sequence, "received": time.time(), "event": event}
            self._events.append(record)
            if self._path is not None:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(record) + "\n")
                if self._sequence % self._keep == 0:
                    self._rewrite(self._path)
            return self._sequence

    def since(self, sequence: int) -> dict[str, Any]:
        """What came after event number ``sequence``; ``next`` is the number to ask with next time."""
        with self._lock:
            events = [record for record in self._events if record["sequence"] > sequence]
            return {"next": self._sequence, "events": events}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "error-sink"
    sys_version = ""
    timeout = 30
    store: EventStore

    def do_OPTIONS(self) -> None:
        """A browser asks whether it may send."""
        self._answer(204, None, cors=True)

    def do_GET(self) -> None:
        """/health and /events. Without CORS: a page in a browser may send events, not read them."""
        address = urlsplit(self.path)
        if address.path == "/health":
            self._answer(200, {"status": "ok", "double_of": "Sentry"})
        elif address.path == "/events":
            since = parse_qs(address.query).get("since", ["0"])[0]
            self._answer(200, self.store.since(int(since) if since.isdigit() else 0))
        else:
            self._answer(404, {"detail": "not found"})

    def do_POST(self) -> None:
        """An envelope."""
        address = urlsplit(self.path)
        if not _ENVELOPE.match(address.path):
            self._refuse(404, "not found")
        elif self._key(address.query) != KEY:
            self._refuse(403, "unknown project key")
        else:
            self._take()

    def _body(self) -> bytes:
        """The body, of known length or in chunks (as Node sends it)."""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            return b"".join(self._chunks())
        length = int(self.headers.get("content-length", ""))
        if length > MAX_BODY:
            raise TooLarge
        return self.rfile.read(length)

    def _chunks(self) -> Iterator[bytes]:
        total = 0
        while size := int(self.rfile.readline(64).partition(b";")[0], 16):
            total += size
            if total > MAX_BODY:
                raise TooLarge
            yield self.rfile.read(size)
            self.rfile.readline(64)
        self.rfile.readline(64)  # the empty line after the last chunk; nobody sends trailers

    def _take(self) -> None:
        try:
            body = unpack(self._body(), self.headers.get("content-encoding", "").lower())
            events = parse_envelope(body)
        except TooLarge:
            self._refuse(413, f"more than {MAX_BODY} bytes, or {MAX_UNPACKED} unpacked")
        except (ValueError, AttributeError) as error:
            self._refuse(400, f"not an envelope: {error}")
        else:
            for event in events:
                self.store.add(event)
            self._answer(200, {"id": events[0].get("event_id", "") if events else ""}, cors=True)

    def _key(self, query: str) -> str:
        found = _AUTH_KEY.search(f"{query} {self.headers.get('x-sentry-auth', '')}")
        return found.group(1) if found else ""

    def _refuse(self, status: int, detail: str) -> None:
        """Answer and hang up; the body may not have been read, and what is left of it is thrown away.

        Hanging up on unread data would reset the connection, and the sender would never see the answer.
        """
        self._answer(status, {"detail": detail}, cors=True, close=True)
        left = 8 * MAX_BODY
        with contextlib.suppress(OSError):  # the sender has hung up first
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(1.0)
            while left > 0 and (piece := self.connection.recv(65536)):
                left -= len(piece)

    def _answer(
        self, status: int, body: dict[str, Any] | None, *, cors: bool = False, close: bool = False
    ) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.send_header("content-type", "application/json")
        if close:
            self.send_header("connection", "close")
        if cors:
            self.send_header("access-control-allow-origin", "*")
            self.send_header("access-control-allow-methods", "POST, OPTIONS")
            self.send_header(
                "access-control-allow-headers", "content-type, content-encoding, x-sentry-auth"
            )
            self.send_header("cross-origin-resource-policy", "cross-origin")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """One line a request, without its query."""
        sys.stdout.write(f"{self.command} {urlsplit(self.path).path} {arguments[1:2]}\n")
        sys.stdout.flush()


def serve(port: int, store: EventStore) -> ThreadingHTTPServer:
    """A server on the loopback ``port`` (0: any), not yet serving.

    Raises:
        OSError: when the port is taken.
    """
    handler = type("Handler", (_Handler,), {"store": store})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    return server


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="A double of Sentry on the loopback")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--store", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.store.parent.mkdir(parents=True, exist_ok=True)
    server = serve(arguments.port, EventStore(arguments.store))
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    main()
