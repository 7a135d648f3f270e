"""A hosted project's backups, old, missing and failed, behind a double of the Management API."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from harness.checks import backup_age
from harness.evidence import Verdict
from harness.stack import Stack
from tests.management_api import TOKEN, answer, backup, continuous, daily, hosted_stack
from tests.supabase_proof import holds, refutes, told


@pytest.fixture
def hosted(tmp_path, monkeypatch):
    """Makes the stack of a hosted project that answers ``body``."""

    def make(body: Any, status: int = 200, **changes: Any) -> Stack:
        return hosted_stack(answer(body, status), tmp_path, monkeypatch, **changes)

    return make


def test_an_old_backup_is_seen(hosted) -> None:
    holds(backup_age.fresh, hosted(daily(backup(29.5), backup(53))))
    refutes(
        backup_age.fresh,
        hosted(daily(backup(31), backup(53))),
        "at most 30 h old",
        "31.0 h old",
        "/v1/projects/stagingchatprojectxy/database/backups",
    )


def test_no_backup_at_all_is_seen(hosted) -> None:
    refutes(backup_age.fresh, hosted(daily()), "the newest completed daily backup: there is none")
    refutes(backup_age.fresh, hosted(daily(backup(1, "PENDING"))), "there is none")


def test_a_backup_that_failed_is_seen(hosted) -> None:
    refutes(backup_age.fresh, hosted(daily(backup(25), backup(1, "FAILED"))), "did not: FAILED at")
    refutes(backup_age.fresh, hosted(daily(backup(25), backup(1, "NEW_WORD"))), "did not: NEW_WORD at")
    holds(backup_age.fresh, hosted(daily(backup(1), backup(25, "FAILED"), backup(0.1, "PENDING"))))


def test_recovery_that_is_off_is_seen(hosted) -> None:
    refutes(backup_age.fresh, hosted(daily(backup(1)), pitr=True), "point-in-time recovery", "it is off")
    holds(backup_age.fresh, hosted(continuous(1), pitr=True))


def test_recovery_is_judged_by_its_physicalbackup(hosted) -> None:
    """With it on, no daily backups are listed: an empty list says nothing."""
    refutes(backup_age.fresh, hosted(continuous(31), pitr=True), "the latest physical backup", "31.0 h old")
    refutes(backup_age.fresh, hosted(continuous(None), pitr=True), "there is none")


def test_a_backup_from_the_future_is_no_pass(hosted) -> None:
    refutes(backup_age.fresh, hosted(daily(backup(-2))), "still to come")
    holds(backup_age.fresh, hosted(daily(backup(-0.02))))


def test_what_no_backup_holds_is_said(hosted) -> None:
    assert "the files in Storage" in backup_age.fresh(hosted(daily(backup(1)))).summary


@pytest.mark.parametrize(
    ("status", "body", "verdict", "says"),
    [
        (401, {"message": "Unauthorized"}, Verdict.BLOCKED, "the access token is not accepted"),
        (403, {"message": "Forbidden resource"}, Verdict.BLOCKED, "lacks the right to read this"),
        (404, {"message": "Not found"}, Verdict.BLOCKED, "is project_ref right?"),
        (400, {"message": "strange request"}, Verdict.BLOCKED, "strange request"),
        (400, ["strange"], Verdict.BLOCKED, "HTTP 400"),
        (429, {"message": "slow down"}, Verdict.UNREACHABLE, "HTTP 429"),
        (500, {"message": "oh"}, Verdict.UNREACHABLE, "HTTP 500"),
        (503, "<html>", Verdict.UNREACHABLE, "HTTP 503"),
        (200, {"message": "hello"}, Verdict.BLOCKED, "pitr_enabled: Field required"),
        (200, [], Verdict.BLOCKED, "not what this API answers"),
        (200, {**daily(), "backups": "none"}, Verdict.BLOCKED, "backups"),
        (200, daily({"status": "COMPLETED", "inserted_at": "yesterday"}), Verdict.BLOCKED, "is no time"),
    ],
)
def test_an_api_that_refuses_is_no_pass(hosted, status, body, verdict, says) -> None:
    evidence = backup_age.fresh(hosted(body, status))
    assert evidence.verdict is verdict, told(evidence)
    assert says in evidence.summary
    assert "/v1/projects/stagingchatprojectxy/database/backups" in evidence.summary
    assert TOKEN not in told(evidence)


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("no answer within 10 s"),
        httpx.RemoteProtocolError("peer closed connection without sending complete message body"),
    ],
)
def test_an_api_that_does_not_answer_is_an_outage(tmp_path, monkeypatch, error) -> None:
    def answering(request: httpx.Request) -> httpx.Response:
        raise error

    evidence = backup_age.fresh(hosted_stack(answering, tmp_path, monkeypatch))
    assert evidence.verdict is Verdict.UNREACHABLE
    assert str(error) in evidence.summary


def test_an_answer_that_is_cut_off_is_no_pass(tmp_path, monkeypatch) -> None:
    def answering(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=b'{"pitr_enabled": tr')

    evidence = backup_age.fresh(hosted_stack(answering, tmp_path, monkeypatch))
    assert evidence.verdict is Verdict.BLOCKED
    assert "Invalid JSON" in evidence.summary


def test_the_token_is_sent_and_never_shown(tmp_path, monkeypatch) -> None:
    seen = []

    def answering(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(400, json={"message": f"your token {TOKEN} is odd"})

    evidence = backup_age.fresh(hosted_stack(answering, tmp_path, monkeypatch))
    assert seen[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in str(seen[0].url)
    assert TOKEN not in str(evidence.as_dict())
