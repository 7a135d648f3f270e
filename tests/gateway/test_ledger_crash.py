"""PostgreSQL is killed between reservation and settlement: whatever was used is booked, and once."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import shutil
import signal
import socket
import tempfile
import threading
import uuid
from pathlib import Path

import psutil
import psycopg
import pytest

from harness.providers.local.postgres import EmbeddedPostgres
from harness.providers.selfhosted.bootstrap import bootstrap, set_passwords
from harness.secrets import Secret
from tests.gateway.stand import LEDGER, bearer, body, until

PASSWORD = Secret("crash-password-0123456789")
LIMITS = {"ttl": 60, "user_tokens": 1000, "user_concurrency": 5, "thinking_tokens": 1500}


class Server:
    """A PostgreSQL that writes to its disk as in production, and can be killed before it does."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self.server = server
        self.running = server.running

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.server.dsn("postgres", PASSWORD), autocommit=True)

    def hold_the_writer(self) -> None:
        """From now on only a commit that waits for the disk reaches it."""
        with psycopg.connect(self.server.dsn(), autocommit=True) as superuser:
            superuser.execute("checkpoint")
            (pid,) = superuser.execute(
                "select pid from pg_stat_activity where backend_type = 'walwriter'"
            ).fetchone()
        os.kill(pid, signal.SIGSTOP)

    def crash(self) -> None:
        postmaster = psutil.Process(int((self.server.data / "postmaster.pid").read_text().split()[0]))
        processes = [postmaster, *postmaster.children()]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=10)


@pytest.fixture(scope="module")
def postgres():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    directory = Path(tempfile.mkdtemp(prefix="gateway-crash-"))
    server = EmbeddedPostgres(directory, port, Secret("superuser-password"))
    with server.running():
        bootstrap(server)
        set_passwords(server, {"postgres": PASSWORD})
        with psycopg.connect(server.dsn("postgres", PASSWORD)) as connection:
            for migration in LEDGER:
                connection.execute(migration.read_bytes())
        set_passwords(server, {"gateway": PASSWORD})
        with psycopg.connect(server.dsn(), autocommit=True) as superuser:
            superuser.execute("alter system set autovacuum = off")  # it would write for everybody
    yield Server(server)
    server.destroy()
    shutil.rmtree(directory, ignore_errors=True)


def request(user, model="instant", tokens=100):
    return {"id": str(uuid.uuid4()), "user": user, "model": model, "tokens": tokens, "request_id": "r"}


def reserve(connection, *requests, **more):
    payload = json.dumps({**LIMITS, **more, "requests": requests})
    return connection.execute("select usage.reserve(%s)", [payload]).fetchone()[0]


def settlement(asked, *, told=True):
    held = {**asked, "day": today()} if told else None
    return {"id": asked["id"], "prompt": 7, "completion": 3, "outcome": "done", "held": held}


def settle(connection, *settlements):
    found = connection.execute("select usage.settle(%s)", [json.dumps(settlements)]).fetchone()[0]
    return [str(one) for one in found]


def today():
    return dt.datetime.now(dt.UTC).date().isoformat()


def sums(connection, scope):
    query = "select used, held from usage.totals where scope = %s"
    return connection.execute(query, [scope]).fetchone()


def outcomes(connection, user):
    query = "select kind, outcome, reserved from usage.entries where user_id = %s order by id"
    return connection.execute(query, [user]).fetchall()


def test_what_a_crash_took_away_is_booked_from_its_settlement(postgres):
    user = str(uuid.uuid4())
    asked, thought, untold = request(user), request(user, "thinking"), request(user)
    with postgres.running():
        postgres.hold_the_writer()
        with postgres.connect() as connection:
            assert reserve(connection, asked, thought, untold, durable=False) == ["ok"] * 3
            assert sums(connection, user) == (0, 300)
            postgres.crash()
    with postgres.running(), postgres.connect() as connection:
        assert sums(connection, user) is None, "the crash took nothing away: this test proves nothing"
        assert settle(connection, settlement(asked), settlement(thought)) == []
        assert settle(connection, settlement(asked), settlement(thought)) == []  # and once
        assert settle(connection, settlement(untold, told=False)) == [untold["id"]]
        assert sums(connection, user) == (20, 0)
        assert sums(connection, "thinking")[1] == 0
        assert outcomes(connection, user) == [("settled", "lost:done", 100)] * 2
        assert connection.execute("select * from usage.audit()").fetchall() == []


@pytest.mark.parametrize("how", ["not asked for less", "settled in the same call", "settled after it"])
def test_what_must_last_lasts(postgres, how):
    """A gateway that knows nothing of lost reservations still waits for the disk; so does what books."""
    user = str(uuid.uuid4())
    first, asked = request(user), request(user)
    with postgres.running():
        with postgres.connect() as connection:
            assert reserve(connection, first) == ["ok"]
        postgres.hold_the_writer()
        with postgres.connect() as connection:
            if how == "not asked for less":
                assert reserve(connection, asked) == ["ok"]
            elif how == "settled in the same call":
                batch = json.dumps({**LIMITS, "durable": False, "requests": [asked]})
                query = "select answers from usage.exchange(%s, %s)"
                row = connection.execute(query, [json.dumps([settlement(first)]), batch]).fetchone()
                assert row == (["ok"],)
            else:
                assert reserve(connection, asked, durable=False) == ["ok"]
                assert settle(connection, settlement(first)) == []
            postgres.crash()
    with postgres.running(), postgres.connect() as connection:
        used = 0 if how == "not asked for less" else 10
        assert sums(connection, user) == (used, 200 if not used else 100)
        assert settle(connection, settlement(first), settlement(asked)) == []
        assert sums(connection, user) == (20, 0)
        assert {outcome for _, outcome, _ in outcomes(connection, user)} == {"done"}
        assert connection.execute("select * from usage.audit()").fetchall() == []


def test_a_request_that_outlives_the_database_is_booked(postgres, start, user):
    """End to end: the gateway's own calls, and an answer that comes while PostgreSQL is down."""
    url = f"postgresql://gateway:{PASSWORD.reveal()}@127.0.0.1:{postgres.server.port}/postgres"
    answers = []
    with postgres.running():
        one = start(database=url, timeout_database_seconds="1")
        assert one.chat(user=str(uuid.uuid4())).status_code == 200
        with postgres.connect() as connection:
            until(lambda: not connection.execute("select from usage.reservations").fetchall(), 5)
            postgres.hold_the_writer()

            def ask():
                sent = body("wait 1.5", stream=True)
                answers.append(one.http.post("/v1/chat/completions", json=sent, headers=bearer(user)))

            asking = threading.Thread(target=ask)
            asking.start()
            until(lambda: sums(connection, user), 30, "the reservation")
            postgres.crash()
        asking.join(10)
        assert answers[0].status_code == 200 and "[DONE]" in answers[0].text
    with postgres.running(), postgres.connect() as connection:
        until(lambda: outcomes(connection, user), 30, "the booking")
        assert [outcome for _, outcome, _ in outcomes(connection, user)] == ["lost:done"]
        assert sums(connection, user) == (10, 0)
        assert connection.execute("select * from usage.audit()").fetchall() == []
        until(lambda: one.chat(user=user).status_code == 200, 30, "recovery")
