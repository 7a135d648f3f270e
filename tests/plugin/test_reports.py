"""JUnit XML, Allure results, the decision page and the Allure report of a real run."""

# ruff: noqa: F811 - the fixture is imported
from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from harness import report
from harness.errors import HarnessError
from tests.browser import PATIENCE_MS, browser, needs_chromium  # noqa: F401
from tests.plugin.miniature_project import SECONDS, Miniature, Outcome

ALLURE = report.ROOT / "tools" / "node_modules" / ".bin" / "allure"
needs_allure = pytest.mark.skipif(
    not ALLURE.exists(), reason="Allure is not installed: npm ci --prefix tools"
)

MIXED = """
    Feature: Extra

      @item:SB-1 @env:local
      Scenario: Refuted
        Given the gateway is deployed
        Then it is refuted

      @item:SB-2 @env:local
      Scenario: Unreachable
        Given the gateway is deployed
        Then nothing answers

      Rule: Later
        @env:local
        Scenario: Blocked
          Given the gateway is deployed
          Then nothing provides it
"""


@pytest.fixture
def mixed(project: Miniature) -> Outcome:
    project.feature(MIXED)
    return project.pytest("-k", "not web_app")


def junit(project: Miniature) -> ET.Element:
    suite = ET.parse(project.state / "junit.xml").getroot().find("testsuite")  # noqa: S314 - pytest wrote it
    assert suite is not None
    return suite


def properties(element: ET.Element) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for entry in element.findall("properties/property"):
        found.setdefault(entry.attrib["name"], []).append(entry.attrib["value"])
    return found


def allure_results(project: Miniature) -> dict[str, dict[str, Any]]:
    files = (project.state / "allure-results").glob("*-result.json")
    return {result["name"]: result for result in map(json.loads, (file.read_text() for file in files))}


def labels(result: dict[str, Any], name: str) -> list[str]:
    return [label["value"] for label in result["labels"] if label["name"] == name]


# --- JUnit ---------------------------------------------------------------------------------------------


def test_junit_of_a_go(project: Miniature) -> None:
    project.pytest()
    suite = junit(project)
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors"), suite.get("skipped")) == (
        "5",
        "0",
        "0",
        "0",
    )
    names = [case.attrib["name"] for case in suite.findall("testcase")]
    assert not any("image" in name for name in names), "what does not apply was counted"
    assert properties(suite)["decision"] == ["GO"]
    [not_applicable] = properties(suite)["not-applicable"]
    assert not_applicable.startswith("GW-1 The image carries no secrets (locally")
    answers = next(case for case in suite if case.get("name") == "test_the_gateway_answers")
    found = properties(answers)
    assert (found["verdict"], found["items"], found["where"]) == (
        ["holds"],
        ["GW-2"],
        ["features/gateway.feature:4"],
    )
    assert json.loads(found["evidence"][0])[0]["facts"] == {"answer": 42}


def test_junit_of_a_no_go(mixed: Outcome) -> None:
    suite = junit(mixed.project)
    failed = {case.attrib["name"]: case.find("failure") for case in suite.findall("testcase")}
    told = {name: failure.text or "" for name, failure in failed.items() if failure is not None}
    assert set(told) == {"test_refuted", "test_unreachable", "test_blocked", "decision"}
    assert told["test_refuted"].startswith("refuted: mini.refuted: public.notes is open")
    assert "observed  public.notes has none" in told["test_refuted"]
    assert "Traceback" not in "".join(told.values())
    assert "The web app shows itself applies here and was not run: deselected" in told["decision"]
    assert int(suite.attrib["failures"]) == 4
    assert int(suite.attrib["tests"]) == len(suite.findall("testcase"))
    assert properties(suite)["decision"] == ["NO-GO"]


def test_junit_of_a_run_that_was_refused(project: Miniature) -> None:
    project.feature("Feature: Extra\n\n  Scenario: Nothing\n    Given the gateway is deployed\n")
    project.pytest()
    failure = junit(project).find("testcase[@name='decision']/failure")
    assert failure is not None
    assert "features/extra.feature:3" in (failure.text or "")


# --- SARIF ---------------------------------------------------------------------------------------------


