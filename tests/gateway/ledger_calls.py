"""What tests ask of the ledger's functions, and what it holds."""

from __future__ import annotations

import json
import uuid


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
