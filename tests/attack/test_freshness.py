"""Attacks on time: stale, from the future, frozen, used twice, edited after the fact."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.environment.gate import Freeze
from tests.attack.stand import NOW, OTHER_RUNNER, REPORT, RUNNER, Stand

Payload = dict[str, Any]
NO_KEY = "is signed by no key that production accepts for staging"


def predicate(**changes: object) -> Callable[[Payload], None]:
    return lambda payload: payload["predicate"].update(changes)


# --- when ------------------------------------------


def test_stale(honest: Stand) -> None:
    stand = replace(honest, now=NOW + dt.timedelta(hours=11, minutes=1))
    stand.is_denied_only_for("it is 12.0 hours old; at most 12 are accepted")


def test_an_old_run_that_ended_just_now(honest: Stand) -> None:
    honest.ran(predicate(startedOn="2026-03-01T00:00:00Z")).is_denied("84.0 hours old")


def test_from_the_future(honest: Stand) -> None:
    stand = honest.ran(predicate(finishedOn="2026-03-04T13:00:00Z"))
    stand.is_denied("it is from the future, by 3600 s (set the clocks")


def test_a_clock_that_is_more_than_a_minute_ahead(honest: Stand) -> None:
    honest.ran(predicate(finishedOn="2026-03-04T12:01:01Z")).is_denied("from the future, by 61 s")


def test_ended_before_it_began(honest: Stand) -> None:
    honest.ran(predicate(finishedOn="2026-03-04T10:00:00Z")).is_denied("the run ended before it began")


@pytest.mark.parametrize("time", ["2026-13-04T10:00:00Z", "2026-02-30T10:00:00Z"])
def test_a_time_that_does_not_exist(honest: Stand, time: str) -> None:
    honest.ran(predicate(finishedOn=time)).is_denied("a time that does not exist")


@pytest.mark.parametrize("time", ["2026-03-04T11:00:00+00:00", "yesterday", "2026-03-04 11:00:00"])
def test_a_time_in_another_form(honest: Stand, time: str) -> None:
    honest.ran(predicate(finishedOn=time)).is_denied("predicate.finishedOn")


def test_a_freeze(honest: Stand) -> None:
    freeze = Freeze(
        reason="the year ends", starts=NOW - dt.timedelta(hours=1), ends=NOW + dt.timedelta(hours=1)
    )
    honest.gate(freezes=(freeze,)).is_denied_only_for(
        "nothing is let in until 2026-03-04 13:00 UTC: the year"
    )
    honest.gate(freezes=(Freeze(reason="no Wednesdays", days=("wed",)),)).is_denied_only_for(
        "no Wednesdays"
    )


@pytest.mark.parametrize(
    ("freeze", "until"),
    [
        ({"starts": NOW}, "until the freeze is lifted (it has no end)"),
        (
            {"days": ("wed", "thu"), "ends": NOW + dt.timedelta(days=9)},
            "until 2026-03-06 00:00 UTC (on wed",
        ),
        ({"ends": NOW + dt.timedelta(hours=2), "days": ("wed",)}, "until 2026-03-04 14:00 UTC (on wed)"),
        ({"ends": dt.datetime.fromisoformat("2026-03-04T18:00:00+02:00")}, "until 2026-03-04 16:00 UTC"),
    ],
    ids=["endless", "days", "its last day", "offset"],
)
def test_a_freeze_says_when_it_is_over(honest: Stand, freeze: dict[str, Any], until: str) -> None:
    frozen = Freeze(reason="the year ends", **freeze)
    honest.gate(freezes=(frozen,)).is_denied_only_for(f"nothing is let in {until}")


# --- used twice, and the report ------------------------------------------


def test_a_replayed_promotion(honest: Stand) -> None:
    used = {honest.promotion: "begun yesterday by pipeline; it ended: GO"}
    replace(honest, used=used).is_denied_only_for("was used already: begun yesterday by pipeline")


def test_killed_between_deploy_and_evidence(honest: Stand) -> None:
    used = {honest.promotion: "begun 02:10 by pipeline; it never ended: it was killed"}
    replace(honest, used=used).is_denied_only_for("it never ended: it was killed")


def test_an_edited_report(honest: Stand) -> None:
    stand = honest.carrying(honest.evidence.raw, REPORT.replace(b"GO", b"go"))
    stand.is_denied("the report is not the one that it was signed with", "0 of 1 approvals")


def test_a_report_that_is_gone(honest: Stand) -> None:
    honest.carrying(honest.evidence.raw, None).is_denied("the report that it was signed with is missing")


def test_two_runners_are_asked_for_and_both_have_signed(honest: Stand) -> None:
    stand = replace(honest.gate(signatures=2).ran(signers=[RUNNER, OTHER_RUNNER]), approvals=[])
    stand.approved().is_let_in()
