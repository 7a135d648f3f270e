"""The ledger itself: exact, idempotent, append-only, and closed to everybody but its functions."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import threading
import uuid

import psycopg
import pytest

from harness.providers.selfhosted.bootstrap import scratch_database
from harness.secrets import Secret
from tests.gateway.stand import LEDGER, ROOT


@pytest.fixture(scope="module")
def own(cluster):
    """A database of its own, whose ledger may be tampered with; yields its owner's connection string."""
    with scratch_database(cluster.dsn("postgres", Secret("postgres-password")), "ledger") as dsn:
        with psycopg.connect(dsn) as connection:
            for migration in LEDGER:
                connection.execute(migration.read_bytes())
        yield dsn


@pytest.fixture
def owner(own):
    """Its owner, in a transaction that is rolled back."""
    with psycopg.connect(own) as connection:
        yield connection
        connection.rollback()


def reserve(connection, *requests, **limits):
    batch = {"ttl": 60, "user_tokens": 1000, "user_concurrency": 5, "thinking_tokens": 1500, **limits}
    listed = [
        {"id": one, "user": user, "model": model, "tokens": tokens, "request_id": "r"}
        for one, user, model, tokens in requests
    ]
    query = "select usage.reserve(%s)"
    return connection.execute(query, [json.dumps({**batch, "requests": listed})]).fetchone()[0]


def settle(connection, *settlements):
    listed = [
        {"id": one, "prompt": prompt, "completion": completion, "outcome": "done"}
        for one, prompt, completion in settlements
    ]
    return connection.execute("select usage.settle(%s)", [json.dumps(listed)]).fetchone()[0]


def new():
    return str(uuid.uuid4())


def totals(connection, scope):
    query = (
        "select used, held from usage.totals where scope = %s and day = (now() at time zone 'utc')::date"
    )
    return connection.execute(query, [scope]).fetchone()


def audit(connection):
    return connection.execute("select problem from usage.audit()").fetchall()


def test_one_batch_decides_in_order(owner):
    a, b = new(), new()
    answers = reserve(
        owner,
        (new(), a, "instant", 600),
        (new(), a, "instant", 600),
        (new(), a, "thinking", 400),
        (new(), b, "thinking", 1000),
        (new(), b, "thinking", 200),
        (new(), b, "instant", 1),
    )
    assert answers == ["ok", "user_tokens", "ok", "ok", "user_tokens", "user_tokens"]
    assert totals(owner, a) == (0, 1000) and totals(owner, "thinking") == (0, 1400)
    assert reserve(owner, (new(), new(), "thinking", 101)) == ["thinking_tokens"]
    assert audit(owner) == []


def test_settling_is_idempotent_and_books_late_actuals(owner):
    user, one, two = new(), new(), new()
    reserve(owner, (one, user, "thinking", 100), (two, user, "instant", 100))
    assert settle(owner, (one, 7, 3), (one, 7, 3)) == []
    assert settle(owner, (one, 70, 30)) == []
    assert totals(owner, user) == (10, 100) and totals(owner, "thinking") == (10, 0)
    owner.execute("update usage.reservations set expires_at = now() - interval '1 s'")
    assert owner.execute("select usage.sweep()").fetchone() == (1,)
    assert owner.execute("select usage.sweep()").fetchone() == (0,)
    assert totals(owner, user) == (10, 0)
    assert settle(owner, (two, 5, 5)) == [] and settle(owner, (two, 5, 5)) == []
    assert totals(owner, user) == (20, 0)
    stranger = new()
    assert [str(found) for found in settle(owner, (stranger, 1, 1))] == [stranger]
    assert audit(owner) == []


def test_renewal_and_expiry_of_concurrency(owner):
    user = new()
    ids = [new() for _ in range(3)]
    limits = {"user_concurrency": 2, "ttl": 2}
    assert reserve(owner, *((one, user, "instant", 1) for one in ids), **limits) == [
        "ok",
        "ok",
        "user_concurrency",
    ]
    owner.execute(
        "update usage.reservations set expires_at = now() - interval '1 s' where id = %s", [ids[0]]
    )
    assert reserve(owner, (new(), user, "instant", 1), **limits) == ["ok"]
    assert owner.execute("select usage.renew(%s::uuid[], 60)", [ids]).fetchone() == (2,)


TAMPERED = {
    "a total lowered": "update usage.totals set used = 0 where scope <> 'thinking'",
    "the budget lowered": "update usage.totals set used = 0 where scope = 'thinking'",
    "held lowered": "update usage.totals set held = 0",
    "an entry changed": "update usage.entries set completion_tokens = 1 where kind = 'settled'",
    "an entry and its total changed": """update usage.entries set completion_tokens = completion_tokens - 1;
        update usage.totals t set used = (select sum(prompt_tokens + completion_tokens) from usage.entries e
          where t.scope in (e.user_id::text, e.model))""",
    "the last entry deleted": "delete from usage.entries where id = (select max(id) from usage.entries)",
    "an entry deleted, totals made to fit": """delete from usage.entries
          where id = (select max(id) from usage.entries);
        update usage.totals t set used = (select sum(prompt_tokens + completion_tokens) from usage.entries e
          where t.scope in (e.user_id::text, e.model))""",
    "a total deleted": "delete from usage.totals where scope = 'thinking'",
    "a reservation deleted": "delete from usage.reservations",
}


