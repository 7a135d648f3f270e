"""A gateway process under test, its settings, its tokens and its log."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from joserfc import jwt
from joserfc.jwk import OctKey

from tests.mortal import spawn

ROOT = Path(__file__).resolve().parents[2]
SECRET = "sentinel-jwt-secret-0123456789abcdef-+/="
INSTANT_KEY = "sentinel-instant-key-0123456789abcdef+/"
THINKING_KEY = "sentinel-thinking-key-0123456789abcde&="
LEDGER = sorted((ROOT / "supabase" / "migrations").glob("*_usage_*.sql"))
"""The migrations that make the ledger, in order."""
METRICS_TOKEN = "sentinel-metrics-token-0123456789abcdef"
ISSUER = "http://127.0.0.1:54321/auth/v1"


def until(question: Callable[[], Any], seconds: float = 10.0, what: str = "it") -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := question():
            return answer
        time.sleep(0.01)
    raise AssertionError(f"{what} did not happen within {seconds} s")


def token(
    user: str | None = None, *, key: str = SECRET, header: dict[str, Any] | None = None, **claims: Any
) -> str:
    now = int(time.time())
    body = {
        "sub": user or str(uuid.uuid4()),
        "iss": ISSUER,
        "aud": "authenticated",
        "role": "authenticated",
        "iat": now,
        "exp": now + 3600,  # longer than all tests take: modules make tokens when they are imported
        **claims,
    }
    body = {name: value for name, value in body.items() if value is not None}
    return jwt.encode({"alg": "HS256", **(header or {})}, body, OctKey.import_key(key))


def settings(database: str, engine: str, **more: str) -> dict[str, str]:
    return {
        "GATEWAY_ENVIRONMENT": "local",
        "GATEWAY_RELEASE": "gateway@test",
        "GATEWAY_HOST": "127.0.0.1",
        "GATEWAY_PORT": "0",
        "GATEWAY_LOG_LEVEL": "debug",
        "GATEWAY_DATABASE_URL": database,
        "GATEWAY_JWT_SECRET": SECRET,
        "GATEWAY_JWT_ISSUER": ISSUER,
        "GATEWAY_JWT_AUDIENCE": "authenticated",
        "GATEWAY_INSTANT_URL": engine,
        "GATEWAY_INSTANT_MODEL": "engine-instant",
        "GATEWAY_INSTANT_KEY": INSTANT_KEY,
        "GATEWAY_THINKING_URL": engine,
        "GATEWAY_THINKING_MODEL": "engine-thinking",
        "GATEWAY_THINKING_KEY": THINKING_KEY,
        "GATEWAY_METRICS_TOKEN": METRICS_TOKEN,
        "GATEWAY_LIMIT_REQUEST_TOKENS": "1024",
        "GATEWAY_LIMIT_USER_TOKENS_PER_DAY": "50000",
        "GATEWAY_LIMIT_USER_CONCURRENCY": "8",
        "GATEWAY_LIMIT_THINKING_TOKENS_PER_DAY": "100000000",
        "GATEWAY_ALLOWED_HOSTS": "127.0.0.1,localhost",
        "GATEWAY_ALLOWED_ORIGINS": "http://localhost:3000",
        **{f"GATEWAY_{name.upper()}": value for name, value in more.items()},
    }


class Gateway:
    """`python -m gateway` with its log; ``http`` talks to it."""

    def __init__(self, env: dict[str, str]) -> None:
        self.env = env
        self.lines: list[str] = []
        self.process = spawn(
            [sys.executable, *(["-X", "dev"] if env.pop("DEV", "") else []), "-m", "gateway"],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.port = until(self._port, 30, "the gateway's start")
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=self.url, timeout=10, trust_env=False)

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def _port(self) -> int | None:
        assert self.process.poll() is None, self.lines
        for line in self.lines:
            if "Uvicorn running on" in line:
                return int(json.loads(line)["message"].split("://")[1].split(" ")[0].rpartition(":")[2])
        return None

    def events(self, request_id: str | None = None) -> list[dict[str, Any]]:
        parsed = [json.loads(line) for line in list(self.lines)]
        return [one for one in parsed if request_id is None or one.get("request_id") == request_id]

    def logged(self, request_id: str) -> dict[str, Any]:
        """The line of the request ``request_id``, once it is written."""

        def find() -> dict[str, Any] | None:
            return next((one for one in self.events(request_id) if one["event"] == "request"), None)

        return until(find, 30, f"the log line of {request_id}")

    def chat(self, content: str = "hello", *, user: str | None = None, **more: Any) -> httpx.Response:
        return self.http.post("/v1/chat/completions", json=body(content, **more), headers=bearer(user))

    def ask_to_stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        if self.process.stdout is None or self.process.stdout.closed:
            return self.process.returncode
        self.http.close()
        self.ask_to_stop()
        code = self.process.wait(20)
        self._close()
        return code

    def _close(self) -> None:
        self._reader.join(5)
        assert self.process.stdout
        self.process.stdout.close()

    def kill(self) -> None:
        self.http.close()
        self.process.kill()
        self.process.wait(10)
        self._close()


def bearer(user: str | None = None, **more: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(user, **more)}"}


def body(content: str = "hello", **more: Any) -> dict[str, Any]:
    return {
        "model": "instant",
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 16,
        **more,
    }
