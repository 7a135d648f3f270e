"""The decision page of a promotion: go or no-go first, then why, what changes, and the way back.

One file without any request to anywhere, as the page of a run is.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from harness.promotion_view import View, meaning, short, waived, way_back
from harness.sinks.markup import Markup, code, definitions, element, join, table

__all__ = ["page"]

_HERE = Path(__file__).resolve().parent
_CLASS = {"GO": "GO", "WAITS": "VERIFIED", "NO-GO": "NO-GO"}


def page(view: View, report: str = "", now: dt.datetime | None = None) -> str:
    """The page; ``report`` is a link to the report of the run that speaks for the release."""
    head = element(
        "head",
        Markup(
            '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        ),
        element("title", f"{view.verdict}: {view.release.name} into {view.environment}"),
        element("style", Markup((_HERE / "decision_page.css").read_text(encoding="utf-8"))),
    )
    main = element(
        "main",
        _waivers(view),
        _reasons(view),
        _artefacts(view),
        _migrations(view),
        _configuration(view),
        _back(view),
        _proof(view, report),
    )
    script = element("script", Markup((_HERE / "decision_page.js").read_text(encoding="utf-8")))
    body = element("body", _header(view, now or dt.datetime.now(dt.UTC)), main, script)
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _header(view: View, now: dt.datetime) -> Markup:
    about = [("Release", view.release.name), ("Into", view.environment)]
    if result := view.result:
        ended = dt.datetime.fromisoformat(result.finished_on)
        minutes = max(0, int((now - ended).total_seconds() // 60))
        age = element("time", f"{minutes} minutes", datetime=result.finished_on, data_age=True)
        about += [("Proven in", f"{result.environment}, run {result.run}"), ("By", result.by)]
        about += [("Age of the evidence", age)]
    runs = view.running.release.name if view.running else "nothing yet"
    runs += " (not verified)" if view.running and view.running.unverified else ""
    about += [
        ("Runs there now", runs),
        ("If it goes wrong", f"back to {runs}" if view.running else "no way back"),
    ]
    inside = element(
        "div",
        element("h1", view.verdict),
        element("p", meaning(view), class_="meaning"),
        definitions(about),
    )
    return element("header", inside, class_=f"decision {_CLASS[view.verdict]}")


def _reasons(view: View) -> Markup:
    if view.decision.open:
        return Markup()
    items = [
        element("li", reason.what, element("div", reason.hint, class_="soft") if reason.hint else "")
        for reason in view.decision.reasons
    ]
    title = "What it waits for" if view.verdict == "WAITS" else "Why not"
    return _section(title, element("ul", *items), "reasons" if view.verdict == "NO-GO" else "waivers")


def _waivers(view: View) -> Markup:
    result = view.result
    if result is None or not (result.waivers or result.warned_tests):
        return Markup()
    items = [element("li", text) for text in waived(result)]
    return _section("Accepted for now, by a waiver", element("ul", *items), "waivers")


def _artefacts(view: View) -> Markup:
    rows = [
        element(
            "tr",
            element("td", element("b", name)),
            element(
                "td",
                "unchanged" if old == new else "changes",
                class_="soft" if old == new else "verdict waived",
            ),
            element("td", code(short(old)) if old else "none"),
            element("td", code(short(new)) if new else "none"),
        )
        for name, old, new in view.artefacts
    ]
    shown = table(("Artefact", "Change", "Runs there now", "Would run"), rows)
    parts = [element("p", warning, class_="verdict refuted") for warning in view.warnings]
    if commits := [element("li", line) for line in view.commits]:
        count = "1 commit" if len(commits) == 1 else f"{len(commits)} commits"
        parts.append(element("details", element("summary", count), element("ul", *commits)))
    return _section("What changes", join([shown, *parts]))


def _migrations(view: View) -> Markup:
    if not view.migrations:
        return _section("Migrations", element("p", "None would run."))
    items = [
        element(
            "li",
            element(
                "details",
                element("summary", f"{m.file}: {m.told}; {m.statements} statements"),
                *(element("p", f"Destructive: {danger}", class_="verdict refuted") for danger in m.dangers),
                element("pre", m.sql or "(no SQL)", tabindex="0"),
                open=True,
            ),
        )
        for m in view.migrations
    ]
    return _section("Migrations that would run, in this order", element("ul", *items))


def _configuration(view: View) -> Markup:
    if view.running is None:
        text = element("p", f"Nothing has run in {view.environment} yet: there is nothing to compare with.")
    elif not view.configuration:
        text = element("p", f"environments/{view.environment}.yaml is unchanged.")
    else:
        text = element("pre", "\n".join(view.configuration), tabindex="0")
    return _section(f"Configuration of {view.environment}", text)


def _back(view: View) -> Markup:
    rows = [
        element("tr", element("td", element("b", what)), element("td", how)) for what, how in way_back(view)
    ]
    target = f"Back to {view.running.release.name}." if view.running else "There is nothing to go back to."
    return _section("If it goes wrong", join([element("p", target), table(("Part", "What to do"), rows)]))


def _proof(view: View, report: str) -> Markup:
    sealed, result = view.evidence, view.result
    told: list[tuple[str, str]] = [("Promotion", code(view.decision.promotion))]
    if sealed:
        told += [("Evidence", code(f"sha256:{sealed.digest}")), ("It is in", sealed.where)]
        told += [("Report", code(f"sha256:{sealed.report_digest}"))]
    if result:
        told += [("Tests", f"{len(result.passed_tests)} of {len(result.expected_tests)} passed")]
    link = element("p", element("a", "The report of the run: every check and what it saw", href=report))
    listed = definitions(told)
    return _section("What an approval signs", join([listed, link if report else ""]), "padded")


def _section(title: str, content: Markup, class_: str = "") -> Markup:
    card = element("div", content, class_=f"card {class_}".rstrip())
    return element("section", element("h2", title), card)
