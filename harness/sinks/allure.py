"""Allure results: evidence beside every scenario, what was not run, the environment, the categories."""

from __future__ import annotations

import json
import os
import time
import uuid
from pathlib import Path
from typing import Any

import allure_commons
import pytest
from allure_commons.types import AttachmentType, LabelType, LinkType

from harness.evidence import Evidence, Verdict
from harness.ledger import Ledger, NotRun, ScenarioRecord
from harness.secrets import redact
from harness.sinks.files import clean_file

__all__ = ["CATEGORIES", "AllureSink"]

CATEGORIES = [
    {
        "name": "Refuted: the world contradicts the checklist",
        "matchedStatuses": ["failed"],
        "messageRegex": "^Refuted",
    },
    {
        "name": "Unreachable: nothing answered",
        "matchedStatuses": ["broken"],
        "messageRegex": "^Unreachable",
    },
    {
        "name": "Blocked: something before it failed or is missing",
        "matchedStatuses": ["broken"],
        "messageRegex": "^Blocked",
    },
    {"name": "Not run: applies elsewhere, or was left out", "matchedStatuses": ["skipped"]},
]


class AllureSink:
    """Adds to what allure-pytest-bdd writes by itself."""

    def __init__(self, config: pytest.Config) -> None:
        directory = config.option.allure_report_dir
        self._results = Path(directory) if directory else None
        self._hook: Any = allure_commons.plugin_manager.hook

    def scenario(self, record: ScenarioRecord) -> None:
        """Label the scenario that is just ending, say what was seen, attach the evidence."""
        waived = ["waived"] if record.verdict is Verdict.WAIVED else []
        self._hook.add_label(label_type=LabelType.TAG, labels=[*record.items, *waived])
        self._hook.add_label(label_type=LabelType.STORY, labels=[record.rule] if record.rule else [])
        self._hook.add_label(label_type=LabelType.SEVERITY, labels=[severity(record)])
        for component in dict.fromkeys(evidence.component for evidence in record.evidence):
            self._hook.add_label(label_type="component", labels=[component])
        if url := source_url(record.where):
            self._hook.add_link(url=url, link_type=LinkType.LINK, name=record.where)
        self._hook.add_description(test_description=_seen(record))
        _took(record.seconds)
        for evidence in record.evidence:
            self._attach(f"{evidence.check}: {evidence.verdict}", evidence.as_dict())

    def _attach(self, name: str, value: dict[str, Any]) -> None:
        self._hook.attach_data(
            body=json.dumps(value, indent=2), name=name, attachment_type=AttachmentType.JSON, extension=None
        )

    def finish(self, ledger: Ledger) -> None:
        """Write what the report shows beside the scenarios."""
        if self._results is None or not self._results.is_dir():
            return
        waived = {f"Waived {n}" if n else "Waived": text for n, text in enumerate(ledger.waived)}
        properties = {
            **waived,  # first: whoever opens the report must not take a waiver for a check that holds
            "Decision": str(ledger.decision),
            "Environment": ledger.environment,
            "Mode": "verify-only" if ledger.verify_only else "deploy",
            "Run": ledger.run_id,
            "By": ledger.by,
            "Revision": ledger.revision,
            **{f"Digest of {name}": digest for name, digest in ledger.release.items()},
        }
        lines = {name.replace(" ", "_"): " ".join(value.split()) for name, value in properties.items()}
        text = "".join(f"{name}={value}\n" for name, value in lines.items() if value)
        self._write("environment.properties", text)
        self._write("categories.json", json.dumps(CATEGORIES, indent=2))
        self._write("executor.json", json.dumps(executor(ledger), indent=2))
        for entry in (*ledger.not_applicable, *ledger.left_out, *ledger.drills_left_out):
            self._not_run(entry)

    def clean(self) -> None:
        """Redact every file once more: other plug-ins wrote most of them."""
        if self._results is not None and self._results.is_dir():
            for path in self._results.iterdir():
                clean_file(path)

    def _not_run(self, entry: NotRun) -> None:
        now = int(time.time() * 1000)
        labels = [("tag", "not run"), ("feature", entry.feature), ("framework", "pytest-bdd")]
        labels += [("tag", item) for item in entry.item.split(", ") if item]
        result = {
            "uuid": str(uuid.uuid4()),
            "name": entry.name,
            "fullName": f"{entry.where}:{entry.name}:{entry.item}",
            "status": "skipped",
            "statusDetails": {"message": f"Not run: {entry.reason}"},
            "start": now,
            "stop": now,
            "labels": [{"name": name, "value": value} for name, value in labels],
        }
        self._write(f"{result['uuid']}-result.json", json.dumps(result))

    def _write(self, name: str, text: str) -> None:
        if self._results is not None:
            (self._results / name).write_text(redact(text), encoding="utf-8")


def _took(seconds: float) -> None:
    """The time of the check itself: the scenario only waited for what was asked beside others."""
    for plugin in allure_commons.plugin_manager.get_plugins():
        if lifecycle := getattr(plugin, "lifecycle", None):
            with lifecycle.update_test_case() as result:
                if result:
                    result.start = (result.stop or int(time.time() * 1000)) - round(seconds * 1000)
            return


def severity(record: ScenarioRecord) -> str:
    """What a checklist promises is critical; what explores beyond it is normal."""
    return "critical" if record.items else "normal"


def source_url(where: str) -> str:
    """The line of the feature file on the forge, when a pipeline says which one; else empty."""
    server, repository, commit = (
        os.environ.get(f"GITHUB_{name}", "") for name in ("SERVER_URL", "REPOSITORY", "SHA")
    )
    if not (server and repository and commit):
        return ""
    path, _, line = where.partition(":")
    return f"{server}/{repository}/blob/{commit}/{path}#L{line}"


def executor(ledger: Ledger) -> dict[str, str]:
    """Who made the report, as Allure wants to be told."""
    about = {
        "name": ledger.by or "pytest",
        "type": "github" if os.environ.get("GITHUB_RUN_ID") else "local",
        "buildName": f"{ledger.environment} {ledger.run_id}",
    }
    server, repository, run = (
        os.environ.get(f"GITHUB_{name}", "") for name in ("SERVER_URL", "REPOSITORY", "RUN_ID")
    )
    if server and repository and run:
        about["buildUrl"] = f"{server}/{repository}/actions/runs/{run}"
    return about


def _seen(record: ScenarioRecord) -> str:
    return "\n\n".join(_line(evidence) for evidence in record.evidence) or record.message


def _line(evidence: Evidence) -> str:
    return f"**{evidence.check}** {evidence.verdict} ({evidence.seconds:.2f} s): {evidence.summary}"
