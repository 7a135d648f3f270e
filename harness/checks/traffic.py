"""Steady traffic on the gateway while something is done to it: does any request fail, is any stream cut?"""

from __future__ import annotations

import contextlib
import secrets
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx

from harness.checks.http import call, chat
from harness.secrets import Secret
from harness.stack import Stack

__all__ = ["Traffic", "traffic"]

_AT_ONCE = 48
_STREAM_TOKENS = 24
_PATIENCE_SECONDS = 30.0


@dataclass
class Traffic:
    """What came of the requests: how many, which failed and how, and the streams among them."""

    requests: int = 0
    streams: int = 0
    failures: list[str] = field(default_factory=list)
    """One line for each request that failed or stream that was cut."""
    latencies_ms: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def p99_ms(self) -> float:
        """The 99th percentile of the requests' latencies in milliseconds (streams apart)."""
        if len(self.latencies_ms) < 2:
            return 0.0
        return round(statistics.quantiles(self.latencies_ms, n=100)[98], 1)

    def __str__(self) -> str:
        return f"{len(self.failures)} of {self.requests} requests failed, {self.streams} streams finished"


@contextlib.contextmanager
def traffic(stack: Stack, per_second: float, streams: int = 2) -> Iterator[Traffic]:
    """Send ``per_second`` requests a second, and ``streams`` at once beside them, while the block lasts.

    Requests go out by the clock, whether or not the earlier ones were answered. When the block ends, those
    under way are waited for and counted.
    """
    seen, lock, ended = Traffic(), threading.Lock(), threading.Event()
    token = stack.identities.token(f"traffic-{secrets.token_hex(4)}")
    started = time.monotonic()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in range(streams):
            pool.submit(_stream_until, stack, token, ended, seen, lock)
        clock = threading.Thread(
            target=_by_the_clock, args=(stack, token, per_second, ended, seen, lock, pool), daemon=True
        )
        clock.start()
        try:
            yield seen
        finally:
            ended.set()
            clock.join(_PATIENCE_SECONDS)
    seen.seconds = time.monotonic() - started


def _by_the_clock(
    stack: Stack,
    token: Secret,
    per_second: float,
    ended: threading.Event,
    seen: Traffic,
    lock: threading.Lock,
    pool: ThreadPoolExecutor,
) -> None:
    due = time.monotonic()
    while True:
        pool.submit(_request, stack, token, seen, lock)
        due += 1.0 / per_second
        if ended.wait(max(0.0, due - time.monotonic())):
            return


def _request(stack: Stack, token: Secret, seen: Traffic, lock: threading.Lock) -> None:
    began = time.monotonic()
    try:
        answer = call(stack, "GET", "/v1/models", token=token, purpose="traffic", seconds=_PATIENCE_SECONDS)
        failure = "" if answer.status == 200 else f"{answer.status} {answer.error_code}"
        failure = failure and f"GET /v1/models ({answer.request_id}): {failure}"
    except httpx.TransportError as error:
        failure = f"GET /v1/models: {type(error).__name__}: {error}"
    with lock:
        seen.requests += 1
        seen.latencies_ms.append((time.monotonic() - began) * 1000)
        if failure:
            seen.failures.append(failure)


def _stream_until(
    stack: Stack, token: Secret, ended: threading.Event, seen: Traffic, lock: threading.Lock
) -> None:
    while True:
        failure = _stream(stack, token)
        with lock:
            seen.streams += not failure
            if failure:
                seen.failures.append(failure)
        if ended.is_set():
            return


def _stream(stack: Stack, token: Secret) -> str:
    """One streamed answer; what was wrong with it, or nothing."""
    try:
        answer = chat(
            stack,
            token,
            "Count from one to thirty.",
            stream=True,
            max_tokens=_STREAM_TOKENS,
            purpose="traffic-stream",
        )
    except httpx.TransportError as error:
        return f"a stream: {type(error).__name__}: {error}"
    whole = answer.status == 200 and answer.body.rstrip().endswith("data: [DONE]")
    why = f"{answer.status} {answer.error_code}" if answer.status != 200 else "cut before its end"
    return "" if whole else f"a stream ({answer.request_id}): {why}"
