"""The decision page: what it says, in which order, and that it needs nothing but itself."""

from __future__ import annotations

import copy
import datetime as dt
import html.parser
import re
from typing import Any

import pytest

from harness.sinks.decision_page import previous_go, render
from harness.sinks.markup import Markup, definitions, element, join

NOW = dt.datetime(2026, 1, 2, 6, 0, 0, tzinfo=dt.UTC)
EVIDENCE = {
    "check": "gateway.ready",
    "component": "gateway",
    "verdict": "refuted",
    "summary": "it says <ready> & is not",
    "seconds": 0.2,
    "findings": [{"expected": "200", "observed": "503", "where": "/health/ready", "remedy": "start it"}],
    "facts": {"latency_ms": 3},
}
RUN: dict[str, Any] = {
    "schema": 1,
    "environment": "staging",
    "run": "20260102T030405Z-abc",
    "mode": "deploy",
    "by": "ada on host",
    "revision": "0123456789ab",
    "started": "2026-01-02T03:04:05+00:00",
    "seconds": 61.0,
    "decision": "NO-GO",
    "reasons": ["GW-3 It answers [<a>]: refuted", "web: port taken"],
    "troubles": [],
    "release": {"gateway": "sha256:" + "a" * 64},
    "components": [
        {
            "component": "gateway",
            "verdict": "holds",
            "digest": "sha256:" + "a" * 64,
            "changes": ["started gateway"],
            "reason": "",
            "seconds": 2.0,
        },
        {
            "component": "web",
            "verdict": "refuted",
            "digest": "",
            "changes": [],
            "reason": "web: port taken",
            "seconds": 0.1,
        },
    ],
    "scenarios": [
        {
            "feature": "Gateway",
            "rule": "",
            "name": "It answers",
            "row": "<a>",
            "items": ["GW-3"],
            "where": "features/gateway.feature:4",
            "verdict": "refuted",
            "message": "",
            "evidence": [EVIDENCE],
            "seconds": 0.2,
        }
    ],
    "not_applicable": [
        {"name": "Image", "reason": "no image", "item": "GW-1", "where": "f:1", "feature": "G"}
    ],
    "left_out": [{"name": "Left", "reason": "deselected", "item": "", "where": "f:2", "feature": "G"}],
    "drills_left_out": [
        {"name": "Kill", "reason": "it disturbs", "item": "", "where": "f:3", "feature": "G"}
    ],
    "waived": ["web.build: waived by ada until 2026-02-01: mended soon"],
}


def go(run: str, digest: str) -> dict[str, Any]:
    made = copy.deepcopy(RUN)
    return {
        **made,
        "run": run,
        "decision": "GO",
        "reasons": [],
        "release": {"gateway": f"sha256:{digest * 64}"},
    }


