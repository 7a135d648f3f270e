"""JUnit XML: what pytest writes, with the verdict and the evidence in it.

Tools that read only this file must see a no-go as a failure, whatever its reason: one more test case,
``decision``, stands for the run as a whole.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from harness.ledger import Decision, Ledger, ScenarioRecord
from harness.sinks.files import clean_file

__all__ = ["describe", "finish"]


def describe(item: pytest.Item, record: ScenarioRecord) -> None:
    """Put the verdict and the evidence where pytest's writer finds them."""
    item.user_properties += [
        ("verdict", str(record.verdict)),
        ("items", " ".join(record.items)),
        ("where", record.where),
        ("evidence", json.dumps([evidence.as_dict() for evidence in record.evidence])),
    ]


def finish(path: Path, ledger: Ledger) -> None:
    """Add the decision, and what stands behind it, to what pytest has written."""
    if not path.is_file():
        return
    clean_file(path)
    tree = ET.parse(path)  # noqa: S314
    suite = tree.getroot().find("testsuite")
    if suite is None:
        return
    properties = suite.find("properties")
    if properties is None:
        properties = ET.Element("properties")
        suite.insert(0, properties)
    for name, value in _properties(ledger):
        ET.SubElement(properties, "property", name=name, value=value)
    _decision(suite, ledger)
    ET.indent(tree)
    tree.write(path, encoding="utf-8", xml_declaration=True)
    clean_file(path)


def _properties(ledger: Ledger) -> list[tuple[str, str]]:
    found = [
        ("environment", ledger.environment),
        ("run", ledger.run_id),
        ("mode", "verify-only" if ledger.verify_only else "deploy"),
        ("decision", str(ledger.decision)),
        ("by", ledger.by),
        ("revision", ledger.revision),
    ]
    found += [(f"digest.{component}", digest) for component, digest in ledger.release.items()]
    found += [("reason", reason) for reason in ledger.reasons]
    found += [("waived", waived) for waived in ledger.waived]
    found += [
        ("not-applicable", " ".join(filter(None, (entry.item, entry.name, f"({entry.reason})"))))
        for entry in ledger.not_applicable
    ]
    return found


def _decision(suite: ET.Element, ledger: Ledger) -> None:
    case = ET.SubElement(
        suite, "testcase", classname=ledger.environment, name="decision", time=f"{ledger.seconds:.3f}"
    )
    suite.set("tests", str(int(suite.get("tests", "0")) + 1))
    if ledger.decision is Decision.NO_GO:
        failure = ET.SubElement(case, "failure", message=f"NO-GO: {ledger.reasons[0]}")
        failure.text = "\n".join(ledger.reasons)
        suite.set("failures", str(int(suite.get("failures", "0")) + 1))
