"""Negative controls of the ways back: a real model configuration, a real database, taken back badly."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from harness.checks import migrations, rls, rollback_database, rollback_inference
from harness.evidence import Evidence, Verdict
from harness.providers.backup import Archive
from harness.providers.host.supabase import HostSupabase
from harness.providers.pod.configuration import HOME
from harness.providers.pod.instant import PodInstant
from tests.services_stack import Services

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _without_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    """These machines have no gateway and no web app: what needs them is not asked again here."""
    monkeypatch.setattr(rollback_database, "_VERIFIED", (migrations.recorded, rls.reads))
    right = rollback_inference._everything
    monkeypatch.setattr(
        rollback_inference, "_everything", lambda: [c for c in right() if c.component == "instant"]
    )


def said(evidence: Evidence) -> str:
    return "\n".join(str(finding) for finding in evidence.findings)


def refuted(evidence: Evidence) -> str:
    assert evidence.verdict is Verdict.REFUTED, evidence.summary
    return said(evidence)


def test_the_right_ways_back_hold_and_leave_everything_as_it_was(services: Services) -> None:
    before, kept = services.instant.in_use(), services.instant.previous()
    for question in (
        rollback_inference.instant_taken_back,
        rollback_database.restored,
        rollback_database.reversed_,
    ):
        evidence = question(services.stack)
        assert evidence.verdict is Verdict.HOLDS, (evidence.summary, said(evidence))
    assert (services.instant.in_use(), services.instant.previous()) == (before, kept)
    assert services.supabase.plan().unchanged


def test_a_configuration_that_was_pruned_is_named(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = services.instant.in_use()
    right = PodInstant.reconfigure

    def pruned(provider: PodInstant, context_tokens: int) -> str:
        made = right(provider, context_tokens)
        services.run("instant", f"rm {HOME}/releases/{before}/engine.yaml")
        return made

    monkeypatch.setattr(PodInstant, "reconfigure", pruned)
    _short(services, monkeypatch)
    text = refuted(rollback_inference.instant_taken_back(services.stack))
    assert f"{before} serves within" in text


@contextlib.contextmanager
def _two_configurations(services: Services) -> Iterator[str]:
    """A second one has been deployed: the digest of the first, which is kept."""
    first, kept = services.instant.in_use(), services.instant.previous()
    services.instant.reconfigure(services.instant.config.model.context_tokens // 2)
    try:
        yield first
    finally:
        services.instant.deploy(lambda _: None)  # the first is in use again
        services.instant.keep(kept)


def test_a_kept_configuration_that_cannot_start_is_named(services: Services) -> None:
    with _two_configurations(services) as first:
        evidence = rollback_inference.instant_kept(services.stack)
        assert evidence.verdict is Verdict.HOLDS, said(evidence)
        assert first in evidence.summary
        unit, weights = f"{HOME}/releases/{first}/engine.yaml", f"$(echo {HOME}/weights/*.gguf)"
        for file, named in ((unit, "engine.yaml"), (weights, ".gguf")):
            with services.broken("instant", f"mv {file} /root/away", f"mv /root/away {file}"):
                text = refuted(rollback_inference.instant_kept(services.stack))
            assert f"{first} lacks {HOME}/" in text and named in text


def test_a_configuration_that_nobody_keeps_is_named(services: Services) -> None:
    with _two_configurations(services):
        services.instant.keep("")
        text = refuted(rollback_inference.instant_kept(services.stack))
    assert "none is kept" in text
    assert "deploy a second one" in text


def test_a_new_configuration_that_never_served_is_named(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PodInstant, "reconfigure", lambda *_: services.instant.in_use())
    monkeypatch.setattr(PodInstant, "roll_back", lambda _: None)
    text = refuted(rollback_inference.instant_taken_back(services.stack))
    assert "is the new one started at all?" in text


def test_a_backup_without_rows_in_the_place_of_the_database_is_named(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_rows(provider: HostSupabase, snapshot: str) -> Path:
        path = provider.stack.state / "backups" / "without-rows.dump"
        options = ["--exclude-table-data=auth.users"]
        Archive(path, provider.programs_directory()).dump(provider.dsn(), snapshot, options)
        return path

    with psycopg.connect(services.supabase.dsn()) as connection:
        connection.execute("insert into auth.users (id, aud, role) values (gen_random_uuid(), 'x', 'x')")
    monkeypatch.setattr(HostSupabase, "backup", without_rows)
    text = refuted(rollback_database.restored(services.stack))
    assert "auth.users" in text


def test_a_backup_that_cannot_be_restored_changes_nothing(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = HostSupabase.backup

    def cut_short(provider: HostSupabase, snapshot: str) -> Path:
        path = right(provider, snapshot)
        path.write_bytes(path.read_bytes()[:2000])
        return path

    monkeypatch.setattr(HostSupabase, "backup", cut_short)
    assert "a backup that can be restored" in refuted(rollback_database.restored(services.stack))
    assert migrations.recorded(services.stack).verdict is Verdict.HOLDS
    assert rls.reads(services.stack).verdict is Verdict.HOLDS


def test_a_restore_that_did_not_happen_is_named(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HostSupabase, "restore", lambda *_: "nothing")
    text = refuted(rollback_database.restored(services.stack))
    assert "nothing later than the backup" in text


def test_a_reverse_that_leaves_something_behind_is_named(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "supabase"
    shutil.copytree(services.supabase.source.resolve(), source, ignore=shutil.ignore_patterns(".temp"))
    newest = sorted((source / "rollbacks").glob("*.sql"))[-1]
    right = newest.read_text()
    newest.write_text("select 'this takes nothing back';\n")
    monkeypatch.setattr(HostSupabase, "source", property(lambda _: source))
    monkeypatch.setattr(rollback_database, "_brought_back", _swept(services, right))
    text = refuted(rollback_database.reversed_(services.stack))
    assert newest.name in text
    assert "usage" in text


def _swept(services: Services, reverse: str) -> Any:
    """As the drill heals, but first what the broken reverse has left is removed, or nothing would apply."""
    heal = rollback_database._brought_back

    @contextlib.contextmanager
    def brought_back(*arguments: Any) -> Any:
        with heal(*arguments):
            yield
            with psycopg.connect(services.supabase.dsn()) as connection:
                connection.execute(reverse.encode())

    return brought_back


def _short(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """What never comes need not be waited for as long as on a slow machine."""
    instant = services.stack.environment.instant.model_copy(update={"recover_within_seconds": 4.0})
    monkeypatch.setattr(
        services.stack, "environment", services.stack.environment.model_copy(update={"instant": instant})
    )
