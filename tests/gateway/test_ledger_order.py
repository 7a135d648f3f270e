"""What the ledger's client asks the database for, and in which order: a database that answers when told."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.errors import Refused
from gateway.ledger import MOST_IN_A_BATCH, Ledger
from gateway.logs import Log
from gateway.metrics import Metrics
from gateway.settings import load
from tests.gateway.stand import settings


class Database:
    """In the place of PostgreSQL: one request in flight a user; settles only when ``settles`` is set."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.payloads: list[str] = []
        self.held: dict[str, str] = {}
        self.settles = asyncio.Event()
        self.down = False

    async def value(self, sql: str, payload: str) -> list[object]:
        self.payloads.append(payload)
        if "usage.settle" in sql:
            self.calls.append("settle")
            await self.settles.wait()
            return self._settled(payload)
        self.calls.append("reserve")
        await asyncio.sleep(0)
        if self.down:
            raise OSError("down")
        return list(map(self._reserved, json.loads(payload)["requests"]))

    async def row(self, sql: str, settlements: str, batch: str) -> tuple[list[object], list[object]]:
        self.calls.append("exchange")
        await asyncio.sleep(0)
        return self._settled(settlements), list(map(self._reserved, json.loads(batch)["requests"]))

    def _settled(self, payload: str) -> list[object]:
        for one in json.loads(payload):
            self.held.pop(one["id"], None)
        return []

    def _reserved(self, request: dict[str, str]) -> str:
        if request["user"] in self.held.values():
            return "user_concurrency"
        self.held[request["id"]] = request["user"]
        return "ok"


@pytest.fixture
def ledger(monkeypatch):
    made = Ledger(
        load(settings("postgresql://u:p@127.0.0.1:1/x", "http://e")), Log("local", "r"), Metrics()
    )
    monkeypatch.setattr("gateway.ledger._LINGER", 1000.0)  # settling alone begins when the test says so
    return made


def reserve(ledger, *request):
    return ledger.reserve(*request, lambda: None)


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_who_has_an_answer_is_not_refused_because_its_settling_has_just_begun(ledger):
    async def scene() -> list[str]:
        database = ledger._store = Database()
        first = await reserve(ledger, "u", "instant", 1, "r1")
        ledger.settle(first, 1, 1, "ok")
        second = asyncio.create_task(reserve(ledger, "u", "instant", 1, "r2"))
        await asyncio.sleep(0)  # it stands in the queue, and is not yet asked for
        ledger._lingered()  # now the settlement goes by itself
        await turns()
        assert database.calls == ["reserve", "settle"]
        database.settles.set()
        await second
        return database.calls

    assert asyncio.run(scene()) == ["reserve", "settle", "reserve"]


def test_others_do_not_wait_for_it(ledger):
    async def scene() -> None:
        ledger._store = Database()
        first = await reserve(ledger, "u", "instant", 1, "r1")
        ledger.settle(first, 1, 1, "ok")
        ledger._lingered()
        await turns()
        waiting = asyncio.create_task(reserve(ledger, "u", "instant", 1, "r2"))
        await asyncio.wait_for(reserve(ledger, "other", "instant", 1, "r3"), 5)
        assert not waiting.done()
        ledger._store.settles.set()
        await asyncio.wait_for(waiting, 5)

    asyncio.run(scene())


def test_an_answer_that_the_next_call_does_not_carry_is_settled_first(ledger):
    async def scene() -> list[str]:
        database = ledger._store = Database()
        database.settles.set()
        users = [f"u{number}" for number in range(MOST_IN_A_BATCH + 1)]
        held = await asyncio.gather(*(reserve(ledger, user, "instant", 1, user) for user in users))
        for one in held:
            ledger.settle(one, 1, 1, "ok")
        database.calls.clear()
        await asyncio.wait_for(reserve(ledger, users[-1], "instant", 1, "again"), 5)
        return database.calls

    assert "settle" in asyncio.run(scene())


def test_who_asks_while_the_ledger_is_down_is_told(ledger):
    async def scene() -> None:
        database = ledger._store = Database()
        first = await reserve(ledger, "u", "instant", 1, "r1")
        ledger.settle(first, 1, 1, "ok")
        database.down = True
        ledger._settling = True  # a settlement has failed, and waits for its next attempt
        with pytest.raises(Refused) as refused:
            await asyncio.wait_for(reserve(ledger, "u", "instant", 1, "r2"), 5)
        assert refused.value.refusal.status == 503

    asyncio.run(scene())


