"""One worker of the local serverless platform: an engine process of its own, tied to the platform."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import aiohttp
import psutil

from inference import tether
from inference.settings import WorkerSettings

__all__ = ["Worker"]

_LARGEST_LOG = 20_000_000


class Worker:
    """One engine process. ``jobs`` counts the requests on it; ``closing``: it gets no more."""

    def __init__(self, settings: WorkerSettings) -> None:
        self.settings = settings
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.key = secrets.token_urlsafe(32)
        self.process: asyncio.subprocess.Process | None = None
        self.ready = self.closing = False
        self.jobs = 0
        self.idle_timer: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int:
        """The process id; 0 before it is started."""
        return self.process.pid if self.process else 0

    async def start(self) -> None:
        """Start the process in a group of its own, tied to this one by the kernel."""
        argv = [part.format(port=self.port) for part in self.settings.argv]
        environment = {**os.environ, **self.settings.environment, self.settings.key_variable: self.key}
        with _append(self.settings.log) as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *argv),
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def serves(self, session: aiohttp.ClientSession) -> bool:
        """Whether its /health says 200; waits 1 s at most."""
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with asyncio.timeout(1), session.get(f"{self.url}/health") as response:
                return response.status == 200
        return False

    async def answers(self, session: aiohttp.ClientSession) -> bool:
        """Whether it answers a one-token chat in time: a hung worker may well report good health."""
        body = {
            "model": self.settings.model,
            "max_tokens": 1,
            "messages": [{"role": "user", "content": "?"}],
        }
        headers = {"Authorization": f"Bearer {self.key}"}
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with (
                asyncio.timeout(self.settings.probe_seconds),
                session.post(f"{self.url}/v1/chat/completions", json=body, headers=headers) as response,
            ):
                await response.read()
                return response.status == 200
        return False

    def cpu_seconds(self) -> float:
        """Processor time that it and its children have used."""
        total = 0.0
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            for member in [process, *process.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    times = member.cpu_times()
                    total += times.user + times.system
        return total

    async def stop(self, *, kill: bool = False) -> None:
        """End the process group and wait until it is gone; ``kill``: without asking first."""
        self.closing = True
        if self.process is None:
            return
        if not kill:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.settings.stop_seconds):
                    await self.process.wait()
        self._signal(signal.SIGKILL)  # of the whole group: whatever it started ends as well
        await self.process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _append(path: Path) -> Iterator[IO[bytes]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > _LARGEST_LOG:
        path.replace(path.with_name(path.name + ".1"))
    with path.open("ab") as log:
        yield log
