"""The decision page of a promotion: what it says first, and that it opens anywhere, for anybody."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import Problem
from harness.history import Entry, Running
from harness.promotion_view import View, way_back
from harness.promotion_view import look as view_of
from harness.release import Release
from harness.sinks.promotion_markdown import markdown
from harness.sinks.promotion_page import page
from tests.attack.stand import IMAGE, Stand, write_tree
from tests.attack.test_evidence import waived
from tests.promotion_stand import Deposit
from tests.release_tree import commit
from tests.unit.test_sinks_decision_page import RUN, Reader, render

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
AXE = Path(__file__).parents[2] / "tools" / "node_modules" / "axe-core" / "axe.min.js"
needs_axe = pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: npm ci --prefix tools")
NOW = dt.datetime(2026, 3, 4, 12, 0, 0, tzinfo=dt.UTC)
TAGS = "create table public.tags (id bigint);\n-- </pre><script>alert(1)</script>\n"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release runs in production; one commit later there is another one."""
    root = write_tree(tmp_path_factory.mktemp("page") / "tree")
    (root / "before.json").write_text(json.dumps(Release.build(root, "sha256:" + "9" * 64).as_dict()))
    (root / ".gitignore").write_text((root / ".gitignore").read_text() + "before.*\n")
    production = root / "environments" / "production.yaml"
    shutil.copy(production, root / "before.yaml")
    production.write_text(production.read_text().replace("Qwen/Qwen3-8B", "Qwen/Qwen3-14B"))
    (root / "supabase" / "migrations" / "20260201000000_tags.sql").write_text(TAGS)
    commit(root, "Tags <for> conversations")
    return root


@pytest.fixture(scope="module")
def honest(tree: Path) -> Stand:
    return Stand.honest(tree)


def viewed(stand: Stand, *, first: bool = False, **more: object) -> View:
    """What somebody sees who is asked to approve."""
    running = None
    if not first:
        release = Release.read(stand.root / "before.json")
        entry = Entry("20260301T000000Z-old", "runs/x", "verified")
        running = Running(entry, release, (stand.root / "before.yaml").read_text())
    made = Deposit.__new__(Deposit)
    made.root, made.store = stand.root, None
    promotion = Deposit.promotion(made)
    promotion._evidence = stand.evidence
    return replace(view_of(promotion, stand.decide(), running), **more)


def read(view: View) -> Reader:
    return Reader(page(view, "evidence.html", NOW))


def test_the_order_in_which_people_ask(honest: Stand) -> None:
    text = read(viewed(replace(honest, approvals=[]))).text
    order = [
        "WAITS",
        f"{honest.release.name} may enter production as soon as it is approved.",
        "Proven in staging, run 20260304T110000Z-abc",
        "Age of the evidence 56 minutes",
        "If it goes wrong back to release-",
        "What it waits for 0 of 1 approvals",
        "harness approve --env production",
        f"gateway-image changes sha256:999999999999 {IMAGE[:19]}",
        "checklist unchanged",
        "Tags <for> conversations",
        "20260201000000_tags.sql: new, has no reverse",
        "create table public.tags",
        "- name: Qwen/Qwen3-8B + name: Qwen/Qwen3-14B",
        "20260201000000_tags.sql has no reverse: restore the newest backup",
        "What an approval signs",
        f"sha256:{honest.evidence.digest}",
        "4 of 4 passed",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)


def test_go_says_who_approved(honest: Stand) -> None:
    view = viewed(honest)
    assert view.verdict == "GO"
    assert f"{honest.release.name} may enter production: approved by dana." in read(view).text
    assert "Why not" not in read(view).text


def test_no_go_says_why_and_what_to_do(honest: Stand) -> None:
    stale = replace(honest, now=honest.now + dt.timedelta(days=2))
    text = read(viewed(stale)).text
    assert text.startswith("NO-GO: release-")
    assert "may not enter production: one reason against it." in text
    assert "Why not it is 49.0 hours old; at most 12 are accepted run the checklists there" in text


