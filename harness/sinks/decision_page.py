"""The decision page: what somebody reads before they promote, in the order in which they ask.

One file without any request to anywhere: it works from a disk, in an attachment, and on paper.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.sinks.markup import Markup, code, definitions, element, join, table

__all__ = ["MEANING", "previous_go", "render"]

Run = dict[str, Any]

MEANING = {
    "GO": "Every check that applies to {environment} holds: this release may be promoted.",
    "GO, with waivers": "This release may be promoted, but not every check that applies to {environment} "
    "holds: {waived} refuted, and accepted for now by a waiver.",
    "NO-GO": "Do not promote: {count} against it.",
    "VERIFIED": "{environment} is as declared and every check that was asked holds. Nothing was changed; "
    "this is no ground for a promotion.",
    "VERIFIED, with waivers": "{environment} is as declared, but not every check holds: {waived} refuted, "
    "and accepted for now by a waiver. Nothing was changed; this is no ground for a "
    "promotion.",
}
_FOLDED = 3  # scenarios with one reason, before they are folded into one row
_VERDICTS = ("holds", "refuted", "unreachable", "blocked", "waived")
_CSS = Path(__file__).with_suffix(".css")
_SCRIPT = Path(__file__).with_suffix(".js")


def render(run: Run, earlier: Sequence[Run], *, allure: str = "", now: dt.datetime | None = None) -> str:
    """The page of ``run``. ``earlier`` are the runs before it, newest first; ``allure`` a link, if any."""
    last = next((other for other in earlier if other["decision"] == "GO"), None)
    body = [
        _header(run, now or dt.datetime.now(dt.UTC)),
        element(
            "main",
            _waivers(run),
            _tiles(run),
            _reasons(run),
            _changes(run, last),
            _not_run(run),
            _checklist(run),
            _rollback(previous_go(run, earlier)),
            _footer(run, allure),
        ),
        element("script", Markup(_SCRIPT.read_text(encoding="utf-8"))),
    ]
    title = f"{run['decision']}: {run['environment']}"
    head = element(
        "head",
        Markup(
            '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        ),
        element("title", title),
        element("style", Markup(_CSS.read_text(encoding="utf-8"))),
    )
    return f"<!doctype html>\n{element('html', head, element('body', *body), lang='en')}\n"


def previous_go(run: Run, earlier: Sequence[Run]) -> Run | None:
    """The newest earlier run that was a go with another release than this one: what a rollback goes to."""
    return next((r for r in earlier if r["decision"] == "GO" and r["release"] != run["release"]), None)


def _header(run: Run, now: dt.datetime) -> Markup:
    decision, started = run["decision"], dt.datetime.fromisoformat(run["started"])
    count = len(run["reasons"])
    reasons = "one reason" if count == 1 else f"{count} reasons"
    ended = started + dt.timedelta(seconds=run["seconds"])
    written = element(
        "time", _age(now - ended), datetime=ended.isoformat(timespec="seconds"), data_age=True
    )
    about = [
        ("Environment", run["environment"]),
        ("Age of the evidence", written),
        ("Run", f"{started:%Y-%m-%d %H:%M:%S} UTC, {_seconds(run['seconds'])}"),
        ("By", run["by"]),
        ("Source", run["revision"]),
        ("Mode", run["mode"]),
    ]
    waived = sum(scenario["verdict"] == "waived" for scenario in run["scenarios"])
    if overrides := run.get("overrides"):
        about.append(("Not as the tree says, so it opens no gate", "; ".join(overrides)))
    meaning = MEANING.get(f"{decision}, with waivers" if waived else decision, MEANING[decision]).format(
        environment=run["environment"],
        count=reasons,
        waived="one scenario is" if waived == 1 else f"{waived} scenarios are",
    )
    inside = element(
        "div", element("h1", decision), element("p", meaning, class_="meaning"), definitions(about)
    )
    return element("header", inside, class_=f"decision {decision}")


def _age(age: dt.timedelta) -> str:
    minutes = max(0, int(age.total_seconds() // 60))
    for size, unit in ((1440, "day"), (60, "hour"), (1, "minute")):
        if minutes >= 2 * size or (size == 1 and minutes):
            return f"{minutes // size} {unit}{'s' if minutes // size != 1 else ''}"
    return "less than a minute"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 90 else f"{int(seconds // 60)} min {int(seconds % 60)} s"


def _tiles(run: Run) -> Markup:
    counts = [(v, sum(s["verdict"] == v for s in run["scenarios"])) for v in _VERDICTS]
    counts += [("not run", len(run["left_out"]) + len(run["drills_left_out"]))]
    counts += [("not applicable", len(run["not_applicable"]))]
    tiles = [
        element("li", element("b", str(count)), verdict, class_=verdict.replace(" ", "-"))
        for verdict, count in counts
        if count
    ]
    return element("ul", *tiles, class_="tiles", aria_label="Scenarios by verdict")


def _reasons(run: Run) -> Markup:
    if not run["reasons"]:
        return Markup()
    links = {_label(s) + f": {s['verdict']}": _anchor(s) for s in run["scenarios"]}
    items = [
        element("li", element("a", reason, href=f"#{links[reason]}") if reason in links else reason)
        for reason in run["reasons"]
    ]
    return _section("Why not", element("ul", *items), "reasons")


def _waivers(run: Run) -> Markup:
    if not run["waived"]:
        return Markup()
    items = [element("li", waived) for waived in run["waived"]]
    return _section("Accepted for now, by a waiver", element("ul", *items), "waivers")


def _changes(run: Run, before: Run | None) -> Markup:
    if not run["components"]:
        return Markup()
    old = before["release"] if before else {}
    rows = [_component(c, old.get(c["component"], "")) for c in run["components"]]
    headings = ("Component", "State", "What this run changed", "Release", "Time>")
    since = "There is no earlier go to compare with."
    if before:
        same = "The same release as" if before["release"] == run["release"] else "Compared with"
        since = f"{same} the last go before, of {_day(before)}."
    return _section("What changed", table(headings, rows), after=element("p", since, class_="soft"))


def _component(component: dict[str, Any], old: str) -> Markup:
    told = component["reason"] or "; ".join(component["changes"]) or "nothing"
    digest = component["digest"]
    shown = [code(_short(digest))] if digest else ["none"]
    if old and digest and old != digest:
        shown += [" was ", code(_short(old))]
    return element(
        "tr",
        element("td", element("b", component["component"])),
        element("td", _verdict(component["verdict"])),
        element("td", told),
        element("td", *shown),
        element("td", _seconds(component["seconds"]), class_="number"),
    )


def _not_run(run: Run) -> Markup:
    groups = (
        ("Applies here and was left out", run["left_out"]),
        ("Disturbs, and this run disturbed nothing", run["drills_left_out"]),
        ("Does not apply here", run["not_applicable"]),
    )
    rows = [row for why, entries in groups for row in _by_reason(why, entries)]
    if not rows:
        return _section("What was not run", element("p", "Everything that applies here was run."))
    return _section("What was not run, and why", table(("Item", "Scenario", "Why"), rows))


def _by_reason(why: str, entries: Sequence[dict[str, Any]]) -> list[Markup]:
    """A row for each of ``entries``; those that many share a reason with are folded into one."""
    rows = []
    for reason in dict.fromkeys(entry["reason"] for entry in entries):
        same = [entry for entry in entries if entry["reason"] == reason]
        shown = [_left(entry) for entry in same]
        if len(same) > _FOLDED:
            listed = element(
                "ul",
                *(element("li", entry["item"], " ", told) for entry, told in zip(same, shown, strict=True)),
            )
            folded = element("details", element("summary", f"{len(same)} scenarios"), listed)
            rows.append(_not_run_row("", folded, reason, why))
        else:
            rows += [
                _not_run_row(e["item"], told, reason, why) for e, told in zip(same, shown, strict=True)
            ]
    return rows


def _left(entry: dict[str, Any]) -> Markup:
    return join((entry["name"], " ", element("span", entry["where"], class_="soft wide")))


def _not_run_row(item: str, told: Markup, reason: str, why: str) -> Markup:
    because = element("td", reason, element("div", why, class_="soft"))
    return element(
        "tr",
        element("td", element("span", item, class_="whole"), class_="item"),
        element("td", told),
        because,
    )


def _checklist(run: Run) -> Markup:
    features = dict.fromkeys(scenario["feature"] for scenario in run["scenarios"])
    parts = []
    for feature in features:
        rows = [_scenario(s) for s in run["scenarios"] if s["feature"] == feature]
        checks = table(("Item", "Scenario and evidence", "Verdict", "Time>"), rows, "checks")
        parts += [element("h3", feature), element("div", checks, class_="card")]
    if not parts:
        parts = [element("div", element("p", "Nothing was asked."), class_="card")]
    return element("section", element("h2", "Checklist"), *parts)


def _scenario(scenario: dict[str, Any]) -> Markup:
    evidence = [_evidence(found) for found in scenario["evidence"]]
    if not evidence or scenario["verdict"] not in {found["verdict"] for found in scenario["evidence"]}:
        evidence.insert(0, element("pre", scenario["message"]))
    where = element("p", scenario["where"], class_="soft")
    details = element(
        "details",
        element("summary", _title(scenario)),
        element("div", *evidence, where),
        open=scenario["verdict"] != "holds",
    )
    return element(
        "tr",
        element("td", ", ".join(scenario["items"]), class_="item"),
        element("td", details),
        element("td", _verdict(scenario["verdict"])),
        element("td", _seconds(scenario["seconds"]), class_="number"),
        id=_anchor(scenario),
    )


def _evidence(found: dict[str, Any]) -> Markup:
    names = (("Expected", "expected"), ("Observed", "observed"), ("Where", "where"), ("To do", "remedy"))
    findings = [
        definitions([(name, finding[key]) for name, key in names], "finding")
        for finding in found["findings"]
    ]
    facts = json.dumps(found["facts"], indent=2, ensure_ascii=False) if found["facts"] else ""
    told = element("p", code(found["check"]), " ", _verdict(found["verdict"]), ": ", found["summary"])
    return join([told, *findings, *([element("pre", facts)] if facts else [])])


def _rollback(before: Run | None) -> Markup:
    if before is None:
        return _section(
            "Rollback target", element("p", "None yet: no earlier run of another release was a go.")
        )
    digests = [
        element("li", element("b", name), " ", code(digest)) for name, digest in before["release"].items()
    ]
    told = element(
        "p", f"The go of {_day(before)}", f", source {before['revision']}" if before["revision"] else ""
    )
    return _section("Rollback target", join([told, element("ul", *digests)]))


def _footer(run: Run, allure: str) -> Markup:
    told = [f"Run {run['run']}. The run as data: ", code(f"runs/{run['run']}.json"), ". "]
    if allure:
        told += [element("a", "Every step and attachment in the Allure report", href=allure), "."]
    return element("footer", element("p", *told))


def _section(title: str, content: Markup, class_: str = "", after: str = "") -> Markup:
    card = element("div", content, class_=f"card {class_}".rstrip())
    return element("section", element("h2", title), card, after)


def _verdict(verdict: str) -> Markup:
    return element("span", verdict, class_=f"verdict {verdict}")


def _title(scenario: dict[str, Any]) -> str:
    return f"{scenario['name']} [{scenario['row']}]" if scenario["row"] else str(scenario["name"])


def _label(scenario: dict[str, Any]) -> str:
    return " ".join(filter(None, (", ".join(scenario["items"]), _title(scenario))))


def _anchor(scenario: dict[str, Any]) -> str:
    return "".join(c if c.isalnum() else "-" for c in f"s-{scenario['where']}-{scenario['row']}")


def _short(digest: str) -> str:
    kind, separator, value = digest.partition(":")
    return f"{kind}:{value[:12]}" if separator else digest[:16]


def _day(run: Run) -> str:
    return f"{dt.datetime.fromisoformat(run['started']):%Y-%m-%d %H:%M} UTC"
