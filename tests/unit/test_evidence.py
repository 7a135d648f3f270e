"""Evidence: what passes, what it refuses to be, and that it is redacted when it is built."""

from __future__ import annotations

import dataclasses
import json

import pytest

from harness.evidence import Evidence, Finding, Verdict, blocked, holds, judge, refuted, unreachable
from harness.secrets import MASK, Secret

FINDING = Finding(expected="401", observed="200", where="POST /v1/chat", remedy="check the key")
SENTINEL = Secret("evidence-s3ntinel-value", "env:KEY")


def test_only_holds_and_waived_pass() -> None:
    assert {verdict for verdict in Verdict if verdict.passes} == {Verdict.HOLDS, Verdict.WAIVED}
    assert {str(verdict) for verdict in Verdict} == {"holds", "refuted", "unreachable", "blocked", "waived"}


def test_judge_holds_without_findings_and_is_refuted_by_all_of_them() -> None:
    assert judge("seen", [], count=3) == holds("seen", count=3)
    evidence = judge("seen", [FINDING, FINDING])
    assert evidence.verdict is Verdict.REFUTED
    assert evidence.findings == (FINDING, FINDING)
    assert evidence.summary == "POST /v1/chat: 200 (and 1 more)"


def test_refuted_without_a_finding_and_holds_with_one_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="refuted evidence needs a finding"):
        refuted("no reason")
    with pytest.raises(ValueError, match="evidence with findings cannot hold"):
        Evidence(Verdict.HOLDS, "fine", findings=(FINDING,))


def test_unreachable_names_the_error_and_blocked_the_reason() -> None:
    assert unreachable("http://x", ConnectionRefusedError("refused")).summary == (
        "http://x: ConnectionRefusedError: refused"
    )
    assert unreachable("http://x", TimeoutError()).summary == "http://x: TimeoutError"
    assert blocked("no provider").verdict is Verdict.BLOCKED


def test_everything_in_it_is_redacted_when_it_is_built() -> None:
    value = SENTINEL.reveal()
    evidence = judge(
        "unused",
        [Finding(expected=value, observed=f"x {value}", where=f"/?k={value}", remedy=value)],
        **{value: [value, {"deep": value.encode().hex()}]},
    )
    text = json.dumps(evidence.as_dict()) + repr(evidence) + str(evidence.findings[0])
    assert value not in text
    assert value.encode().hex() not in text
    assert MASK in text
    assert value not in repr(unreachable("http://x", ValueError(value)))
    assert value not in repr(blocked(value))
    assert value not in repr(dataclasses.replace(holds("fine"), summary=value))


def test_a_secret_as_a_fact_shows_its_reference() -> None:
    assert holds("fine", key=SENTINEL).facts["key"] == "Secret(env:KEY)"


def test_the_serialised_form_is_json_and_complete() -> None:
    evidence = dataclasses.replace(
        judge("x", [FINDING], at={1, 2}, error=ValueError("odd")),
        check="a.b",
        component="web",
        seconds=1.23456,
    )
    again = json.loads(json.dumps(evidence.as_dict()))
    assert again == {
        "check": "a.b",
        "component": "web",
        "verdict": "refuted",
        "summary": "POST /v1/chat: 200",
        "seconds": 1.235,
        "findings": [
            {"expected": "401", "observed": "200", "where": "POST /v1/chat", "remedy": "check the key"}
        ],
        "facts": {"at": [1, 2], "error": "odd"},
    }


def test_a_finding_reads_as_four_lines() -> None:
    assert str(FINDING).splitlines() == [
        "expected  401",
        "observed  200",
        "where     POST /v1/chat",
        "to do     check the key",
    ]
