"""The engines behind the gateway: kept-alive connections, retries before the first byte, honest probes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import aiohttp
import msgspec
from pydantic import SecretStr
from yarl import URL

from gateway.bodies import decode_answer
from gateway.client import Broken, Client, Reply, Unreachable
from gateway.errors import Refusal
from gateway.settings import Settings

__all__ = ["Engine", "UpstreamFailure", "engines", "make_session"]

MOST_ANSWER_BYTES = 8 * 1024 * 1024
_RETRIED = frozenset({502, 503, 504})


class UpstreamFailure(Exception):
    """An engine did not answer as it must. ``reached``: it may have begun to work on the request."""

    def __init__(self, refusal: Refusal, *, reached: bool) -> None:
        super().__init__(refusal.code)
        self.refusal, self.reached = refusal, reached


UNREACHABLE = Refusal(502, "upstream_unreachable", "the model's server cannot be reached", retry_after=5)
BUSY = Refusal(503, "upstream_busy", "the model is busy or starting", retry_after=5)
BROKEN = Refusal(502, "upstream_error", "the model's server failed")
GARBLED = Refusal(502, "upstream_invalid", "the model's server answered with something else than an answer")
REFUSED = Refusal(
    400, "upstream_refused", "the model refused the request, for instance as longer than its context"
)


def make_session(settings: Settings) -> aiohttp.ClientSession:
    """The session for health and keys: no cookies, no proxies from the environment, no limit of its own."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=15, ttl_dns_cache=30),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.timeout_connect_seconds),
        auto_decompress=False,
        trust_env=False,
    )


class Engine:
    """One model's server. ``first_byte`` is how long a stream may take to begin, in seconds."""

    def __init__(
        self, name: str, settings: Settings, session: aiohttp.ClientSession, first_byte: float
    ) -> None:
        url = str(getattr(settings, f"{name}_url")).rstrip("/")
        key: SecretStr = getattr(settings, f"{name}_key")
        model: str = getattr(settings, f"{name}_model")
        self.name, self.model, self.first_byte = name, model, first_byte
        self._session, self._retries = session, settings.retries
        self._health = URL(f"{url}/health")
        self._bearer = {"Authorization": f"Bearer {key.get_secret_value()}"}
        common = {"User-Agent": "gateway", "Accept": "*/*", "Accept-Encoding": "identity"}
        headers = {**self._bearer, **common, "Content-Type": "application/json"}
        chat = URL(f"{url}/v1/chat/completions")
        self._client = Client(chat, headers, settings.timeout_connect_seconds)
        self._answered = float("-inf")
        self._probe: asyncio.Lock = asyncio.Lock()

    async def ask(self, body: bytes, request_id: str) -> Reply:
        """The engine's reply, its head read. The caller leaves it.

        Raises:
            UpstreamFailure: when it cannot be reached, or answers with anything but 200.
        """
        for left in range(self._retries, -1, -1):
            try:
                reply = await self._client.post(body, request_id)
            except (Unreachable, Broken) as error:
                if not left:
                    raise UpstreamFailure(UNREACHABLE, reached=isinstance(error, Broken)) from None
            else:
                if reply.status == 200:
                    return reply
                reply.close()
                if not left or reply.status not in _RETRIED:
                    raise UpstreamFailure(_judge(reply.status), reached=False)
            await asyncio.sleep(0.1)
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        """Drop the connections that nobody uses."""
        self._client.close()

    def answered(self) -> None:
        """A request was served just now: nothing needs probing."""
        self._answered = time.monotonic()

    async def probe(self, seconds: float) -> dict[str, Any]:
        """What /health says; never wakes a worker.

        Raises:
            ValueError, OSError, aiohttp.ClientError, TimeoutError: when the engine is not healthy.
        """
        timeout = aiohttp.ClientTimeout(total=seconds)
        async with self._session.get(
            self._health, headers=self._bearer, timeout=timeout, allow_redirects=False
        ) as response:
            if response.status != 200:
                raise ValueError(f"health answers {response.status}")
            raw = await response.content.read(65_536)
        return _workers(raw)

    async def probe_answer(self, seconds: float, every: float) -> None:
        """Have one token generated, unless a request was served in the last ``every`` seconds.

        A server whose worker hangs keeps saying that it is healthy; only an answer proves that it works.

        Raises:
            ValueError, UpstreamFailure, TimeoutError: when none came, or something else than an answer.
        """
        async with self._probe:
            if time.monotonic() - self._answered < every:
                return
            message = {"role": "user", "content": "1"}
            body = msgspec.json.encode({"model": self.model, "messages": [message], "max_tokens": 1})
            async with asyncio.timeout(seconds):
                reply = await self.ask(body, "readiness")
                try:
                    decode_answer(await _whole(reply))
                except (Broken, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                    raise UpstreamFailure(GARBLED, reached=True) from None
                finally:
                    reply.leave()
            self.answered()


async def _whole(reply: Reply) -> bytes:
    """The body of an answer that is a token long, as far as it is no longer than any may be."""
    body = b""
    while (data := await reply.read()) and len(body) <= MOST_ANSWER_BYTES:
        body += data
    return body


def _judge(status: int) -> Refusal:
    if status in (400, 413, 422):
        return REFUSED
    return BUSY if status in (429, 503) else BROKEN


def _workers(raw: bytes) -> dict[str, Any]:
    """The number of workers, where the platform tells it."""
    with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError, ValueError):
        workers = msgspec.json.decode(raw)["workers"] if raw[:1] == b"{" else None
        if isinstance(workers, dict):
            counted = ("running", "idle", "initializing")
            total = workers.get("total", sum(workers.get(name, 0) for name in counted))
            return {"workers": int(total)}
    return {}


def engines(settings: Settings, session: aiohttp.ClientSession) -> dict[str, Engine]:
    """Both engines by the name that clients use."""
    return {
        "instant": Engine("instant", settings, session, settings.timeout_first_byte_seconds),
        "thinking": Engine("thinking", settings, session, settings.timeout_cold_start_seconds),
    }
