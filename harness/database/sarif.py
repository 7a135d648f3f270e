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
        (p, _uncommented(p.read_text(encoding="utf-8", errors="replace")))
        for p in sorted(migrations.glob("*.sql"))
    ]
    if root is not None:
        files = [(path.relative_to(root), text) for path, text in files]
    return [replace(one, source=_place(one, files)) for one in found]


def _uncommented(text: str) -> str:
    """The text with blanks for its comments: what they mention is not defined there."""
    return re.sub(r"--[^\n]*", lambda comment: " " * len(comment[0]), text)


def _place(one: Found, files: list[tuple[Path, str]]) -> str:
    for pattern in _patterns(one):
        for path, text in reversed(files):
            if places := [match.start() for match in pattern.finditer(text)]:
                return f"{path}:{text.count(chr(10), 0, places[-1]) + 1}"
    return ""


def _patterns(one: Found) -> list[re.Pattern[str]]:
    """What a statement that defines the object looks like, on however many lines; the narrowest first."""
    found = []
    policy = re.match(r'policy "(.+)" on (.+)$', one.object)
    if policy:
        found.append(rf"\b(create|alter)\s+policy\s+{_name(policy[1])}\s+on\s+{_title(policy[2])}")
    elif rule := re.match(r'rule "(.+)" on (.+)$', one.object):
        found.append(rf"\brule\s+{_name(rule[1])}\s+as\s+on\s+\w+\s+to\s+{_title(rule[2])}")
    elif one.object.startswith("function "):
        title = one.object.removeprefix("function ").partition("(")[0]
        found.append(rf"\b(function|procedure)\s+{_title(title)}\s*\(")
    elif one.object.startswith("bucket "):
        found.append(rf"'{re.escape(one.object.removeprefix('bucket '))}'")
    elif word := re.match(r"(sequence|publication|schema|role) (.+)$", one.object):
        found.append(rf"\b{word[1]}\s+(if\s+not\s+exists\s+)?{_title(word[2])}")
    else:
        found.append(_relation(one.object.partition(",")[0]))
    if one.table and not one.table.startswith("bucket "):
        found.append(_relation(one.table))
    return [re.compile(text, re.I) for text in found]


def _relation(title: str) -> str:
    return rf"\b(table|view)\s+(if\s+(not\s+)?exists\s+)?(only\s+)?{_title(title)}"


def _title(title: str) -> str:
    """schema.name as statements write it; what is in `public` needs no schema."""
    parts = [part.strip('"') for part in re.findall(r'"(?:[^"]|"")*"|[^."]+', title)]
    if len(parts) < 2:
        return _name(title.strip('"'))
    schema = rf"{_name(parts[0])}\s*\.\s*"
    return (rf"({schema})?" if parts[0] == "public" else schema) + _name(parts[-1])


def _name(name: str) -> str:
    """The whole name, quoted or not: no other that begins or ends like it."""
    return rf'(?<![\w$"])"?{re.escape(name)}"?(?![\w$"])'


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
        "writes": report.writes,
        "notes": report.notes,
    }
    path.write_text(redact(json.dumps(data, indent=2)) + "\n", encoding="utf-8")