@pytest.mark.parametrize("name", TAMPERED)
def test_tampering_shows(owner, name):
    user, ids = new(), [new() for _ in range(4)]
    reserve(owner, *((one, user, "thinking", 100) for one in ids))
    settle(owner, *((one, 7, 5) for one in ids[:3]))
    assert audit(owner) == []
    owner.execute("alter table usage.entries disable trigger all")
    owner.execute(TAMPERED[name])
    assert audit(owner) != []


def test_entries_are_append_only_even_for_their_owner(owner):
    user, one = new(), new()
    reserve(owner, (one, user, "instant", 10))
    settle(owner, (one, 1, 1))
    for statement in (
        "update usage.entries set prompt_tokens = 0",
        "delete from usage.entries",
        "truncate usage.entries",
    ):
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"),
            owner.transaction(),
        ):
            owner.execute(statement)


FORBIDDEN = [
    "select * from usage.totals",
    "select * from usage.entries",
    "select * from usage.reservations",
    "select * from usage.switches",
    "update usage.switches set open = true",
    "insert into usage.totals (scope, day) values ('x', now())",
    "delete from usage.totals",
    "select usage.audit()",
    "select usage.lock_totals('{}', '{}')",
    "select usage.lock_totals('{}', '{}', '{}')",
    "select usage.told(null, '{}')",
    "select * from usage.settled_sums('[]')",
    "select usage.settle_locked('[]')",
    "select usage.link('', null, '', null, '', null, 1, 1, 1)",
    "create table usage.mine (x int)",
    "create function usage.mine() returns int language sql as 'select 1'",
    "create table public.mine (x int)",
    "set role postgres",
    "set role service_role",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_the_gateway_may_only_call_its_functions(gateway_url, statement):
    with psycopg.connect(gateway_url) as connection:
        assert connection.execute("select usage.ping()").fetchone() == ([],)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
@pytest.mark.parametrize(
    "call",
    [
        "usage.reserve('{}')",
        "usage.settle('[]')",
        "usage.exchange('[]', '{}')",
        "usage.renew('{}', 1)",
        "usage.sweep()",
        "usage.ping()",
        "usage.audit()",
    ],
)
def test_nobody_else_may_call_them(own, role, call):
    with psycopg.connect(own) as connection:
        connection.execute(f"set local role {role}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(f"select {call}")


def test_users_see_their_own_usage_only(owner):
    alice, bob = new(), new()
    for user, tokens in ((alice, 3), (bob, 5)):
        one = new()
        reserve(owner, (one, user, "thinking", 100))
        settle(owner, (one, tokens, tokens))
    for user, seen in ((alice, [(6, 0)]), (bob, [(10, 0)]), (new(), [])):
        claims = json.dumps({"sub": user, "role": "authenticated"})
        owner.execute("select set_config('request.jwt.claims', %s, true)", [claims])
        owner.execute("set local role authenticated")
        query = "select tokens_used, tokens_reserved from public.my_usage"
        assert owner.execute(query).fetchall() == seen
        assert len(owner.execute("select scope from usage.totals").fetchall()) == len(seen)
        owner.execute("reset role")
    owner.execute("set local role anon")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        owner.execute("select * from public.my_usage")


def test_definer_functions_have_a_fixed_search_path(owner):
    query = """select proname, prosecdef, proconfig from pg_proc
        where pronamespace = 'usage'::regnamespace"""
    rows = owner.execute(query).fetchall()
    assert {name for name, definer, _ in rows if definer} == {
        "exchange",
        "reserve",
        "settle",
        "renew",
        "sweep",
        "ping",
    }
    assert all(config == ['search_path=""'] for _, _, config in rows)


def test_the_rollback_reverses_the_migration(owner):
    for migration in reversed(LEDGER):
        owner.execute((ROOT / "supabase/rollbacks" / migration.name).read_bytes())
    left = owner.execute("select to_regnamespace('usage'), to_regclass('public.my_usage')").fetchone()
    assert left == (None, None)
    for migration in LEDGER:
        owner.execute(migration.read_bytes())
    assert audit(owner) == []


def test_each_rollback_brings_back_the_functions_of_before(owner):
    """To the letter, with who may call them: a gateway of the release before finds what it knows."""

    def functions():
        query = "select oid::regprocedure::text, pg_get_functiondef(oid), proacl::text from pg_proc"
        return owner.execute(f"{query} where pronamespace = 'usage'::regnamespace order by 1").fetchall()

    states = [functions()]
    for migration in reversed(LEDGER[1:]):
        owner.execute((ROOT / "supabase/rollbacks" / migration.name).read_bytes())
        states.append(functions())
    for migration, (before, after) in zip(LEDGER[1:], itertools.pairwise(states[::-1]), strict=True):
        assert functions() == before != after
        owner.execute(migration.read_bytes())
        assert functions() == after


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