def settlements(database: Database) -> list[dict[str, object]]:
    found = [json.loads(payload) for payload in database.payloads]
    return [one for payload in found if isinstance(payload, list) for one in payload]


async def settled(ledger: Ledger, database: Database) -> list[dict[str, object]]:
    """What the ledger is told once everything that waits is settled."""
    database.settles.set()
    ledger._kick_settling()
    await turns(20)
    return settlements(database)


def test_a_settlement_tells_what_was_reserved(ledger):
    async def scene() -> None:
        database = ledger._store = Database()
        held = await reserve(ledger, "u", "thinking", 9, "r1")
        assert json.loads(database.payloads[0])["durable"] is False
        ledger.settle(held, 1, 1, "done")
        (one,) = await settled(ledger, database)
        expected = {"user": "u", "model": "thinking", "tokens": 9, "request_id": "r1", "day": held.day}
        assert expected.items() <= one["held"].items()

    asyncio.run(scene())


def test_what_may_never_have_been_reserved_is_not_told(ledger):
    """Else settling would book a request that nobody was granted."""

    async def scene() -> None:
        database = ledger._store = Database()
        database.down = True
        with pytest.raises(Refused):
            await reserve(ledger, "u", "instant", 9, "r1")
        database.down = False
        (one,) = await settled(ledger, database)
        assert (one["outcome"], "held" in one) == ("unknown", False)

    asyncio.run(scene())


@pytest.mark.parametrize("hops", range(8))
def test_who_goes_away_leaves_nothing_held(ledger, hops):
    """At whatever moment: before the ledger is asked, while it is, and just when it has granted."""

    async def scene() -> None:
        database = ledger._store = Database()
        asking = asyncio.create_task(reserve(ledger, "u", "instant", 1, "r1"))
        await turns(hops)
        asking.cancel()
        try:
            ledger.settle(await asking, 1, 1, "done")
        except asyncio.CancelledError:
            await turns(20)
        await settled(ledger, database)
        assert (database.held, ledger._open) == ({}, {})

    asyncio.run(scene())


def test_what_can_be_prepared_is_prepared_while_the_database_works(ledger):
    async def scene() -> None:
        database = ledger._store = Database()
        seen: list[list[str]] = []
        await ledger.reserve("u", "instant", 1, "r1", lambda: seen.append(list(database.calls)))
        assert seen == [["reserve"]]

    asyncio.run(scene())


def test_a_preparation_that_fails_leaves_nothing_held(ledger):
    async def scene() -> None:
        database = ledger._store = Database()
        with pytest.raises(ZeroDivisionError):
            await ledger.reserve("u", "instant", 1, "r1", lambda: print(1 / 0))
        await turns(20)
        await settled(ledger, database)
        assert (database.held, ledger._open) == ({}, {})

    asyncio.run(scene())


class Gone:
    """Standard output whose reader has gone."""

    def write(self, _: bytes) -> None:
        raise BrokenPipeError

    flush = write


def test_whoever_cannot_log_goes_on(monkeypatch) -> None:
    log = Log("local", "r")
    monkeypatch.setattr("sys.stdout", type("Output", (), {"buffer": Gone()})())
    log("error", "something")
    assert log.lost == 1


def test_a_settlement_that_fails_waits_before_it_is_tried_again_whatever_the_reason(ledger) -> None:
    async def run() -> int:
        tried = 0

        async def value(sql: str, payload: str) -> list[object]:
            nonlocal tried
            if "usage.settle" not in sql:
                return ["ok"]
            tried += 1
            raise RuntimeError("nobody has thought of this")

        ledger._store.value = value
        held = await reserve(ledger, "u", "instant", 5, "r1")
        ledger.settle(held, 1, 1, "ok")
        ledger._kick_settling()
        await asyncio.sleep(0.3)
        ledger._stopped.set()
        for task in list(ledger._tasks):
            task.cancel()
        return tried

    assert 2 <= asyncio.run(run()) <= 4  # after 0.05, 0.1, 0.2 s
