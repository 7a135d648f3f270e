"""From what a run saw to its decision."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from harness.conductor import ComponentRecord
from harness.evidence import Verdict, blocked, holds
from harness.ledger import Decision, Ledger, NotRun, ScenarioRecord

START = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


def ledger(*verdicts: Verdict, verify_only: bool = False) -> Ledger:
    made = Ledger("local", "run", verify_only, START, finished=START + dt.timedelta(seconds=7))
    made.scenarios = [scenario(verdict) for verdict in verdicts]
    return made


def scenario(verdict: Verdict, **more: object) -> ScenarioRecord:
    values = {
        "feature": "Gateway",
        "rule": "",
        "name": "It answers",
        "row": "",
        "items": ("GW-3",),
        "where": "features/gateway.feature:4",
        "verdict": verdict,
        "message": "",
        "evidence": (holds("seen"),),
        "seconds": 0.5,
    }
    return ScenarioRecord(**{**values, **more})


def test_all_that_was_asked_holds() -> None:
    assert ledger(Verdict.HOLDS, Verdict.WAIVED).decision is Decision.GO


def test_verify_only_is_never_a_go() -> None:
    assert ledger(Verdict.HOLDS, verify_only=True).decision is Decision.VERIFIED


@pytest.mark.parametrize("verdict", [Verdict.REFUTED, Verdict.UNREACHABLE, Verdict.BLOCKED])
@pytest.mark.parametrize("verify_only", [True, False])
def test_one_that_does_not_pass_is_enough(verdict: Verdict, verify_only: bool) -> None:
    made = ledger(Verdict.HOLDS, verdict, verify_only=verify_only)
    assert made.decision is Decision.NO_GO
    assert made.reasons == [f"GW-3 It answers: {verdict}"]


def test_nothing_asked_is_no_pass() -> None:
    assert ledger().reasons == ["nothing was asked"]
    assert ledger().decision is Decision.NO_GO


def test_what_was_left_out_is_no_pass_and_is_named() -> None:
    made = ledger(Verdict.HOLDS)
    made.left_out = [NotRun(f"S{number}", "deselected", "", f"f:{number}") for number in range(7)]
    assert made.decision is Decision.NO_GO
    assert made.reasons[0] == "S0 applies here and was not run: deselected (f:0)"
    assert made.reasons[-1] == "2 more that apply here were not run"


def test_what_does_not_apply_and_drills_under_verify_only_count_as_nothing() -> None:
    made = ledger(Verdict.HOLDS)
    made.not_applicable = [NotRun("Image", "no image here", "GW-1")]
    made.drills_left_out = [NotRun("Kill", "it disturbs")]
    assert made.decision is Decision.GO
    assert made.count(Verdict.HOLDS) == 1


def test_a_component_that_is_not_deployed_is_no_pass() -> None:
    made = ledger(Verdict.HOLDS)
    made.components = [ComponentRecord("web", Verdict.REFUTED, reason="web: port taken\nstop nc")]
    assert made.reasons == ["web: port taken"]
    assert made.decision is Decision.NO_GO


def test_a_trouble_is_no_pass() -> None:
    made = ledger(Verdict.HOLDS)
    made.troubles = ["the run was interrupted"]
    assert made.decision is Decision.NO_GO


def test_the_json_form() -> None:
    made = ledger(Verdict.BLOCKED)
    made.scenarios = [scenario(Verdict.BLOCKED, evidence=(blocked("no provider"),), row="1, 2")]
    made.components = [ComponentRecord("web", Verdict.HOLDS, "sha256:1", ("built",), seconds=1.234)]
    shown = json.loads(json.dumps(made.as_dict()))
    assert shown["decision"] == "NO-GO"
    assert shown["reasons"] == ["GW-3 It answers [1, 2]: blocked"]
    assert shown["release"] == {"web": "sha256:1"}
    assert shown["components"][0]["seconds"] == 1.23
    assert shown["scenarios"][0]["evidence"][0]["summary"] == "no provider"
    assert shown["seconds"] == 7.0
