"""Runs that pytest would end with 0 without having proven everything: none of them is a pass."""

from __future__ import annotations

import datetime as dt

import pytest

from tests.plugin.miniature_project import Miniature

SOON = (dt.datetime.now(dt.UTC) + dt.timedelta(days=30)).date().isoformat()

WEB = "The web app shows itself"

BAD = """
    Feature: Extra

      @item:SB-1
      Scenario: Something
        Given the gateway is deployed
        Then {then}
"""


# --- selected away --------------------


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("-k", "answers"), "deselected"),
        (("-k", "no_such_scenario"), "deselected"),
        (("-m", "item and not checklist"), "deselected"),
        (("--deselect", "features/test_scenarios.py::test_the_web_app_shows_itself"), "deselected"),
        (("--ignore", "features/test_scenarios.py"), "not selected"),
    ],
)
def test_selected_away(project: Miniature, arguments: tuple[str, ...], reason: str) -> None:
    project.pytest(*arguments).is_no_go(WEB, "features/web.feature:5", reason)


def test_a_node_id(project: Miniature) -> None:
    one = ("features/test_scenarios.py::test_the_gateway_answers",)
    project.pytest(paths=one).is_no_go(WEB, "features/web.feature:5", "not selected")


def test_one_row_of_a_table(project: Miniature) -> None:
    ids = [
        f"features/test_scenarios.py::{name}"
        for name in ("test_the_gateway_answers", "test_the_web_app_shows_itself")
    ]
    row = "features/test_scenarios.py::test_the_gateway_refuses_what_is_too_long[1024]"
    outcome = project.pytest(paths=(*ids, row))
    outcome.is_no_go("The gateway refuses what is too long [2048]", "features/gateway.feature:9")
    assert "[1024] applies here" not in outcome.text


def test_another_directory(project: Miniature) -> None:
    project.write("other/test_nothing.py", "def test_fine():\n    pass\n")
    project.pytest(paths=("other",)).is_no_go(WEB)


def test_nothing_collected(project: Miniature) -> None:
    project.write("empty/README", "")
    project.pytest(paths=("empty",)).is_no_go("was collected", WEB)


def test_no_scenario_applies_here(project: Miniature) -> None:
    for path in ("features/gateway.feature", "features/web.feature"):
        project.edit(path, "@env:local", "@env:staging")
    project.pytest().is_no_go("no scenario was collected")


@pytest.mark.parametrize("arguments", [("--maxfail", "1"), ("-x",)])
def test_stopped_at_the_first_failure(project: Miniature, arguments: tuple[str, ...]) -> None:
    project.feature(BAD.format(then="it is refuted"))
    project.edit(
        "features/test_scenarios.py",
        'scenarios(".")',
        'scenarios("extra.feature", "web.feature", "gateway.feature")',
    )
    outcome = project.pytest(*arguments)
    outcome.is_no_go("SB-1 Something: refuted", WEB, "the run ended before it")


# --- options under which it cannot keep its word --------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("-n", "2"),
        ("--tx", "2*popen", "--dist", "load"),
        ("-p", "no:junitxml"),
        ("-p", "no:allure_pytest_bdd"),
    ],
)
def test_refused_options(project: Miniature, arguments: tuple[str, ...]) -> None:
    project.pytest(*arguments).is_refused("options: ")


@pytest.mark.parametrize("option", ["--setup-only", "--setup-plan"])
def test_options_that_run_no_step(project: Miniature, option: str) -> None:
    project.pytest(option).is_no_go(WEB, "the run ended before it")


def test_without_an_environment(project: Miniature) -> None:
    project.pytest("--env", "").is_refused("the checklists need an environment")


def test_an_unknown_environment(project: Miniature) -> None:
    project.pytest("--env", "lokal").is_refused("lokal", "local")


# --- how checks and deployments can end --------------------


