"""Limits and the ledger: nobody overspends, whatever happens at the same time or goes down."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import psycopg
import pytest

from tests.gateway.stand import Gateway, bearer, body, settings, token, until

WORST = 16 + 32 + 8 + len("hello")  # answer, template, message, one token a byte


async def flood(urls, count, headers, sent):
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one(url, header):
            async with session.post(url + "/v1/chat/completions", json=sent, headers=header) as response:
                return response.status, (await response.json()).get("error", {}).get("code")

        jobs = [one(urls[n % len(urls)], headers[n % len(headers)]) for n in range(count)]
        return await asyncio.gather(*jobs)


def total(sql, scope):
    rows = sql("select used, held from usage.totals where scope = %s", str(scope))
    return rows[0] if rows else (0, 0)


@pytest.fixture(scope="module")
def four(start):
    """Four replicas with a small daily limit."""
    more = {
        "limit_user_tokens_per_day": str(WORST * 50),
        "limit_user_concurrency": "1000",
        "limit_thinking_tokens_per_day": str(WORST * 70),
        "database_connections": "3",
        "log_level": "info",
    }
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda _: start(**more), range(4)))


@pytest.mark.parametrize("stream", [False, True])
def test_whoever_has_an_answer_may_ask_again_at_once(start, user, stream):
    """With one request in flight allowed, one after another is never too many."""
    gateway = start(limit_user_concurrency="1")
    sent, headers = body("hello", stream=stream), bearer(user)
    answers = [
        gateway.http.post("/v1/chat/completions", json=sent, headers=headers).status_code for _ in range(40)
    ]
    assert set(answers) == {200}


def test_four_replicas_and_240_requests_overspend_nothing(four, sql, user):
    """Every request holds its worst case until all were decided: exactly 50 of 240 fit."""
    urls = [one.url for one in four]
    answers = asyncio.run(
        flood(
            urls, 240, [bearer(user)], body("hello") | {"messages": [{"role": "user", "content": "hello"}]}
        )
    )
    passed = [status for status, _ in answers if status == 200]
    assert {code for status, code in answers if status != 200} <= {"user_tokens_exceeded"}
    until(lambda: total(sql, user)[1] == 0, 30, "settlement")
    used, held = total(sql, user)
    assert used == 10 * len(passed) <= WORST * 50 and held == 0
    assert len(passed) >= 50
    assert sql("select * from usage.audit()") == []


def test_held_tokens_count_like_spent_ones(four, sql, user):
    """Slow requests: while they run, not one more than the budget holds is let in."""
    urls = [one.url for one in four]
    worst = 16 + 32 + 8 + len("wait 1.5")
    answers = asyncio.run(flood(urls, 240, [bearer(user)], body("wait 1.5")))
    assert sum(status == 200 for status, _ in answers) == WORST * 50 // worst
    assert all(code == "user_tokens_exceeded" for status, code in answers if status == 429)


def test_the_thinking_budget_is_everybodys(four, sql):
    before = sum(total(sql, "thinking"))
    users = [bearer(str(uuid.uuid4())) for _ in range(60)]
    limit = WORST * 70
    answers = asyncio.run(flood([one.url for one in four], 240, users, body(model="thinking")))
    until(lambda: total(sql, "thinking")[1] == 0, 30, "settlement")
    used = total(sql, "thinking")[0]
    assert used <= limit
    assert used - before == 10 * sum(status == 200 for status, _ in answers)
    slow = asyncio.run(flood([one.url for one in four], 100, users, body("wait 1", model="thinking")))
    assert sum(status == 200 for status, _ in slow) == (limit - used) // (16 + 32 + 8 + len("wait 1"))
    assert {code for status, code in slow if status == 429} == {"thinking_budget_exceeded"}


def test_429_says_until_when(four, user):
    sent = body("x" * 1500, max_tokens=10)
    for _ in range(200):  # each uses 10 tokens of 3,050 in the end, and asks for 1,550 at first
        response = four[0].http.post("/v1/chat/completions", json=sent, headers=bearer(user))
        if response.status_code == 429:
            break
    midnight = dt.datetime.combine(dt.datetime.now(dt.UTC).date() + dt.timedelta(1), dt.time(), dt.UTC)
    left = (midnight - dt.datetime.now(dt.UTC)).total_seconds()
    assert abs(int(response.headers["retry-after"]) - left) < 5
    assert response.json()["error"]["type"] == "rate_limit_error"


def test_concurrency_is_counted_over_replicas(start, user):
    pair = [start(limit_user_concurrency="3") for _ in range(2)]
    urls = [one.url for one in pair]
    answers = asyncio.run(flood(urls, 12, [bearer(user)], body("wait 1")))
    assert sum(status == 200 for status, _ in answers) == 3
    assert {code for status, code in answers if status == 429} == {"user_concurrency_exceeded"}
    until(lambda: pair[0].chat(user=user).status_code == 200, 30, "release")


def test_the_kill_switch(gateway, sql, user):
    try:
        sql("update usage.switches set open = false, reason = 'test' where name = 'thinking'")
        assert gateway.chat(user=user).status_code == 200
        paused = gateway.chat(user=user, model="thinking")
        assert (paused.status_code, paused.json()["error"]["code"]) == (503, "paused")
        assert paused.headers["retry-after"]
        sql("update usage.switches set open = false where name = 'gateway'")
        assert gateway.chat(user=user).json()["error"]["code"] == "paused"
    finally:
        sql("update usage.switches set open = true")
    assert gateway.chat(user=user).status_code == 200


def test_a_crash_between_reserve_and_settle(start, gateway_url, engine, sql, user):
    doomed = Gateway(settings(gateway_url, engine.url, reservation_seconds="2"))
    try:
        with (
            pytest.raises(Exception),  # noqa: B017 - however the client notices
            doomed.http.stream(
                "POST", "/v1/chat/completions", json=body("slow", stream=True), headers=bearer(user)
            ) as response,
        ):
            next(response.iter_lines())
            assert total(sql, user)[1] > 0
            doomed.kill()
            list(response.iter_lines())
    finally:
        doomed.kill()
    start(reservation_seconds="2")  # a replica that lives releases what the dead one held
    until(lambda: total(sql, user) == (0, 0), 30, "expiry")
    entry = sql("select kind, outcome from usage.entries where user_id = %s", user)
    assert entry == [("expired", "expired")]
    assert sql("select * from usage.audit()") == []


def test_a_long_request_keeps_its_reservation(start, sql, user, booked):
    patient = start(reservation_seconds="2", timeout_answer_seconds="9")
    assert patient.chat("wait 2.7", user=user).status_code == 200
    assert booked(user) == (7, 3, "done")
    assert sql("select kind from usage.entries where user_id = %s", user) == [("settled",)]


class Door:
    """A TCP relay to the database that can be shut."""

    def __init__(self, target):
        import threading

        self.target, self.open, self.pairs = target, True, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        import threading

        while True:
            try:
                one, _ = self.listener.accept()
            except OSError:
                return
            if not self.open:
                one.close()
                continue
            other = socket.create_connection(("127.0.0.1", self.target))
            self.pairs += [one, other]
            for left, right in ((one, other), (other, one)):
                threading.Thread(target=self._pump, args=(left, right), daemon=True).start()

    @staticmethod
    def _pump(left, right):
        try:
            while data := left.recv(65536):
                right.sendall(data)
        except OSError:
            pass
        finally:
            right.close()

    def shut(self):
        self.open = False
        for one in self.pairs:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def close(self):
        self.shut()
        self.listener.close()


@pytest.fixture
def door(cluster):
    made = Door(cluster.port)
    yield made
    made.close()


def test_without_the_ledger_nothing_is_served_and_nothing_is_lost(
    start, door, gateway_url, engine, sql, user
):
    database = gateway_url.replace(
        gateway_url.rpartition("@")[2].partition("/")[0], f"127.0.0.1:{door.port}"
    )
    one = start(database=database, timeout_database_seconds="1")
    assert one.chat(user=user).status_code == 200
    with one.http.stream(
        "POST", "/v1/chat/completions", json=body("wait 1", stream=True), headers=bearer(user)
    ) as running:
        door.shut()  # while a request runs
        list(running.iter_lines())
    before = len(engine.asked)
    refused = one.chat(user=user)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "ledger_unavailable")
    assert refused.headers["retry-after"] and len(engine.asked) == before
    ready = one.http.get("/health/ready")
    assert ready.status_code == 503 and ready.json()["dependencies"]["database"]["state"] == "down"
    door.open = True
    until(lambda: one.chat(user=user).status_code == 200, 30, "recovery")
    until(lambda: total(sql, user) == (30, 0), 30, "the booking of what ran meanwhile")


def test_a_locked_ledger_does_not_hang_the_gateway(start, database, user):
    one = start(timeout_database_seconds="1")
    assert one.chat(user=user).status_code == 200
    with psycopg.connect(database) as locker:
        locker.execute("select * from usage.totals where scope = %s for update", [user])
        started = time.monotonic()
        assert one.chat(user=user).status_code == 503
        assert time.monotonic() - started < 15
    until(lambda: one.chat(user=user).status_code == 200, 30, "recovery")


def test_settlements_survive_a_graceful_stop(start, sql, user):
    one = start()
    held = token(user)
    with one.http.stream(
        "POST",
        "/v1/chat/completions",
        json=body("wait 1", stream=True),
        headers={"Authorization": f"Bearer {held}"},
    ) as running:
        import signal

        until(lambda: total(sql, user)[1] > 0, 30, "the reservation")
        one.process.send_signal(signal.SIGTERM)
        lines = list(running.iter_lines())
    assert "data: [DONE]" in lines  # drained, not cut
    assert one.stop() in (0, -15)
    assert total(sql, user) == (10, 0)


def test_a_stream_that_outlasts_the_drain_is_cut_and_booked(start, sql, user, booked):
    import signal

    one = start(timeout_shutdown_seconds="1")
    with one.http.stream(
        "POST", "/v1/chat/completions", json=body("slow", stream=True, max_tokens=900), headers=bearer(user)
    ) as running:
        lines = running.iter_lines()
        next(lines)
        one.process.send_signal(signal.SIGTERM)
        text = "\n".join(lines)
    assert "draining" in text
    assert booked(user)[2] == "drain" and booked(user)[1] > 5
    assert one.stop() in (0, -15)


def test_draining_is_announced(start):
    import signal

    one = start(timeout_drain_seconds="1.5")
    assert one.http.get("/health/ready").status_code == 200
    one.process.send_signal(signal.SIGTERM)
    ready = until(
        lambda: (r := one.http.get("/health/ready")).status_code == 503 and r, 2, "the announcement"
    )
    assert ready.json()["status"] == "draining"
    assert one.chat().status_code == 200  # still serving
    assert one.process.wait(10) in (0, -15)
