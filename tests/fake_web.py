"""A web app as small as can be: passes chats on to the gateway; a second port stands for the error sink.

``python tests/fake_web.py PORT SINK_PORT GATEWAY_URL``. Stands in where a test is not about the web app.
"""

from __future__ import annotations

import json
import sys
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PASSED = ("content-type", "x-request-id", "x-gateway-environment", "x-gateway-release")


class Web(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._reply(200, {"content-type": "text/plain"}, b"hello")

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = {**asked, "model": asked.pop("mode"), "stream": True}
        body = {"stream_options": {"include_usage": True}, **{k: v for k, v in body.items() if k != "mode"}}
        headers = {"content-type": "application/json"}
        headers |= {n: v for n in ("authorization", "x-request-id") if (v := self.headers.get(n))}
        url = f"{sys.argv[3]}/v1/chat/completions"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                self._reply(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            self._reply(error.code, error.headers, error.read())
        except OSError:
            failure = {"error": {"code": "gateway_unreachable", "message": "no gateway"}}
            self._reply(502, {"content-type": "application/json"}, json.dumps(failure).encode())

    def _reply(self, status: int, headers, body: bytes) -> None:
        self.send_response(status)
        for name in PASSED:
            if value := headers.get(name):
                self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Quiet."""


if __name__ == "__main__":
    sink = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Web)
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Web).serve_forever()
