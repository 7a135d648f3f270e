"""The ledger's client: reserve the worst case before, settle the actual after, in PostgreSQL.

Requests that arrive while a call is under way share the next one: under load the cost of a call is split
among many, at rest nothing waits. What was used waits a moment, to be settled by the call that reserves
next: one commit for both, and nobody's next request waits for the booking of the one before. Whoever cannot
reach the ledger does not serve.

Only what books waits for the disk. A reservation alone does not: a settlement says what was reserved, and
is booked even if a crash of the database has taken the reservation away.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import msgspec

from gateway.errors import Refusal, Refused
from gateway.logs import Log, describe
from gateway.metrics import Metrics
from gateway.reservations import Reservation, Settlement, refusal, wanted
from gateway.settings import Settings
from gateway.store import Store

__all__ = ["Ledger", "Reservation"]

MOST_IN_A_BATCH = 64
MOST_UNSETTLED = 10_000
DOWN = Refusal(503, "ledger_unavailable", "usage cannot be booked at the moment", retry_after=2)
_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
_UNACCEPTABLE = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
_FIRST_PAUSE = 0.05
_LINGER = 0.003  # seconds that a settlement waits for a reservation to share a call with
_EXCHANGE = "select unknown, answers from usage.exchange($1, $2)"
_encode = msgspec.json.Encoder().encode
_Wanted = tuple[Reservation, asyncio.Future[str]]


class Ledger:
    """One per process; needs a running loop. ``start`` and ``stop`` frame its life."""

    def __init__(self, settings: Settings, log: Log, metrics: Metrics) -> None:
        self._settings, self._log, self._metrics = settings, log, metrics
        self._limits = {
            "durable": False,
            "ttl": settings.reservation_seconds,
            "user_tokens": settings.limit_user_tokens_per_day,
            "user_concurrency": settings.limit_user_concurrency,
            "thinking_tokens": settings.limit_thinking_tokens_per_day,
        }
        self._store = Store(settings)
        self._wanted: list[_Wanted] = []
        self._used: list[Settlement] = []
        self._open: dict[str, None] = {}
        self._owed: Counter[str] = Counter()  # user: answers that are not settled yet
        self._attempt: asyncio.Future[None] | None = None  # to settle; done when it has ended, well or not
        self._reserving = self._settling = False
        self._lingering: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = asyncio.Event()

    async def start(self) -> None:
        """Begin; the database need not be up yet."""
        self._spawn(self._keep(self.sweep, min(5.0, self._settings.reservation_seconds / 2)))
        self._spawn(self._keep(self._renew, self._settings.reservation_seconds / 3))

    async def stop(self, seconds: float) -> None:
        """Book what is still unbooked, for at most ``seconds``, and close."""
        deadline = time.monotonic() + seconds
        while (self._used or self._settling) and time.monotonic() < deadline:
            self._kick_settling()
            await asyncio.sleep(0.02)
        if self._used:
            self._log("error", "unsettled", count=len(self._used))
        self._stopped.set()
        if self._lingering is not None:
            self._lingering.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._store.close()

    # --- what the hot path calls -------------------------------------------------------------------

    async def reserve(
        self, user: str, model: str, tokens: int, request_id: str, meanwhile: Callable[[], None]
    ) -> Reservation:
        """Hold ``tokens`` for ``user``; ``meanwhile`` is called once, while the database works.

        Raises:
            Refused: 429 when a limit stands against it, 503 when paused or when the ledger is down.
        """
        if len(self._used) >= MOST_UNSETTLED:
            raise Refused(DOWN)
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        reservation = wanted(user, model, tokens, request_id)
        self._wanted.append((reservation, future))
        if not self._reserving:
            self._reserving = True
            self._spawn(self._reserve_all())
        try:
            await asyncio.sleep(0)  # the question is on its way
            meanwhile()
            word = await future
        except BaseException:  # whoever asked has gone, or is told that the ledger is down
            if future.done() and not future.cancelled() and future.exception() is None:
                self._cancelled(reservation, future.result())  # granted in the same moment
            future.cancel()
            raise
        if word != "ok":
            raise Refused(refusal(word))
        return reservation

    def settle(self, reservation: Reservation, prompt: int, completion: int, outcome: str) -> None:
        """Book ``prompt`` and ``completion`` tokens and release the rest; returns at once, keeps trying."""
        self._settle(Settlement(reservation.id, prompt, completion, outcome, reservation.user, reservation))

    async def ping(self) -> list[str]:
        """The closed switches.

        Raises:
            TimeoutError, OSError, asyncpg.PostgresError: when the ledger does not answer.
        """
        return list(await self._store.value("select usage.ping()"))

    async def sweep(self) -> None:
        """Release what dead gateways held."""
        count = await self._store.value("select usage.sweep()")
        if count:
            self._log("warning", "reservations_expired", count=count)

    # --- inside ------------------------------------------------------------------------------------

    def _release(self, reservation: Reservation, outcome: str) -> None:
        """Nothing was used, and perhaps nothing is held: what is not there need not be booked."""
        self._settle(Settlement(reservation.id, 0, 0, outcome, reservation.user))

    def _cancelled(self, reservation: Reservation, word: str) -> None:
        if word == "ok":
            self._release(reservation, "cancelled")

    def _settle(self, settlement: Settlement) -> None:
        self._used.append(settlement)
        self._owed[settlement.user] += 1
        if self._lingering is None:
            loop = asyncio.get_running_loop()
            self._lingering = loop.call_later(_LINGER, self._lingered)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reserve_all(self) -> None:
        try:
            while self._wanted:
                if batch := self._next_batch():
                    await self._reserve_batch(batch)
                else:
                    await asyncio.shield(self._kick_settling())
        finally:
            self._reserving = False

    def _next_batch(self) -> list[_Wanted]:
        """Whose turn it is: not while another call settles an answer of the same user.

        It would still count as in flight, and its user be refused with the answer in hand.
        """
        if not self._settling:
            unsettled = {one.user for one in self._used[MOST_IN_A_BATCH:]}  # the others go in the same call
        elif self._attempt is not None and not self._attempt.done():
            unsettled = set(self._owed)
        else:  # the ledger is down: whoever asks shall be told
            unsettled = set()
        batch: list[_Wanted] = []
        others: list[_Wanted] = []
        for item in self._wanted:
            ready = len(batch) < MOST_IN_A_BATCH and item[0].user not in unsettled
            (batch if ready else others).append(item)
        self._wanted = others
        return batch

    async def _reserve_batch(self, batch: list[_Wanted]) -> None:
        requests = [reservation for reservation, _ in batch]
        payload = _encode({**self._limits, "requests": requests}).decode()
        started = time.monotonic()
        try:
            words = await self._reserved(payload)
        except _ERRORS as error:
            self._log("error", "ledger_unavailable", call="reserve", error=describe(error)["type"])
            # Whether it was done is not known; releasing what was never held changes nothing.
            for reservation, future in batch:
                self._release(reservation, "unknown")
                if not future.done():
                    future.set_exception(Refused(DOWN))
            return
        self._metrics.ledger.observe(time.monotonic() - started)
        for (reservation, future), word in zip(batch, words, strict=True):
            if future.done():  # whoever asked has gone
                self._cancelled(reservation, word)
                continue
            if word == "ok":
                self._open[reservation.id] = None
            future.set_result(word)

    async def _reserved(self, payload: str) -> list[str]:
        """Reserve, and settle what waits for it, in one call."""
        carried = [] if self._settling else self._used[:MOST_IN_A_BATCH]
        if not carried:
            return list(await self._store.value("select usage.reserve($1)", payload))
        self._begin_settling()
        try:
            unknown, words = await self._store.row(_EXCHANGE, _encode(carried).decode(), payload)
        except _UNACCEPTABLE:  # something in it can never be booked: settling alone finds out what
            return list(await self._store.value("select usage.reserve($1)", payload))
        else:
            self._settled(carried, {one.hex for one in unknown})
            return list(words)
        finally:
            self._end_settling()

    def _lingered(self) -> None:
        self._lingering = None
        if self._used:
            self._kick_settling()

    def _kick_settling(self) -> asyncio.Future[None]:
        """See that what is unsettled is being settled; done when the present attempt has ended."""
        if self._settling and self._attempt is not None:
            return self._attempt
        attempt = self._begin_settling()
        self._spawn(self._settle_all())
        return attempt

    def _begin_settling(self) -> asyncio.Future[None]:
        self._settling = True
        if self._attempt is None or self._attempt.done():
            self._attempt = asyncio.get_running_loop().create_future()
        return self._attempt

    def _end_attempt(self) -> None:
        if self._attempt is not None and not self._attempt.done():
            self._attempt.set_result(None)

    def _end_settling(self) -> None:
        self._settling = False
        self._end_attempt()
        if self._used and not self._stopped.is_set():
            self._kick_settling()

    async def _settle_all(self) -> None:
        pause, most = _FIRST_PAUSE, MOST_IN_A_BATCH
        try:
            while self._used:
                self._begin_settling()
                try:
                    most = await self._settle_batch(self._used[:most])
                    pause = _FIRST_PAUSE
                except Exception as error:  # whatever it is: nobody else would book what was used
                    self._log("error", "ledger_unavailable", call="settle", error=describe(error)["type"])
                    self._end_attempt()
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 2.0)
                finally:
                    self._end_attempt()
        finally:
            self._end_settling()

    async def _settle_batch(self, batch: list[Settlement]) -> int:
        """Settle ``batch``, the oldest; how many to settle next time."""
        try:
            unknown = await self._store.value("select usage.settle($1)", _encode(batch).decode())
        except _UNACCEPTABLE as error:
            # Something in it can never be booked: one by one, so that it holds up nothing else.
            if len(batch) == 1:
                self._log("error", "settlement_refused", reservation=batch[0].id, error=describe(error))
                self._settled(batch, set())
            return 1
        self._settled(batch, {one.hex for one in unknown})
        return MOST_IN_A_BATCH

    def _settled(self, batch: list[Settlement], unknown: set[str]) -> None:
        """``batch``, the oldest, need not be settled any more."""
        del self._used[: len(batch)]
        for one in batch:
            self._open.pop(one.id, None)
            self._owed[one.user] -= 1
            if not self._owed[one.user]:
                del self._owed[one.user]
            if one.id in unknown and one.outcome != "unknown":
                self._log("error", "settlement_without_reservation", reservation=one.id)

    async def _renew(self) -> None:
        if self._open:
            ids = list(self._open)
            await self._store.value("select usage.renew($1, $2)", ids, self._settings.reservation_seconds)

    async def _keep(self, work: Callable[[], Awaitable[None]], every: float) -> None:
        """Do ``work`` every so many seconds; an outage is logged and tried again."""
        while not self._stopped.is_set():
            try:
                await asyncio.wait_for(self._stopped.wait(), every)
            except TimeoutError:
                try:
                    await work()
                except _ERRORS as error:
                    self._log("warning", "ledger_unavailable", call="upkeep", error=describe(error)["type"])
