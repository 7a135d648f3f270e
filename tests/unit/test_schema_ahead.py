"""A database that is ahead of the release: refused, with what a person has to do to go back."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest

from harness.errors import DeployError
from harness.migrations import Difference, Migration
from harness.providers.schema import Schema


def refused(difference: Difference) -> str:
    schema = Schema(Path("supabase"), "dbname=none", mock.Mock(), seed=False)
    with (
        mock.patch.object(Schema, "difference", return_value=difference),
        pytest.raises(DeployError) as caught,
    ):
        schema.apply(lambda _: None)
    return str(caught.value)


def test_the_reverses_are_named_newest_first() -> None:
    ahead = (Migration("20260101000000", "one", ""), Migration("20260102000000", "two", ""))
    told = refused(Difference(unknown=ahead))
    assert "the database is ahead of this release" in told
    assert "the reverses of 20260102000000_two, 20260101000000_one, in this order" in told
    assert "restore the file" not in told


def test_an_edited_file_is_another_matter() -> None:
    told = refused(Difference(edited=(Migration("20260101000000", "one", ""),)))
    assert "never edit or remove an applied migration: restore the file" in told
