"""Findings of a run for code scanners: where each stands."""

from __future__ import annotations

import datetime as dt

import pytest

from harness.evidence import Evidence, Finding, Verdict
from harness.ledger import Ledger, ScenarioRecord
from harness.sinks.sarif import document

START = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)


def of(where: str, verdict: Verdict = Verdict.REFUTED, times: int = 1) -> list[dict]:
    """The results of a run in which a finding at ``where`` was made by ``times`` scenarios."""
    finding = Finding("a", "b", where, "c")
    evidence = Evidence(verdict, "s", (finding,), check="supabase.rls.declared")
    record = (
        "Supabase",
        "",
        "It holds",
        "",
        ("SB-1",),
        "features/s.feature:7",
        verdict,
        "m",
        (evidence,),
        0.1,
    )
    made = Ledger("local", "20260102T000000Z-abc", False, START)
    made.scenarios = [ScenarioRecord(*record)] * times
    return document(made)["runs"][0]["results"]


@pytest.mark.parametrize(
    ("where", "file", "line"),
    [
        (
            'policy "x" on public.notes: rule [supabase/migrations/1_a.sql:12]',
            "supabase/migrations/1_a.sql",
            12,
        ),
        ("supabase/tests/a.sql:3", "supabase/tests/a.sql", 3),
        ("environments/local.yaml:9:3: gateway", "environments/local.yaml", 9),
        ("http://127.0.0.1:8000/health", "features/s.feature", 7),
        ("log of gateway, line 12", "features/s.feature", 7),
    ],
)
def test_a_finding_stands_at_the_line_that_it_names_or_at_its_scenario(
    where: str, file: str, line: int
) -> None:
    (one,) = of(where)
    place = one["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == (file, line)
    assert where in one["message"]["text"]


def test_what_is_waived_is_a_note_and_two_scenarios_make_one_result() -> None:
    assert [one["level"] for one in of("x", Verdict.WAIVED)] == ["note"]
    assert len(of("x", times=2)) == 1


def test_a_rule_says_what_it_is_about() -> None:
    import harness.checks.rls  # noqa: F401 - registers the check

    finding = Finding("a", "b", "x", "c")
    evidence = Evidence(Verdict.REFUTED, "s", (finding,), check="supabase.rls.declared")
    made = Ledger("local", "20260102T000000Z-abc", False, START)
    record = ("S", "", "n", "", (), "features/s.feature:7", Verdict.REFUTED, "m", (evidence,), 0.1)
    made.scenarios = [ScenarioRecord(*record)]
    (rule,) = document(made)["runs"][0]["tool"]["driver"]["rules"]
    assert "as the declaration has them" in rule["shortDescription"]["text"]
