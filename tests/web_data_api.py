"""A double of a Data API that only says what browsers ask of one: whom it allows, and what it shows."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import replace

from harness.stack import Stack
from tests.web_stack import WebStand

__all__ = ["data_api"]


@contextlib.contextmanager
def data_api(stand: WebStand, origin: str, rows: list[dict[str, str]]) -> Iterator[Stack]:
    """A Data API that allows ``origin`` and shows ``rows`` to everybody."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_OPTIONS(self) -> None:
            self.answer(b"")

        def do_GET(self) -> None:
            self.answer(json.dumps(rows).encode())

        def answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("access-control-allow-origin", origin)
            self.send_header("access-control-allow-headers", "authorization, apikey, content-type, prefer")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Silent."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    old = stand.stack.environment
    url = f"http://127.0.0.1:{server.server_port}"
    environment = old.model_copy(update={"supabase": old.supabase.model_copy(update={"api_url": url})})
    stack = replace(stand.stack, environment=environment, _clients={})
    try:
        yield stack
    finally:
        stack.close()
        server.shutdown()
        server.server_close()
