"""Findings for machines: SARIF 2.1.0 and JSON, each with the migration that last defined the object."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.database.findings import Found, Report
from harness.sarif import file_location, log, write
from harness.secrets import redact

__all__ = ["located", "sarif", "write_json", "write_sarif"]


def located(found: Iterable[Found], migrations: Path | None, root: Path | None = None) -> list[Found]:
    """The findings with file:line of the last migration that names their object, relative to ``root``."""
    if migrations is None or not migrations.is_dir():
        return list(found)
    files = [
        (p, p.read_text(encoding="utf-8", errors="replace").splitlines())
        for p in sorted(migrations.glob("*.sql"))
    ]
    if root is not None:
        files = [(path.relative_to(root), lines) for path, lines in files]
    return [replace(one, source=_place(one, files)) for one in found]


def _place(one: Found, files: list[tuple[Path, list[str]]]) -> str:
    for pattern in _patterns(one):
        for path, lines in reversed(files):
            for number in range(len(lines), 0, -1):
                if pattern.search(lines[number - 1]):
                    return f"{path}:{number}"
    return ""


def _patterns(one: Found) -> list[re.Pattern[str]]:
    """What a line that defines the object looks like; the narrowest first."""
    found = []
    if policy := re.match(r'policy "(.+)" on (.+)$', one.object):
        found.append(re.compile(rf"\bpolicy\s+\"?{re.escape(policy[1])}\"?", re.I))
    name = one.object
    for word in ("function ", "bucket ", "sequence ", "publication ", "schema ", "role "):
        name = name.removeprefix(word)
    bare = re.split(r"[(,]", name)[0].rpartition(".")[2].strip('"')
    if one.object.startswith("function "):
        found.append(re.compile(rf"\bfunction\s+(\w+\.)?\"?{re.escape(bare)}\"?\s*\(", re.I))
    elif one.object.startswith("bucket "):
        found.append(re.compile(rf"'{re.escape(bare)}'", re.I))
    elif not policy:
        found.append(
            re.compile(rf"\b(table|view)\s+(if\s+not\s+exists\s+)?(\w+\.)?\"?{re.escape(bare)}\"?\b", re.I)
        )
    if one.table:
        table = one.table.rpartition(".")[2].strip('"')
        found.append(
            re.compile(rf"\b(table|view)\s+(if\s+not\s+exists\s+)?(\w+\.)?\"?{re.escape(table)}\"?\b", re.I)
        )
    return found


def sarif(report: Report) -> dict[str, Any]:
    """The report as a SARIF log of one run."""
    rules = dict.fromkeys(sorted({one.rule for one in report.found}), "")
    results = [_result(one) for one in report.found]
    return log("harness db check", rules, results, [str(gap) for gap in report.gaps])


def _result(one: Found) -> dict[str, Any]:
    finding = one.finding()
    text = f"{finding.where}: {finding.observed}. Expected: {finding.expected}. To do: {finding.remedy}"
    location: dict[str, Any] = {
        "logicalLocations": [{"fullyQualifiedName": one.object, "kind": "object"}],
    }
    if one.source:
        location["physicalLocation"] = file_location(one.source)
    return {
        "ruleId": one.rule,
        "level": str(one.severity),
        "message": {"text": text},
        "locations": [location],
        "partialFingerprints": {"object/v1": f"{one.rule} {one.object}"},
    }


def write_sarif(report: Report, path: Path) -> None:
    """Write the SARIF log to ``path``."""
    write(sarif(report), path)


def write_json(report: Report, path: Path) -> None:
    """Write the whole report to ``path``."""
    data = {
        "findings": [
            {
                "rule": one.rule,
                "object": one.object,
                "severity": str(one.severity),
                "roles": one.roles,
                "table": one.table,
                "observed": one.what,
                "expected": one.expected,
                "fix": one.fix,
                "proofs": one.proofs,
                "source": one.source,
            }
            for one in report.found
        ],
        "gaps": [vars(gap) for gap in report.gaps],
        "tables": report.tables,
        "probes": report.probes,
    }
    path.write_text(redact(json.dumps(data, indent=2)) + "\n", encoding="utf-8")
