"""Waivers: what they cover, when they run out, what they never touch."""

from __future__ import annotations

import datetime as dt

import pytest

from harness.environment import Waiver
from harness.evidence import Evidence, Finding, Verdict, blocked, holds, refuted, unreachable
from harness.waivers import Waivers

TODAY = dt.date(2026, 6, 15)


def finding(check: str = "gateway.ready") -> Evidence:
    found = refuted("it is off", Finding("on", "off", "the gateway", "turn it on"))
    return Evidence(found.verdict, found.summary, found.findings, check=check)


def waivers(check: str = "gateway.ready", expires: dt.date = TODAY) -> Waivers:
    return Waivers([Waiver(check=check, reason="mended next week", owner="ada", expires=expires)], TODAY)


@pytest.mark.parametrize("check", ["gateway.ready", "GW-3"])
def test_a_waiver_covers_a_check_or_an_item(check: str) -> None:
    made = waivers(check)
    evidence = made.apply(finding(), ("GW-3",))
    assert evidence.verdict is Verdict.WAIVED
    assert evidence.summary == "waived by ada until 2026-06-15: mended next week (it is off)"
    assert evidence.findings, "what is waived is still told"
    assert made.used == [
        "gateway.ready: waived by ada until 2026-06-15: mended next week (the gateway: off)"
    ]
    assert made.expired() == []


def test_asked_twice_it_is_listed_once() -> None:
    made = waivers()
    made.apply(finding())
    made.apply(finding())
    assert len(made.used) == 1


def test_it_covers_nothing_else() -> None:
    made = waivers()
    assert made.apply(finding("web.build"), ("WEB-1",)).verdict is Verdict.REFUTED
    assert made.used == []


@pytest.mark.parametrize("evidence", [holds("fine"), unreachable("x", "down"), blocked("before")])
def test_only_a_finding_can_be_waived(evidence: Evidence) -> None:
    made = Waivers([Waiver(check="c", reason="mended next week", owner="ada", expires=TODAY)], TODAY)
    asked = Evidence(evidence.verdict, evidence.summary, check="c")
    assert made.apply(asked) is asked


def test_it_runs_out_after_its_last_day() -> None:
    made = waivers(expires=TODAY - dt.timedelta(days=1))
    assert made.apply(finding()).verdict is Verdict.REFUTED
    assert made.expired() == ["the waiver of gateway.ready by ada ran out on 2026-06-14: mend or renew it"]


def test_a_waiver_of_something_unknown() -> None:
    [problem] = waivers("gateway.raedy").unknown({"gateway.ready", "web.build"})
    assert str(problem) == "waivers: there is no check 'gateway.raedy' (did you mean gateway.ready?)"
    assert waivers().unknown({"gateway.ready"}) == []


def two_findings() -> Evidence:
    places = ("public.notes", "public.secrets")
    found = refuted("two", *(Finding("on", f"{place} is open", place, "close it") for place in places))
    return Evidence(found.verdict, found.summary, found.findings, check="gateway.ready")


def waiver(where: str | None) -> Waiver:
    return Waiver(check="gateway.ready", reason="mended next week", owner="ada", expires=TODAY, where=where)


def test_a_place_narrows_a_waiver_to_findings_there() -> None:
    made = Waivers([waiver("public.notes")], TODAY)
    assert made.apply(two_findings()).verdict is Verdict.REFUTED, "the other table is nobody's to waive"
    assert made.used == []
    both = Waivers([waiver("public.notes"), waiver("*secrets")], TODAY)
    assert both.apply(two_findings()).verdict is Verdict.WAIVED
    assert Waivers([waiver("public.*")], TODAY).apply(two_findings()).verdict is Verdict.WAIVED
    assert Waivers([waiver("public.note[s]")], TODAY).apply(two_findings()).verdict is Verdict.REFUTED


def test_each_waived_finding_is_listed() -> None:
    made = Waivers([waiver(None)], TODAY)
    made.apply(two_findings())
    assert [line.partition("(")[2] for line in made.used] == [
        "public.notes: public.notes is open)",
        "public.secrets: public.secrets is open)",
    ]