def test_findings_for_code_scanners(mixed: Outcome) -> None:
    (run,) = json.loads((mixed.project.state / "findings.sarif").read_text())["runs"]
    (found,) = run["results"]
    assert (found["ruleId"], found["level"]) == ("mini.refuted", "error")
    assert "public.notes has none" in found["message"]["text"]
    place = found["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "features/extra.feature"  # it names no file: its scenario
    assert found["locations"][0]["logicalLocations"] == [{"fullyQualifiedName": "table public.notes"}]
    trouble = [one["message"]["text"] for one in run["invocations"][0]["toolExecutionNotifications"]]
    assert not run["invocations"][0]["executionSuccessful"]
    assert {"SB-2 Unreachable: unreachable", "Blocked: blocked"} <= {
        ": ".join(t.split(": ")[:2]) for t in trouble
    }


def test_a_run_without_findings_says_so_to_code_scanners(project: Miniature) -> None:
    project.pytest()
    (run,) = json.loads((project.state / "findings.sarif").read_text())["runs"]
    assert run["results"] == [] and run["invocations"][0]["executionSuccessful"]


# --- Allure results ------------------------------------------------------------------------------------


def test_allure_results(mixed: Outcome) -> None:
    results = allure_results(mixed.project)
    assert {name: result["status"] for name, result in results.items()} == {
        "Refuted": "failed",
        "Unreachable": "broken",
        "Blocked": "broken",
        "The gateway answers": "passed",
        "The gateway refuses what is too long": "passed",
        "The image carries no secrets": "skipped",
        "The web app shows itself": "skipped",
    }
    refuted = results["Refuted"]
    assert refuted["statusDetails"]["message"].startswith("Refuted: mini.refuted: public.notes is open")
    assert "to do     enable it" in refuted["statusDetails"]["trace"]
    assert labels(refuted, "tag") == ["SB-1", "checklist"]
    assert labels(refuted, "severity") == ["critical"]
    assert labels(refuted, "feature") == ["Extra"]
    assert labels(refuted, "component") == ["gateway"]
    assert [step["name"] for step in refuted["steps"]] == [
        "Given the gateway is deployed",
        "Then it is refuted",
    ]
    assert [step["status"] for step in refuted["steps"]] == ["passed", "failed"]
    assert "mini.refuted" in refuted["description"]
    [attachment] = refuted["attachments"]
    evidence = json.loads((mixed.project.state / "allure-results" / attachment["source"]).read_text())
    assert evidence["findings"][0]["where"] == "table public.notes"
    assert labels(results["Blocked"], "story") == ["Later"]
    assert labels(results["Blocked"], "severity") == ["normal"]
    assert results["The web app shows itself"]["statusDetails"]["message"] == "Not run: deselected"


def test_allure_links_lead_to_the_forge(project: Miniature) -> None:
    project.pytest(GITHUB_SERVER_URL="https://forge.test", GITHUB_REPOSITORY="a/b", GITHUB_SHA="c0ffee")
    [link] = allure_results(project)["The gateway answers"]["links"]
    assert link["url"] == "https://forge.test/a/b/blob/c0ffee/features/gateway.feature#L4"


# --- make report ---------------------------------------------------------------------------------------


def make_report(project: Miniature, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "harness.report", "--root", str(project.root), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, check=False)


def test_no_run_yet(project: Miniature, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main(["--root", str(project.root), "--env", "local"]) == 1
    assert capsys.readouterr().err == "there is no run of local yet; start one with: make local\n"
    assert report.main(["--root", str(project.root)]) == 1
    assert capsys.readouterr().err.startswith("there is no run of any environment yet")


@needs_allure
def test_both_pages(mixed: Outcome) -> None:
    done = make_report(mixed.project)
    assert done.returncode == 0, done.stderr
    page = mixed.project.state / "report" / "index.html"
    allure = mixed.project.state / "report" / "allure.html"
    assert done.stdout.split() == [str(page), str(allure)]
    assert 'href="allure.html"' in page.read_text()
    assert allure.stat().st_size > 1_000_000
    assert not re.search(r'(src|href)="https?:', allure.read_text()), "the report fetches something"
    assert "googletagmanager" not in allure.read_text(), "the report counts its readers"
    assert "Content-Security-Policy" in allure.read_text()
    history = mixed.project.state / "allure-history.jsonl"
    assert len(history.read_text().splitlines()) == 1
    make_report(mixed.project, "--env", "local")
    assert len(history.read_text().splitlines()) == 1, "one run was counted twice"


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (None, "Allure is not installed; install it with: npm ci --prefix tools"),
        ("#!/bin/sh\necho out of memory >&2\nexit 3\n", "Allure failed (exit 3):\nout of memory"),
        ("#!/bin/sh\necho all good\n", "Allure made no report:\nall good"),
        ("#!/no/such/node\n", "Allure cannot be started"),
    ],
)
def test_without_allure_the_decision_page_is_there(
    project: Miniature,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    program: str | None,
    said: str,
) -> None:
    project.pytest()
    monkeypatch.setattr(report, "ROOT", tmp_path)
    if program:
        path = tmp_path / "tools" / "node_modules" / ".bin" / "allure"
        path.parent.mkdir(parents=True)
        path.write_text(program)
        path.chmod(0o755)
    assert report.main(["--root", str(project.root), "--env", "local"]) == 1
    told = capsys.readouterr().err
    assert said in told
    assert "the decision page is written all the same" in told
    page = (project.state / "report" / "index.html").read_text()
    assert ">GO</h1>" in page
    assert "allure.html" not in page


