"""The ledger itself: exact, idempotent, append-only, and closed to everybody but its functions."""

from __future__ import annotations

import itertools
import json

import psycopg
import pytest

from tests.gateway.ledger_calls import audit, new, reserve, settle, totals
from tests.gateway.stand import LEDGER, ROOT


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
    assert all('search_path=""' in config for _, _, config in rows)


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
