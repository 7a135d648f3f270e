"""docs/checklist.md: generated, complete, and not stale."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import ConfigurationError
from harness.generated import BEGIN, END, stale, write_all
from harness.items import CHECKLISTS, ITEMS
from harness.lint import checklist
from tests.unit.environment_files import ROOT
from tests.unit.lint_project import edit, write_project


def test_the_generated_files_of_the_project_are_not_stale() -> None:
    assert stale(ROOT) == [], "run `make docs`"


def test_the_plan_has_five_checklists() -> None:
    counts = {prefix: sum(item.startswith(f"{prefix}-") for item in ITEMS) for prefix in CHECKLISTS}
    assert counts == {"WEB": 4, "GW": 5, "IG": 5, "TG": 5, "SB": 5}


def test_every_item_is_listed_with_scenario_environments_and_control(tmp_path: Path) -> None:
    text = checklist(write_project(tmp_path))
    for item, meaning in ITEMS.items():
        assert f"### {item}: {meaning}\n" in text
    row = (
        "| [The demo is ready](../features/demo.feature#L14) | local "
        "| [test_unready_is_refuted](../tests/negative/test_demo.py) |"
    )
    assert text.count(row) == len(ITEMS)
    assert "[The demo comes back after &lt;program> died](../features/demo.feature#L19) (drill)" in text


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    root = write_project(tmp_path)
    edit(root, "features/demo.feature", " @item:SB-5", "")
    edit(
        root,
        "environments/local.yaml",
        "not_applicable: {}",
        "not_applicable:\n  GW-1: no image | here at all",
    )
    text = checklist(root)
    assert "### SB-5: Monitoring enabled\n\nNo scenario proves it yet.\n" in text
    assert "| GW-1 | local | no image \\| here at all |" in text


def test_writing_twice_writes_once(tmp_path: Path) -> None:
    root = write_project(tmp_path)
    (root / "docs").mkdir()
    guide = root / "docs" / "environments.md"
    guide.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    (root / "docs" / "migrations.md").write_text(f"{BEGIN}\n{END}\n")
    written = {"schema.json", "release.schema.json", "environments.md", "migrations.md", "checklist.md"}
    assert {path.name for path in write_all(root)} == written
    assert write_all(root) == []
    assert stale(root) == []
    assert guide.read_text().startswith(f"before\n{BEGIN}\n### The file")
    assert guide.read_text().endswith(f"{END}\nafter\n")
    guide.write_text("the markers are gone")
    with pytest.raises(ConfigurationError, match="has lost its generated part"):
        write_all(root)