def test_allure_results_of_another_run_are_not_shown_as_this_ones(
    project: Miniature, capsys: pytest.CaptureFixture[str]
) -> None:
    project.pytest()
    about = project.state / "allure-results" / "environment.properties"
    about.write_text(about.read_text().replace("Run=2", "Run=1"))
    assert report.main(["--root", str(project.root)]) == 1
    assert "holds the results of another run than" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 99}'])
def test_a_run_that_cannot_be_read(
    project: Miniature, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    project.state.mkdir(parents=True)
    (project.state / "last-run.json").write_text(text)
    assert report.main(["--root", str(project.root)]) == 1
    assert "cannot be read as a run" in capsys.readouterr().err


def test_a_page_that_calls_home_is_thrown_away() -> None:
    counter = '<script async src="https://count.test/x.js"></script>\n<script>count()</script>'
    assert "count" not in report._sealed(f"<html><head></head><body>{counter}</body></html>")
    with pytest.raises(HarnessError, match="loads something from elsewhere"):
        report._sealed('<html><head><link rel="x" href="//elsewhere.test/x.css"></head></html>')
    with pytest.raises(HarnessError, match="has changed"):
        report._sealed("<html></html>")


@needs_allure
@needs_chromium
def test_the_allure_report_opens_from_disk(mixed: Outcome, browser: Browser) -> None:
    make_report(mixed.project)
    page = browser.new_page()
    page.goto((mixed.project.state / "report" / "allure.html").as_uri())
    page.get_by_text("Extra", exact=True).first.wait_for(timeout=PATIENCE_MS)
    page.get_by_text("NO-GO", exact=True).first.wait_for(timeout=PATIENCE_MS)
    page.close()


@needs_chromium
@pytest.mark.parametrize("decision", ["GO", "NO-GO"])
def test_the_first_screen_shows_the_verdict(
    project: Miniature, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decision: str, browser: Browser
) -> None:
    if decision == "NO-GO":
        project.feature(MIXED)
    project.pytest()
    monkeypatch.setattr(report, "ROOT", tmp_path)  # without Allure: this is about the other page
    report.main(["--root", str(project.root)])
    page = browser.new_page(viewport={"width": 1000, "height": 700})
    page.goto((project.state / "report" / "index.html").as_uri())
    verdict = page.locator("h1")
    box = verdict.bounding_box()
    assert verdict.text_content() == decision
    assert box is not None
    assert box["y"] + box["height"] < 700, "the verdict is below the first screen"
    assert page.evaluate("document.documentElement.scrollWidth") <= 1000, "wider than the screen"
    assert verdict.evaluate("h1 => parseFloat(getComputedStyle(h1).fontSize)") > 90, "it is not huge"
    page.close()
