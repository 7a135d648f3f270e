"""SARIF: the findings of a run as code scanners show them, each at the line of a file that it is about.

That is the migration that last defined an object, or whatever file:line a finding names; else the scenario
that it refutes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness import sarif
from harness.checks.base import CHECKS
from harness.evidence import Evidence, Finding, Verdict
from harness.ledger import Ledger, ScenarioRecord

__all__ = ["document", "write"]

_PLACE = re.compile(r"(?:^|\[)([\w./-]+\.(?:sql|yaml|toml|feature|py)):(\d+)")
_LEVELS = {Verdict.REFUTED: "error", Verdict.WAIVED: "note"}


def write(ledger: Ledger, path: Path) -> None:
    """Write the findings of the run to ``path``.

    Raises:
        OSError: when it cannot be written.
    """
    sarif.write(document(ledger), path)


def document(ledger: Ledger) -> dict[str, Any]:
    """The log of one run; what nothing answered, or was not reached, is no result but trouble."""
    results = [_result(scenario, evidence, finding) for scenario, evidence, finding in _found(ledger)]
    rules = {one["ruleId"]: _purpose(one["ruleId"]) for one in results}
    trouble = [
        f"{scenario.label}: {scenario.verdict}: {scenario.message}"
        for scenario in ledger.scenarios
        if scenario.verdict in (Verdict.UNREACHABLE, Verdict.BLOCKED)
    ]
    return sarif.log(f"checklists of {ledger.environment}", rules, results, [*ledger.troubles, *trouble])


def _found(ledger: Ledger) -> Iterator[tuple[ScenarioRecord, Evidence, Finding]]:
    seen = set()
    for scenario in ledger.scenarios:
        for evidence in scenario.evidence:
            if evidence.verdict not in _LEVELS:
                continue
            for finding in evidence.findings:
                if (evidence.check, finding) not in seen:  # two scenarios may ask one check
                    seen.add((evidence.check, finding))
                    yield scenario, evidence, finding


def _result(scenario: ScenarioRecord, evidence: Evidence, finding: Finding) -> dict[str, Any]:
    match = _PLACE.search(finding.where)
    place = f"{match[1]}:{match[2]}" if match else scenario.where
    text = f"{finding.where}: {finding.observed}. Expected: {finding.expected}. To do: {finding.remedy}"
    location = {
        "physicalLocation": sarif.file_location(place),
        "logicalLocations": [{"fullyQualifiedName": finding.where}],
    }
    return {
        "ruleId": evidence.check,
        "level": _LEVELS[evidence.verdict],
        "message": {"text": text},
        "locations": [location],
        "partialFingerprints": {"object/v1": f"{evidence.check} {finding.where}"},
    }


def _purpose(name: str) -> str:
    return CHECKS[name].purpose if name in CHECKS else ""