class Reader(html.parser.HTMLParser):
    """Text and tags; fails on what does not close."""

    VOID = frozenset({"meta", "br"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        named = dict(attrs)
        self.links += [value for name in ("href", "src") if (value := named.get(name))]
        self.ids += [value for name in ("id",) if (value := named.get(name))]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def read(run: dict[str, Any] = RUN, earlier: tuple[dict[str, Any], ...] = (), allure: str = "") -> Reader:
    return Reader(render(run, earlier, allure=allure, now=NOW))


def test_the_order_in_which_people_ask() -> None:
    text = read(earlier=(go("20260101T000000Z-x", "b"),)).text
    order = [
        "NO-GO Do not promote: 2 reasons against it.",
        "Age of the evidence 2 hours",
        "By ada on host",
        "Source 0123456789ab",
        "Accepted for now, by a waiver web.build",
        "1 refuted",
        "Why not GW-3 It answers [<a>]: refuted web: port taken",
        "What changed",
        "started gateway sha256:aaaaaaaaaaaa was sha256:bbbbbbbbbbbb",
        "What was not run, and why",
        "Checklist",
        "Expected 200 Observed 503 Where /health/ready To do start it",
        "Rollback target",
        "b" * 64,
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("decision", "meaning"),
    [
        ("GO", "Every check that applies to staging holds: this release may be promoted."),
        ("VERIFIED", "Nothing was changed; this is no ground for a promotion."),
    ],
)
def test_a_pass_says_what_it_means(decision: str, meaning: str) -> None:
    page = read({**RUN, "decision": decision, "reasons": []})
    assert page.text.startswith(f"{decision}: staging {decision} ")
    assert meaning in page.text
    assert "Why not" not in page.text


def test_nothing_is_fetched_from_anywhere() -> None:
    page = render(RUN, (), allure="allure.html", now=NOW)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", page)
    assert read(allure="allure.html").links[-1] == "allure.html"
    assert "allure" not in render(RUN, (), now=NOW).lower()


def test_values_are_escaped() -> None:
    evil = copy.deepcopy(RUN)
    evil["scenarios"][0]["name"] = '<script>alert("x")</script>'
    evil["scenarios"][0]["where"] = '"><img src=x>'
    evil["by"] = "<b>"
    page = render(evil, (), now=NOW)
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(&quot;x&quot;)" in page


def test_reasons_lead_to_their_evidence() -> None:
    page = read()
    [link] = [link for link in page.links if link.startswith("#")]
    assert link[1:] in page.ids


def test_what_was_not_run_says_why() -> None:
    text = read().text
    assert "GW-1 Image f:1 no image Does not apply here" in text
    assert "Left f:2 deselected Applies here and was left out" in text
    assert "Kill f:3 it disturbs Disturbs, and this run disturbed nothing" in text


def test_what_many_share_a_reason_for_is_folded() -> None:
    run = copy.deepcopy(RUN)
    entry = {"reason": "for staging only", "item": "", "where": "f:9", "feature": "G"}
    run["not_applicable"] += [{**entry, "name": f"Hosted {number}"} for number in range(5)]
    text = read(run).text
    assert "5 scenarios Hosted 0 f:9" in text
    assert text.count("for staging only") == 1
    assert "Image f:1 no image" in text


def test_a_rollback_goes_to_another_release() -> None:
    same, other, older = go("3", "a"), go("2", "b"), go("1", "c")
    no_go = {**go("2x", "d"), "decision": "NO-GO"}
    assert previous_go(RUN, [same, no_go, other, older]) is other
    assert previous_go(RUN, [same]) is None
    assert "None yet" in read(earlier=(same,)).text
    assert "The same release as the last go before" in read(earlier=(same,)).text


def test_an_empty_run_is_still_a_page() -> None:
    empty = {
        **RUN,
        "components": [],
        "scenarios": [],
        "not_applicable": [],
        "left_out": [],
        "drills_left_out": [],
    }
    assert "Nothing was asked." in read(empty).text


def test_what_failed_without_evidence_shows_its_message() -> None:
    run = copy.deepcopy(RUN)
    run["scenarios"][0] |= {
        "evidence": [],
        "message": "blocked: web was not deployed",
        "verdict": "blocked",
    }
    assert "blocked: web was not deployed" in read(run).text


def test_markup_escapes_what_is_not_markup() -> None:
    assert element("a", "<", Markup("<b>x</b>"), href='"') == '<a href="&quot;">&lt;<b>x</b></a>'
    assert element("li", class_=False) == "<li></li>"
    assert join(["&", Markup("&amp;")]) == "&amp;&amp;"
    assert "b" not in definitions([("a", "1"), ("b", "")])


@pytest.mark.parametrize("decision", ["GO", "VERIFIED"])
def test_a_pass_with_a_waiver_does_not_say_that_everything_holds(decision: str) -> None:
    scenario = {**RUN["scenarios"][0], "verdict": "waived"}
    page = read({**RUN, "decision": decision, "reasons": [], "scenarios": [scenario]})
    assert "Every check that applies" not in page.text
    assert "is as declared and every check" not in page.text
    told = "one scenario is refuted, and accepted for now by a waiver"
    assert page.text.index(told) < page.text.index("Accepted for now, by a waiver web.build")


def test_what_opens_no_gate_is_said_at_the_top() -> None:
    page = read({**RUN, "overrides": ["web.port=9", "pytest: the plug-in evil comes from /x/evil.py"]})
    told = "Not as the tree says, so it opens no gate web.port=9; pytest: the plug-in evil"
    assert page.text.index(told) < page.text.index("Accepted for now")
