"""SARIF 2.1.0 (OASIS): findings as code scanners exchange them, of any tool of the harness."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.secrets import redact

__all__ = ["file_location", "log", "write"]

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def log(
    tool: str, rules: Mapping[str, str], results: Sequence[dict[str, Any]], trouble: Sequence[str] = ()
) -> dict[str, Any]:
    """A log of one run of ``tool``; ``rules`` by id say why, ``trouble`` what it could not do."""
    described = [
        {"id": rule, **({"shortDescription": {"text": why}} if why else {})} for rule, why in rules.items()
    ]
    notifications = [{"level": "warning", "message": {"text": text}} for text in trouble]
    run = {
        "tool": {"driver": {"name": tool, "rules": described}},
        "results": list(results),
        "invocations": [{"executionSuccessful": not trouble, "toolExecutionNotifications": notifications}],
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def file_location(where: str) -> dict[str, Any]:
    """The physical location of ``where``, a file:line."""
    file, _, line = where.rpartition(":")
    return {"artifactLocation": {"uri": file}, "region": {"startLine": int(line)}}


def write(document: Mapping[str, Any], path: Path) -> None:
    """Write ``document``, redacted.

    Raises:
        OSError: when ``path`` cannot be written.
    """
    path.write_text(redact(json.dumps(document, indent=2)) + "\n", encoding="utf-8")
