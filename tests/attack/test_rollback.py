"""A rollback asks for less, and is no way round the gate: only what has passed here may come back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.environment.loader import load
from harness.errors import HarnessError
from harness.reentry import Reentry
from harness.release import Release
from tests.attack.stand import EVE, IMAGE, write_tree
from tests.promotion_stand import PRODUCTION, Deposit
from tests.release_tree import change


@pytest.fixture
def deposit(tmp_path: Path) -> Deposit:
    return Deposit(write_tree(tmp_path / "tree"))


def reentry(deposit: Deposit, **more: Any) -> Reentry:
    environment = load("production", deposit.root).environment
    release = more.pop("release", Release.build(deposit.root, IMAGE))
    return Reentry(environment, deposit.root, deposit.store, release, **{"key": PRODUCTION.public, **more})


def denied(attempt: Reentry, told: str) -> None:
    reasons = "\n".join(map(str, attempt.decide().reasons))
    assert told in reasons, reasons
    with pytest.raises(HarnessError, match="the gate has closed"):
        attempt.claim(PRODUCTION)


def test_what_has_passed_here_may_come_back_twice(deposit: Deposit) -> None:
    deposit.ran_in_production("20250101T000000Z-old")
    for _ in range(2):
        attempt = reentry(deposit)
        assert attempt.decide().open, attempt.decide().reasons
        attempt.claim(PRODUCTION)
        attempt.finish("GO")
    assert len(deposit.store.names("decisions/production/")) == 2


def test_what_has_never_run_here_may_not(deposit: Deposit) -> None:
    denied(reentry(deposit), "has never passed in production")


@pytest.mark.parametrize(
    "edit",
    [
        lambda p: p["predicate"].update(result="FAILED", reasons=["x"]),
        lambda p: p["predicate"].update(mode="verify-only"),
        lambda p: p["predicate"].update(dirty=True),
        lambda p: p["predicate"].update(overrides=["pytest: the plug-in evil comes from /x"]),
        lambda p: p["predicate"].update(environment="staging"),
        lambda p: p["predicate"].update(skippedTests=["a.feature: A"]),
        lambda p: p["predicate"].update(failedTests=["a.feature: A"]),
        lambda p: p["subject"].pop(),
        lambda p: p["subject"][1].update(digest={"sha256": "e" * 64}),
        lambda p: p["predicate"].update(release="sha256:" + "e" * 64),
    ],
)
def test_what_did_not_pass_as_it_is_may_not(
    deposit: Deposit, edit: Callable[[dict[str, Any]], object]
) -> None:
    deposit.ran_in_production("20250101T000000Z-old", lambda payload: edit(payload) and None)
    denied(reentry(deposit), "has never passed in production")


def test_another_environments_pass_is_none_of_this_ones(deposit: Deposit) -> None:
    """staging has passed it; production has not."""
    assert deposit.store.names("runs/staging/")
    denied(reentry(deposit), "has never passed in production")


def test_a_pass_that_another_key_signed(deposit: Deposit) -> None:
    deposit.ran_in_production("20250101T000000Z-old")
    denied(reentry(deposit, key=EVE.public), "no run of it is signed by its key")


def test_without_the_key_nothing_is_believed(deposit: Deposit) -> None:
    deposit.ran_in_production("20250101T000000Z-old")
    denied(reentry(deposit, key=None), "the key that signs the evidence of production is not known here")


def test_a_tree_that_is_not_the_release(deposit: Deposit) -> None:
    deposit.ran_in_production("20250101T000000Z-old")
    release = Release.build(deposit.root, IMAGE)
    change(deposit.root, "gateway/app.py")
    denied(reentry(deposit, release=release), "this tree is not the release: gateway-source")


def test_another_image_of_the_same_tree(deposit: Deposit) -> None:
    deposit.ran_in_production("20250101T000000Z-old")
    release = replace(
        deposit.stand.release,
        artefacts={**deposit.stand.release.artefacts, "gateway-image": "sha256:" + "e" * 64},
    )
    denied(reentry(deposit, release=release), "has never passed in production")


def test_rubbish_beside_the_evidence_is_passed_over(deposit: Deposit) -> None:
    deposit.ran_in_production("20250101T000000Z-old")
    deposit.store.put("runs/production/20990101T000000Z-zzz.intoto.json", b"{}")
    assert reentry(deposit).decide().open
