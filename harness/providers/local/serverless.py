"""Looks into the local serverless platform, and hurts its workers on purpose."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import psutil

from harness.errors import DeployError
from harness.secrets import Secret
from harness.trust import system_trust

__all__ = ["PlatformControl"]


class PlatformControl:
    """The platform at ``url`` whose process is ``pid``: the ServerlessControl of the local provider."""

    def __init__(self, url: str, key: Secret, pid: int) -> None:
        self._url, self._key, self._pid = url, key, pid

    def settings(self) -> dict[str, Any]:
        """In force: workersMin, workersMax, idleTimeout (s), executionTimeoutMs, concurrency."""
        answer = httpx.get(
            f"{self._url}/endpoint",
            headers={"Authorization": f"Bearer {self._key.reveal()}"},
            timeout=5.0,
            verify=system_trust(),
            trust_env=False,
        )
        if answer.status_code != 200:
            raise DeployError("thinking", f"{self._url}/endpoint answered {answer.status_code}")
        settings: dict[str, Any] = answer.json()
        return settings

    def workers(self) -> list[int]:
        """The pids of the worker processes that exist, zombies not counted."""
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self._pid).children()
            return [child.pid for child in children if child.status() != psutil.STATUS_ZOMBIE]
        return []

    def kill_workers(self) -> list[int]:
        """SIGKILL every worker, as a crash would; the pids they had."""
        pids = self.workers()
        for pid in pids:
            _signal(pid, signal.SIGKILL)
        return pids

    @contextlib.contextmanager
    def workers_paused(self) -> Iterator[list[int]]:
        """Every present worker under SIGSTOP inside the block; what is left of them continued after it."""
        pids = self.workers()
        for pid in pids:
            _signal(pid, signal.SIGSTOP)
        try:
            yield pids
        finally:
            for pid in pids:
                _signal(pid, signal.SIGCONT)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for member in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.send_signal(number)
