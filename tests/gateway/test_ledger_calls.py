"""The ledger's calls: settling and reserving in one, and settling what the ledger has lost."""

from __future__ import annotations

import datetime as dt
import json
import threading

import psycopg
import pytest

from tests.gateway.ledger_calls import audit, new, reserve, totals

# --- settling and reserving in one call --------------------------------------------------------------


def exchange(connection, settlements, *requests, **limits):
    batch = {"ttl": 60, "user_tokens": 1000, "user_concurrency": 5, "thinking_tokens": 1500, **limits}
    listed = [
        {"id": one, "user": user, "model": model, "tokens": tokens, "request_id": "r"}
        for one, user, model, tokens in requests
    ]
    used = [{"id": one, "prompt": p, "completion": c, "outcome": "done"} for one, p, c in settlements]
    query = "select unknown, answers from usage.exchange(%s, %s)"
    return connection.execute(
        query, [json.dumps(used), json.dumps({**batch, "requests": listed})]
    ).fetchone()


def test_what_is_settled_is_free_for_what_is_reserved_in_the_same_call(owner):
    user, first, second = new(), new(), new()
    assert reserve(owner, (first, user, "instant", 900), user_concurrency=1) == ["ok"]
    assert reserve(owner, (second, user, "instant", 900), user_concurrency=1) == ["user_concurrency"]
    unknown, answers = exchange(
        owner, [(first, 10, 20)], (second, user, "instant", 900), user_concurrency=1
    )
    assert (unknown, answers) == ([], ["ok"])
    assert totals(owner, user) == (30, 900)
    assert audit(owner) == []


def test_an_exchange_says_what_it_does_not_know_and_still_reserves(owner):
    user, one, strange = new(), new(), new()
    unknown, answers = exchange(owner, [(strange, 1, 1)], (one, user, "thinking", 10))
    assert [str(x) for x in unknown] == [strange]
    assert answers == ["ok"]
    assert totals(owner, user) == (0, 10)
    assert audit(owner) == []


def test_exchanges_in_opposite_directions_do_not_wait_for_each_other(own):
    """Each of two callers settles what the other one is about to reserve for: a classic deadlock."""
    users = sorted(new() for _ in range(2))
    failures: list[BaseException] = []

    def keep_exchanging(mine, theirs):
        try:
            with psycopg.connect(own, autocommit=True) as connection:
                last = None
                for _ in range(60):
                    one = new()
                    settled = [(last, 1, 1)] if last else []
                    _, answers = exchange(
                        connection,
                        settled,
                        (one, mine, "instant", 1),
                        user_tokens=10**6,
                        user_concurrency=500,
                    )
                    assert answers == ["ok"]
                    last, mine, theirs = one, theirs, mine
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=keep_exchanging, args=pair)
        for pair in (users, users[::-1], users, users[::-1])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []
    with psycopg.connect(own) as connection:
        assert audit(connection) == []


# --- settling what the ledger has lost -----------------------------------------------------------------


def told(user, model="instant", tokens=100, days=0, **more):
    """What a settlement says of its reservation; ``days`` is how far its day is from today."""
    day = dt.datetime.now(dt.UTC).date() + dt.timedelta(days)
    held = {"user": user, "model": model, "tokens": tokens, "request_id": "r", "day": day.isoformat()}
    return held | more


def settle_told(connection, *settlements):
    listed = [
        {"id": one, "prompt": 7, "completion": 3, "outcome": "done", "held": held}
        for one, held in settlements
    ]
    found = connection.execute("select usage.settle(%s)", [json.dumps(listed)]).fetchone()[0]
    return [str(one) for one in found]


def entries(connection, user):
    query = "select model, day - (now() at time zone 'utc')::date, outcome, reserved from usage.entries"
    return connection.execute(query + " where user_id = %s order by id", [user]).fetchall()


@pytest.mark.parametrize(("days", "booked_on"), [(0, 0), (-1, -1), (-9, -1), (1, 0)])
def test_a_lost_reservation_is_booked_once_on_its_day(owner, days, booked_on):
    """The day is the reservation's; what a wrong clock says is brought back to one that can be."""
    user, one = new(), new()
    for _ in range(2):
        assert settle_told(owner, (one, told(user, "thinking", days=days))) == []
    assert entries(owner, user) == [("thinking", booked_on, "lost:done", 100)]
    query = "select scope, used, held from usage.totals where scope in (%s, 'thinking') and used > 0"
    assert sorted(owner.execute(query, [user]).fetchall()) == sorted([(user, 10, 0), ("thinking", 10, 0)])
    assert audit(owner) == []


def test_what_is_there_counts_before_what_is_told(owner):
    """A settlement that tells more than was held releases what was held, in the name of who held it."""
    user, other, one, late = new(), new(), new(), new()
    reserve(owner, (one, user, "instant", 100), (late, user, "instant", 100))
    owner.execute("update usage.reservations set expires_at = now() - interval '1 s' where id = %s", [late])
    owner.execute("select usage.sweep()")
    assert settle_told(owner, (one, told(other, tokens=900)), (late, told(other, tokens=900))) == []
    assert [outcome for _, _, outcome, _ in entries(owner, user)] == ["expired", "done", "late:done"]
    assert totals(owner, user) == (20, 0)
    assert entries(owner, other) == []
    assert audit(owner) == []


def test_who_tells_nothing_books_nothing(owner):
    """A gateway that does not know whether its reservation was made must not book by settling it."""
    one = new()
    assert settle_told(owner, (one, None)) == [one]
    assert owner.execute("select from usage.entries where reservation = %s", [one]).fetchall() == []


@pytest.mark.parametrize(
    "wrong",
    [{"user": None}, {"user": "x"}, {"model": "other"}, {"tokens": None}, {"day": None}, {"day": "x"}],
)
def test_what_is_told_wrongly_is_refused(owner, wrong):
    with pytest.raises(psycopg.errors.DataError), owner.transaction():
        settle_told(owner, (new(), told(new()) | wrong))


def test_two_who_settle_the_same_lost_requests_book_them_once(own):
    """A gateway that got no answer settles again while its first call still waits, in whatever order."""
    users = [new() for _ in range(4)]
    ids = [new() for _ in users]
    pairs = [(one, told(user, "thinking", days=-1)) for one, user in zip(ids, users, strict=True)]
    failures = []

    def keep_settling(mine):
        try:
            with psycopg.connect(own, autocommit=True) as connection:
                for _ in range(20):
                    settle_told(connection, *mine)
                    again = [(new(), held) for _, held in mine]
                    exchange(
                        connection, [], (new(), mine[0][1]["user"], "instant", 1), user_concurrency=500
                    )
                    settle_told(connection, *again)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=keep_settling, args=(one,)) for one in (pairs, pairs[::-1]) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []
    with psycopg.connect(own) as connection:
        query = "select count(*) from usage.entries where reservation = any(%s::uuid[])"
        assert connection.execute(query, [ids]).fetchone() == (4,)
        assert audit(connection) == []
