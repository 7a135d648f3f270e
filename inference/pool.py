"""The workers of the local serverless platform together: started on demand, stopped when idle."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp

from inference.settings import Settings
from inference.worker import Worker

__all__ = ["Pool", "Refused"]

Log = Callable[..., None]
_START_ATTEMPTS = 3
_BUSY_SHARE = 0.1
"""A worker that does not answer but uses this share of a processor is busy with other jobs, not hung."""


class Refused(Exception):
    """A job that the platform does not take: the queue is full, or no worker comes up."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status, self.code = status, code
        super().__init__(message)


class Pool:
    """All workers and the queue of jobs before them."""

    def __init__(self, settings: Settings, session: aiohttp.ClientSession, log: Log) -> None:
        self.settings, self.session, self.log = settings, session, log
        self.workers: list[Worker] = []
        self.queue: deque[asyncio.Future[Worker]] = deque()
        self.closing = False
        self._failures = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    def counts(self) -> dict[str, int]:
        """Workers by state. A worker counts until its process is gone."""
        running = sum(1 for worker in self.workers if worker.jobs)
        ready = sum(1 for worker in self.workers if worker.ready)
        idle = sum(1 for worker in self.workers if worker.ready and not worker.jobs)
        total = len(self.workers)
        return {
            "total": total,
            "running": running,
            "idle": idle,
            "ready": ready,
            "initializing": total - ready,
        }

    @property
    def in_progress(self) -> int:
        """Jobs on workers."""
        return sum(worker.jobs for worker in self.workers)

    @contextlib.asynccontextmanager
    async def lease(self) -> AsyncIterator[Worker]:
        """A place on a worker, when there is one; starts a worker when it must and may.

        Raises:
            Refused: the queue is full, no place became free in time, or no worker comes up.
        """
        worker = await self._wait_for_place()
        try:
            yield worker
        finally:
            self._give_back(worker)

    async def _wait_for_place(self) -> Worker:
        if self.closing or len(self.queue) >= self.settings.queue_limit:
            raise Refused(429, "queue_full", f"{len(self.queue)} jobs are waiting already")
        place: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        self.queue.append(place)
        self._dispatch()
        try:
            async with asyncio.timeout(self.settings.queue_seconds):
                return await asyncio.shield(place)
        except BaseException as error:  # timed out, or the client went away: give the place to the next
            if place in self.queue:
                self.queue.remove(place)
            elif place.done() and not place.cancelled() and place.exception() is None:
                self._give_back(place.result())
            if isinstance(error, TimeoutError):
                raise Refused(503, "queue_timeout", "no worker became free in time") from None
            raise

    def _give_back(self, worker: Worker) -> None:
        worker.jobs -= 1
        if not worker.jobs and worker.ready and not worker.closing:
            self._arm(worker)
        self._dispatch()

    def _arm(self, worker: Worker) -> None:
        if worker.idle_timer:
            worker.idle_timer.cancel()
        loop = asyncio.get_running_loop()
        worker.idle_timer = loop.call_later(self.settings.idle_seconds, self._expire, worker)

    def _expire(self, worker: Worker) -> None:
        if not worker.jobs and not worker.closing:
            worker.closing, worker.ready = True, False
            self.log("worker_idle", worker=worker.pid)
            self._spawn(worker.stop())  # its watcher takes it off the list when the process is gone

    def _dispatch(self) -> None:
        """Give waiting jobs their places, and start as many workers as the rest needs and may have."""
        for worker in self.workers:
            while (
                self.queue
                and worker.ready
                and not worker.closing
                and worker.jobs < self.settings.concurrency
            ):
                place = self.queue.popleft()
                worker.jobs += 1
                if worker.idle_timer:
                    worker.idle_timer.cancel()
                place.set_result(worker)
        wanted = math.ceil((self.in_progress + len(self.queue)) / self.settings.concurrency)
        coming = sum(1 for worker in self.workers if not worker.ready and not worker.closing)
        room = self.settings.max_workers - len(self.workers)
        have = sum(1 for worker in self.workers if worker.ready and not worker.closing) + coming
        if self.queue and not self.closing:
            for _ in range(min(room, wanted - have)):
                worker = Worker(self.settings.worker)
                self.workers.append(worker)
                self._spawn(self._run(worker))

    async def _run(self, worker: Worker) -> None:
        """Start ``worker``, then watch it until its process ends."""
        started = time.monotonic()
        try:
            await worker.start()
            self.log("worker_starting", worker=worker.pid)
            watcher = asyncio.ensure_future(worker.process.wait())  # type: ignore[union-attr]
            if await self._becomes_ready(worker, watcher):
                self._failures = 0
                worker.ready = True
                self.log("worker_ready", worker=worker.pid, ms=round((time.monotonic() - started) * 1000))
                self._dispatch()
                if not worker.jobs:
                    self._arm(worker)
            code = await watcher
            if not worker.closing:
                self.log("worker_lost", level="error", worker=worker.pid, exit_code=code)
                self._failures += not worker.ready
        except OSError as error:
            self._failures += 1
            self.log("worker_failed", level="error", error=type(error).__name__)
        finally:
            worker.closing, worker.ready = True, False
            if worker.idle_timer:
                worker.idle_timer.cancel()
            await worker.stop(kill=True)
            self.workers.remove(worker)
            self.log("worker_gone", worker=worker.pid)
            self._refuse_if_hopeless()
            self._dispatch()

    async def _becomes_ready(self, worker: Worker, watcher: asyncio.Future[int]) -> bool:
        deadline = time.monotonic() + self.settings.worker.start_seconds
        while not watcher.done() and not worker.closing:
            if await worker.serves(self.session):
                return True
            if time.monotonic() > deadline:
                self.log("worker_start_timeout", level="error", worker=worker.pid)
                self._failures += 1
                await worker.stop(kill=True)
                return False
            await asyncio.wait([watcher], timeout=0.02)
        return False

    def _refuse_if_hopeless(self) -> None:
        if self._failures < _START_ATTEMPTS:
            return
        self._failures = 0  # the next job may try again
        while self.queue:
            place = self.queue.popleft()
            place.set_exception(
                Refused(503, "no_worker", f"no worker came up in {_START_ATTEMPTS} attempts")
            )

    def suspect(self, worker: Worker) -> None:
        """A job on ``worker`` timed out: keep new jobs off it until it has proved that it is not hung."""
        if worker.ready and not worker.closing:
            worker.ready = False
            self._spawn(self._probe(worker))

    async def _probe(self, worker: Worker) -> None:
        """Back to work if it answers; replaced if it neither answers nor computes, or never answers."""
        deadline = time.monotonic() + self.settings.execution_timeout_seconds
        while not worker.closing:
            before, asked = worker.cpu_seconds(), time.monotonic()
            if await worker.answers(self.session):
                worker.ready = not worker.closing
                if worker.ready and not worker.jobs:
                    self._arm(worker)
                self._dispatch()
                return
            busy = worker.cpu_seconds() - before > _BUSY_SHARE * (time.monotonic() - asked)
            if not busy or time.monotonic() > deadline:
                self.log("worker_hung", level="error", worker=worker.pid)
                await worker.stop(kill=True)
                return

    async def close(self) -> None:
        """Refuse what waits, stop every worker."""
        self.closing = True
        while self.queue:
            self.queue.popleft().set_exception(Refused(503, "closing", "the platform is closing"))
        await asyncio.gather(*(worker.stop() for worker in list(self.workers)))
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
