"""Reserving in fewer statements answers, holds and counts as it did in more."""

from __future__ import annotations

import json
import random
import uuid

from tests.gateway.stand import ROOT

BEFORE = ROOT / "supabase" / "rollbacks" / "20261128000200_usage_reserve.sql"
STATE = """select
    (select json_agg(row(scope, day, used, held) order by scope, day)::text from usage.totals),
    (select json_agg(row(id, user_id, model, day, tokens, expires_at) order by id)::text
       from usage.reservations)"""


def _batch(users, chance):
    requests = [
        {
            "id": uuid.UUID(int=chance.getrandbits(128)).hex,
            "user": chance.choice(users),
            "model": chance.choice(["instant", "instant", "thinking"]),
            "tokens": chance.randint(1, 60),
            "request_id": "r",
        }
        for _ in range(chance.choice([0, 1, 1, 2, 5]))
    ]
    limits = {"ttl": 60, "user_tokens": 400, "user_concurrency": 9, "thinking_tokens": 300}
    return json.dumps({"durable": chance.random() < 0.5, **limits, "requests": requests})


def _tried(owner, function, batch):
    """What ``function`` answers to ``batch``, and what it leaves behind; nothing stays."""
    with owner.transaction(force_rollback=True):
        answers = owner.execute(f"select usage.{function}(%s)", [batch]).fetchone()[0]
        return answers, owner.execute(STATE).fetchone()


def test_the_same_answers_as_before(owner):
    before = BEFORE.read_text().replace("function usage.reserve(", "function usage.reserve_before(")
    owner.execute(before)
    chance = random.Random(7)  # noqa: S311 - the same batches every time
    users = [str(uuid.UUID(int=chance.getrandbits(128))) for _ in range(8)]
    seen = set()
    for number in range(120):
        closed = {40: "thinking", 60: "gateway"}.get(number)
        owner.execute("update usage.switches set open = name is distinct from %s", [closed])
        batch = _batch(users, chance)
        now = _tried(owner, "reserve", batch)
        assert now == _tried(owner, "reserve_before", batch), batch
        seen.update(now[0])
        owner.execute("select usage.reserve(%s)", [batch])
        if number % 10 == 9:
            owner.execute(
                "update usage.reservations set expires_at = now() - interval '1 s' where tokens > 30"
            )
    assert seen == {"ok", "paused", "user_concurrency", "user_tokens", "thinking_tokens"}