@pytest.mark.parametrize(
    ("then", "verdict", "named"),
    [
        ("it is refuted", "refuted", ("table public.notes", "enable it", "RLS on every table")),
        ("nothing answers", "unreachable", ("ConnectionRefusedError: 127.0.0.1:9",)),
        ("the check breaks", "blocked", ("ZeroDivisionError: in the check", "minichecks.py:")),
        ("the check hangs", "unreachable", ("no answer within 0.2 s",)),
        ("nothing provides it", "blocked", ("no provider: nothing rolls back yet",)),
        ("it answers True", "blocked", ("it returned True, which is no Evidence",)),
    ],
)
def test_a_check_that_does_not_hold(
    project: Miniature, then: str, verdict: str, named: tuple[str, ...]
) -> None:
    project.feature(BAD.format(then=then))
    outcome = project.pytest()
    outcome.is_no_go(f"{verdict}: mini.", f"SB-1 Something: {verdict}", "features/extra.feature:4", *named)
    assert outcome.exit == 1
    others = [s["verdict"] for s in outcome.run["scenarios"] if s["feature"] != "Extra"]
    assert others == ["holds"] * 4


def test_a_deployment_that_fails(project: Miniature) -> None:
    outcome = project.pytest(MINI_BROKEN="supabase")
    outcome.is_no_go("supabase: its port is taken", "what to do: free it", "supabase was not deployed")
    verdicts = {component["component"]: component["verdict"] for component in outcome.run["components"]}
    assert verdicts["supabase"] == "refuted"
    assert verdicts["gateway"] == "blocked"
    assert {s["verdict"] for s in outcome.run["scenarios"]} == {"blocked"}


def test_what_a_failed_deployment_blocks_is_told_in_one_line_each(project: Miniature) -> None:
    outcome = project.pytest(MINI_BROKEN="gateway")
    blocked = [s for s in outcome.run["scenarios"] if s["feature"] == "Gateway"]
    assert {s["verdict"] for s in blocked} == {"blocked"}
    assert outcome.text.count("what to do: free it") == 1
    told = [
        line for line in outcome.text.splitlines() if "blocked: gateway was not deployed: its port" in line
    ]
    assert len(told) == len(blocked)


def test_a_component_without_a_provider(project: Miniature) -> None:
    project.pytest(MINI_MISSING="web").is_no_go(
        "web", "no provider: nothing implements 'local' for web yet"
    )


# --- waivers --------------------


def waived(project: Miniature, check: str, expires: str) -> None:
    path = project.root / "environments" / "local.yaml"
    path.write_text(
        f"{path.read_text()}\nwaivers:\n  - check: {check}\n    reason: the vendor mends it this month\n"
        f"    owner: ada\n    expires: {expires}\n"
    )


@pytest.mark.parametrize("check", ["mini.refuted", "SB-1"])
def test_a_waiver_lets_the_run_pass_and_is_shown_first(project: Miniature, check: str) -> None:
    project.feature(BAD.format(then="it is refuted"))
    waived(project, check, SOON)
    outcome = project.pytest()
    assert outcome.exit == 0, outcome.text
    assert outcome.run["decision"] == "GO"
    assert f"waived    {check} by ada until {SOON}" in "\n".join(outcome.text.splitlines()[:3])
    assert "1 waived" in outcome.text.splitlines()[-2]
    assert "may be promoted, 1 scenario only by a waiver" in outcome.last_line
    assert outcome.text.index(f"waived by ada until {SOON}: the vendor") < outcome.text.index("checklist ")
    [about] = project.state.rglob("environment.properties")
    assert about.read_text().startswith("Waived=mini.refuted: waived by ada")
    assert "public.notes has none" in outcome.text


@pytest.mark.parametrize("then", ["it is refuted", "it holds"])
def test_an_expired_waiver(project: Miniature, then: str) -> None:
    project.feature(BAD.format(then=then))
    waived(project, "mini.refuted", "2020-01-01")
    project.pytest().is_no_go("the waiver of mini.refuted by ada ran out on 2020-01-01")


def test_a_waiver_of_an_outage_waives_nothing(project: Miniature) -> None:
    project.feature(BAD.format(then="nothing answers"))
    waived(project, "mini.unreachable", SOON)
    project.pytest().is_no_go("SB-1 Something: unreachable")


def test_a_waiver_of_an_unknown_check(project: Miniature) -> None:
    waived(project, "mini.refutet", SOON)
    project.pytest().is_refused("there is no check 'mini.refutet'", "did you mean mini.refuted?")
