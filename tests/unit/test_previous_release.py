"""Which schema the newer migrations are tried on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.migrations import migrations_in
from harness.providers.previous_release import previous_release


def _git(directory: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.test", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=directory, check=True, capture_output=True)


def _write(source: Path, version: int, text: str) -> Path:
    path = source / "migrations" / f"{version:014}_x.sql"
    path.write_text(text)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two migrations in a repository whose `supabase/` is not at its root."""
    made = tmp_path / "repository" / "deep" / "supabase"
    (made / "migrations").mkdir(parents=True)
    _write(made, 1, "select 1;")
    _write(made, 2, "select 2;")
    _git(made, "init", "-q")
    _git(made, "add", "-A")
    _git(made, "commit", "-qm", "two")
    return made


def test_what_is_applied_counts_while_something_is_pending(source: Path) -> None:
    files = migrations_in(source / "migrations")
    previous = previous_release(source, files, files[:1])
    assert previous.migrations == tuple(files[:1])
    assert previous.origin == "what is applied, up to 00000000000001_x"


def test_the_newest_tag_counts_and_its_files_are_as_they_were(source: Path) -> None:
    _git(source, "tag", "-a", "v1", "-m", "first")
    _write(source, 2, "select 'edited';")
    _write(source, 3, "select 3;")
    files = migrations_in(source / "migrations")
    previous = previous_release(source, files, files)
    assert [m.text for m in previous.migrations] == ["select 1;", "select 2;"]
    assert previous.origin == "the tag v1, up to 00000000000002_x"


def test_a_tag_without_fewer_migrations_says_nothing(source: Path) -> None:
    _git(source, "tag", "v1")
    files = migrations_in(source / "migrations")
    assert previous_release(source, files, files).origin == "everything before 00000000000002_x"


def test_without_a_repository_all_but_the_newest_count(tmp_path: Path) -> None:
    (tmp_path / "migrations").mkdir()
    _write(tmp_path, 1, "select 1;")
    files = migrations_in(tmp_path / "migrations")
    previous = previous_release(tmp_path, files, files)
    assert previous.migrations == ()
    assert previous.origin == "everything before 00000000000001_x"
