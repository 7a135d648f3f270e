"""Correct but unusual schemas behind a real Data API: nothing is found of them, and nothing stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.api_stand import Exposed, told
from tests.corpus import DECLARATION, SCHEMA, SILENT

Made = Callable[..., Exposed]
UNPROVEN = {
    "rules_and_copies": ("public.receipts", "public.diaries"),  # what a rule or a service's trail keeps
    "strange_names": ('"App Data"."Größe ""x"""',),  # in a schema that this Data API does not expose
}
"""What cannot be planted, or asked for, and says so."""


@pytest.mark.parametrize("schema", SILENT, ids=lambda path: path.stem)
def test_a_correct_but_unusual_schema_is_silent(exposed: Made, schema: Path) -> None:
    made = exposed(schema.read_text(encoding="utf-8"))
    declared = schema.with_suffix(".yaml").read_text(encoding="utf-8")
    for writes in (False, True):
        report = made.probe(declared, writes=writes)
        assert report.found == [], told(report)
        assert {gap.object for gap in report.gaps} <= set(UNPROVEN.get(schema.stem, ())), told(report)


def test_the_correct_corpus_is_silent(exposed: Made) -> None:
    """With a Data API that takes back what a request writes, and one that does not."""
    for settings in ("", 'db-tx-end = "commit-allow-override"\n'):
        made = exposed(SCHEMA.read_text(encoding="utf-8"), settings=settings)
        declared = DECLARATION.read_text(encoding="utf-8")
        report = made.probe(declared, writes=not settings)
        assert report.found == [], told(report)
        assert [gap.object for gap in report.gaps] == ["public.urgent_tickets"], told(report)  # no key