def test_what_nobody_has_verified_is_called_that(honest: Stand) -> None:
    """What runs there now, and so everything that is said to change, rests on it."""
    view = viewed(honest)
    entry = replace(view.running.entry, trust="unverified")
    unverified = replace(view, running=replace(view.running, entry=entry))
    warning = "what runs there now is not verified: no public key of this environment is known here"
    assert warning in read(unverified).text
    assert f"Runs there now {view.running.release.name} (not verified)" in read(unverified).text
    assert f"**{warning}" in markdown(unverified)
    assert "not verified" not in read(view).text + markdown(view)


def test_unverified_evidence_says_nothing(honest: Stand) -> None:
    view = viewed(honest.ran(signers=[]))
    text = read(view).text
    assert view.verdict == "NO-GO"
    assert "is not signed" in text
    assert "Proven in" not in text


def test_waivers_come_before_what_changes(honest: Stand) -> None:
    stand = replace(honest.ran(waived("2026-12-31")), approvals=[])
    text = read(viewed(stand)).text
    listed = text.index("GW-3 by dana until 2026-12-31: the restore drill moves")
    assert listed < text.index("Why not") < text.index("What changes")
    assert "accepted: database.restored: old" in text
    told = markdown(viewed(stand))
    assert told.index("Accepted for now") < told.index("Why not") < told.index("Proven in")


def test_the_first_release_has_no_way_back_and_says_so(honest: Stand) -> None:
    text = read(viewed(honest, first=True)).text
    assert "If it goes wrong no way back" in text
    assert "Nothing has run in production yet" in text
    assert "there is no release to go back to" in text


def test_what_happened_after_the_last_pass_is_said(honest: Stand) -> None:
    view = viewed(honest)
    assert view.running is not None
    unproven = replace(view.running, unproven="a later run (x, by y) did not pass")
    assert "a later run (x, by y) did not pass" in read(replace(view, running=unproven)).text


def test_a_migration_that_was_edited_or_is_gone(honest: Stand) -> None:
    old = Release.read(honest.root / "before.json")
    migrations = {
        **dict.fromkeys(old.migrations, "sha256:" + "0" * 64),
        "2025_gone.sql": "sha256:" + "1" * 64,
    }
    view = viewed(honest)
    running = replace(view.running, release=replace(old, migrations=migrations))
    made = Deposit.__new__(Deposit)
    made.root, made.store = honest.root, None
    told = {m.file: m.told for m in view_of(Deposit.promotion(made), honest.decide(), running).migrations}
    assert told["20260101000000_first.sql"] == "edited after it had been applied"
    assert told["2025_gone.sql"] == "applied there, and not in this release"


def test_the_way_back_reverses_what_can_be_reversed(honest: Stand) -> None:
    view = viewed(honest)
    reversible = tuple(replace(m, reverse=True) for m in view.migrations)
    steps = dict(way_back(replace(view, migrations=reversible)))
    assert steps["database"] == "apply supabase/rollbacks/20260201000000_tags.sql"
    assert steps["gateway"] == f"deploy the image again: sha256:{'9' * 64}"


def test_nothing_is_fetched_and_everything_is_escaped(honest: Stand) -> None:
    html = page(viewed(honest), "evidence.html", NOW)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", html)
    assert "<script>alert" not in html
    assert "Tags &lt;for&gt;" in html


def test_markdown_says_the_same(honest: Stand) -> None:
    text = markdown(viewed(replace(honest, approvals=[])))
    assert text.startswith(f"# WAITS: {honest.release.name} into production\n")
    assert "| gateway-image | `sha256:999999999999` | `sha256:aaaaaaaaaaaa` |" in text
    assert "| checklist | unchanged |" in text
    assert f"```sql\n{TAGS}```" in text
    assert "+    name: Qwen/Qwen3-14B" in text
    assert "## If it goes wrong" in text


def test_no_text_ends_a_block_or_begins_a_tag_in_markdown(honest: Stand) -> None:
    view = viewed(honest)
    evil = tuple(replace(m, sql="```\n<b>\n````") for m in view.migrations)
    reasons = (Problem("gate.x", "a|b `c` <img src=x> [d](e)", "*f*"),)
    decision = replace(view.decision, reasons=reasons)
    text = markdown(replace(view, migrations=evil, decision=decision))
    assert "`````sql\n```\n<b>\n````\n`````" in text
    assert "- a\\|b \\`c\\` &lt;img src=x&gt; \\[d\\](e) *(\\*f\\*)*" in text


