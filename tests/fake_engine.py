"""A small OpenAI-compatible engine that answers at once; it echoes the last word of the prompt.

``python tests/fake_engine.py PORT``. Stands in for the models where a test is about the gateway.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = ["The", " model", " says", " something", " quite", " distinctive", "."]


class Engine(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/health":
            self._reply({"status": "ok", "workers": {"total": 1, "running": 0, "idle": 1}})
        else:
            self._reply({"object": "list", "data": []})

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        words = WORDS[: request.get("max_tokens") or len(WORDS)]
        usage = {"prompt_tokens": 7, "completion_tokens": len(words), "total_tokens": 7 + len(words)}
        if request.get("stream"):
            self._stream(request["model"], words, usage)
            return
        message = {"role": "assistant", "content": "".join(words)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        self._reply({**_envelope(request["model"], "chat.completion"), "choices": [choice], "usage": usage})

    def _stream(self, model: str, words: list[str], usage: dict) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        envelope = _envelope(model, "chat.completion.chunk")
        for word in words:
            self._event({**envelope, "choices": [{"index": 0, "delta": {"content": word}}]})
        self._event({**envelope, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self._event({**envelope, "choices": [], "usage": usage})
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _event(self, event: dict) -> None:
        self._chunk(b"data: " + json.dumps(event).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def _reply(self, document: dict) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""


def _envelope(model: str, kind: str) -> dict:
    return {"id": "chatcmpl-fake", "object": kind, "created": 1, "model": model}


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Engine).serve_forever()
