"""A release is its components' digests; the file says nothing else than what it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.providers.base import Plan
from harness.release import Release

PLANS = [Plan("web", "sha256:aa"), Plan("gateway", "sha256:bb", ("replace it",))]


def test_the_same_digests_are_the_same_release_in_any_order(tmp_path: Path) -> None:
    one, other = Release.of(PLANS, tmp_path), Release.of(reversed(PLANS), tmp_path)
    assert one == other
    assert one.commit == "" and not one.dirty
    assert one.name == f"release-{one.digest[7:19]}"
    assert one.digest != Release({**one.components, "web": "sha256:ab"}).digest


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    release = Release({"gateway": "sha256:bb", "web": "sha256:aa"}, "0123456789ab", True)
    release.write(tmp_path / "release.json")
    assert Release.read(tmp_path / "release.json") == release
    assert json.loads((tmp_path / "release.json").read_text())["components"] == release.components


@pytest.mark.parametrize(
    "change",
    [
        {"components": {"web": "sha256:zz"}},
        {"name": "release-of-mine"},
        {"schema": 2},
        {"dirty": "no"},
        {"note": "approved"},
        {"components": ["web"]},
    ],
)
def test_a_file_that_says_something_else_is_refused(tmp_path: Path, change: dict) -> None:
    path = tmp_path / "release.json"
    Release({"web": "sha256:aa"}, "0123456789ab").write(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(HarnessError):
        Release.read(path)
