"""`harness approve`: what is shown before somebody signs, and what is said when nothing was signed."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from harness import cli_approve
from tests.attack.stand import Stand, ssh_key, write_tree
from tests.promotion_stand import Deposit
from tests.release_tree import commit


@pytest.fixture
def deposit(tmp_path: Path) -> Deposit:
    public = ssh_key(tmp_path / "sam")
    made = Deposit(write_tree(tmp_path / "tree", public))
    made.stand.release.write(made.root / "release.json")
    return made


def test_an_ssh_key_that_others_can_read_is_named_as_that(deposit: Deposit, tmp_path: Path) -> None:
    (tmp_path / "sam").chmod(0o644)
    done = deposit.harness("approve", "--env", "production", "--key", str(tmp_path / "sam"), "--yes")
    assert done.returncode == 4
    assert f"{tmp_path / 'sam'}: can be read by others (mode 0644); nothing was signed" in done.stderr
    (tmp_path / "sam").chmod(0o600)
    (tmp_path / "sam").write_text("no key\n")
    done = deposit.harness("approve", "--env", "production", "--key", str(tmp_path / "sam"), "--yes")
    assert "cannot sign with it:\n    " in done.stderr and "sam" in done.stderr
    assert not deposit.store.names("approvals/")


def test_the_screen_says_what_it_waits_for_and_all_that_is_signed(deposit: Deposit) -> None:
    """Not that the gate is closed and that this very command would open it."""
    migrations = deposit.root / "supabase" / "migrations"
    deposit.ran_in_production("20260303T120000Z-old", environment="drills: true\n")
    dropping = "-- accept drop-table: nobody reads it\ndrop table public.notes;\nselect '\x1b[31m';\n"
    (migrations / "20260201000000_drop.sql").write_text(dropping)
    commit(deposit.root, "drop what nobody reads")
    now = dt.datetime.now(dt.UTC)
    stand = replace(Stand.honest(deposit.root), evidence=None, approvals=[])

    def ran(payload: dict[str, Any]) -> None:
        deposit.freshen(payload, now)
        payload["predicate"]["run"] = "20260305T110000Z-new"

    deposit.keep("runs/staging/20260305T110000Z-new", stand.ran(ran))
    stand.release.write(deposit.root / "release.json")
    lines = deposit.harness("approve", "--env", "production", "--yes", "--key", "none").stdout.splitlines()
    text = "\n".join(lines)
    assert lines[0] == f"WAITS  {stand.release.name} may enter production as soon as it is approved."
    assert lines[1] == "  waits for 0 of 1 approvals (allowed: dana, sam)"
    assert "CLOSED" not in text and "harness approve" not in text
    assert "by pipeline (run 7), 1 minute ago: 4 of 4 tests passed" in text
    assert "migration 20260201000000_drop.sql: new, has no reverse; 2 statements" in text
    assert "destructive  line 1: drop-table: accepted: nobody reads it" in text
    assert "      | drop table public.notes;" in text and "      | select '␛[31m';" in text
    assert "      | -drills: true" in text


def test_ctrl_c_and_ctrl_d_say_that_nothing_was_signed(
    deposit: Deposit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(*_: object) -> None:
        raise typer.Abort

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    for way in (stops, interrupted):
        monkeypatch.setattr(cli_approve, "_ask", way)
        done = deposit.harness("approve", "--env", "production", "--key", str(tmp_path / "sam"))
        assert done.returncode == 1
        assert done.stdout.rstrip().endswith("not approved: nothing was signed")
    assert not deposit.store.names("approvals/")


def test_two_approvals_in_one_second_are_two(deposit: Deposit, tmp_path: Path) -> None:
    for _ in range(2):
        done = deposit.harness("approve", "--env", "production", "--key", str(tmp_path / "sam"), "--yes")
        assert done.returncode == 0, done.stderr
    assert len(deposit.store.names("approvals/production/")) == 2


def test_where_no_approval_is_asked_for_that_is_said_first(deposit: Deposit) -> None:
    done = deposit.harness("approve", "--env", "staging", "--yes")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("staging asks for no approval: there is nothing to sign")