# --- in a real browser -----------------------------------------------------------------------------------


def browse(path: Path, profile: Path, *more: str) -> str:
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    quiet = ["--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    quiet += ["--disable-background-networking", "--disable-component-update", "--hide-scrollbars"]
    argv = [str(CHROMIUM), *quiet, *sandbox, f"--user-data-dir={profile}", *more, path.as_uri()]
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=120, check=True, stdin=subprocess.DEVNULL
    )
    return done.stdout


PROBE = """
const seen = (selector) => document.querySelector(selector).getBoundingClientRect().bottom;
document.body.dataset.probe = JSON.stringify({
  h1: document.querySelector("h1").textContent, meaning: seen("header .meaning"), about: seen("header dl"),
  height: innerHeight, width: innerWidth, wide: document.documentElement.scrollWidth,
});
"""
AUDIT = """
axe.run({runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "best-practice"]}).then((found) => {
  document.body.dataset.probe = JSON.stringify(found.violations.map(
    (v) => v.id + ": " + v.nodes.map((n) => n.html.slice(0, 120)).join(" | ")));
});
"""


def probed(html: str, script: str, folder: Path, *more: str) -> object:
    path = folder / "page.html"
    path.write_text(html.replace("</body>", f"<script>{script}</script></body>"))
    dom = browse(path, folder / "profile", "--virtual-time-budget=10000", "--dump-dom", *more)
    match = re.search(r'data-probe="([^"]*)"', dom)
    assert match is not None, dom[-2000:]
    return json.loads(
        match[1].replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    )


PAGES: dict[str, Callable[[Stand], str]] = {
    "GO": lambda stand: page(viewed(stand), "evidence.html", NOW),
    "WAITS": lambda stand: page(viewed(replace(stand, approvals=[])), "evidence.html", NOW),
    "NO-GO": lambda stand: page(viewed(stand.ran(signers=[])), "", NOW),
    "run": lambda stand: render(RUN, (), allure="allure.html", now=NOW),
}


@needs_browser
@pytest.mark.parametrize("size", ["1280,800", "500,900"])
@pytest.mark.parametrize("name", ["GO", "WAITS", "NO-GO"])
def test_the_first_screen_answers(honest: Stand, tmp_path: Path, name: str, size: str) -> None:
    found = probed(PAGES[name](honest), PROBE, tmp_path, f"--window-size={size}")
    assert isinstance(found, dict)
    assert found["h1"] == name
    assert found["meaning"] < found["about"] <= found["height"], "below the first screen"
    assert found["wide"] <= found["width"], "the page is wider than the screen"


@needs_browser
@needs_axe
@pytest.mark.parametrize(
    ("name", "look"),
    [*((name, "1280,800") for name in PAGES), ("WAITS", "500,900"), ("WAITS", "dark")],
)
def test_it_is_accessible(honest: Stand, tmp_path: Path, name: str, look: str) -> None:
    dark = "--blink-settings=preferredColorScheme=0"
    more = [dark if look == "dark" else f"--window-size={look}"]
    assert probed(PAGES[name](honest), AXE.read_text() + AUDIT, tmp_path, *more) == []


@needs_browser
def test_it_prints_on_a_few_sheets(honest: Stand, tmp_path: Path) -> None:
    path, pdf = tmp_path / "page.html", tmp_path / "page.pdf"
    path.write_text(PAGES["WAITS"](honest))
    browse(path, tmp_path / "profile", f"--print-to-pdf={pdf}", "--no-pdf-header-footer")
    sheets = len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes()))
    assert 1 <= sheets <= 4


@needs_browser
def test_its_report_is_one_click_away(honest: Stand, tmp_path: Path) -> None:
    (tmp_path / "evidence.html").write_text("<title>the report</title>")
    jump = "document.querySelector('a[href=\"evidence.html\"]').click();"
    path = tmp_path / "page.html"
    path.write_text(PAGES["GO"](honest).replace("</body>", f"<script>{jump}</script></body>"))
    assert "the report" in browse(path, tmp_path / "profile", "--virtual-time-budget=5000", "--dump-dom")
