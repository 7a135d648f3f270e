"""The conductor and deployments: order, side by side, what blocks what, what never hangs."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from harness.conductor import ComponentRecord
from harness.errors import DeployError
from harness.evidence import Verdict
from harness.providers.base import Deployment, Progress
from harness.secrets import MASK, Secret
from harness.stack import Stack
from tests.conductor_stand import SOON, FakeProvider, deployed, fine, question, ran, stack_in


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return stack_in(tmp_path)


# --- deployments --------------------


def test_a_component_waits_for_what_it_needs(stack: Stack) -> None:
    order: list[str] = []
    for name in ("supabase", "instant", "thinking", "gateway"):

        def deploy(_: Progress, name: str = name) -> Deployment:
            order.append(name)
            return Deployment(name, "d")

        stack.providers[name] = FakeProvider(name, deploy)
    conductor, _ = ran(stack, question(fine, needs=("gateway",)))
    assert order[-1] == "gateway"
    assert sorted(order) == ["gateway", "instant", "supabase", "thinking"]
    assert [record.component for record in conductor.records()] == [
        "supabase",
        "instant",
        "thinking",
        "gateway",
    ]


def test_independent_components_are_deployed_at_the_same_time(stack: Stack) -> None:
    together = threading.Barrier(3)
    for name in ("supabase", "instant", "thinking"):

        def deploy(_: Progress, name: str = name) -> Deployment:
            together.wait(SOON)
            return Deployment(name, "d")

        stack.providers[name] = FakeProvider(name, deploy)
    conductor, _ = ran(stack, question(fine, needs=("gateway",)))
    assert all(record.verdict is Verdict.HOLDS for record in conductor.records())


def test_what_depends_on_a_failed_deployment_is_blocked_and_says_by_what(stack: Stack) -> None:
    def broken(_: Progress) -> Deployment:
        raise DeployError("supabase", "port 54321 is taken by nc", "stop it")

    stack.providers["supabase"] = FakeProvider("supabase", broken)
    asked = question(fine, needs=("gateway", "supabase"))
    conductor, _ = ran(stack, asked)
    assert conductor.deployment("supabase").verdict is Verdict.REFUTED
    assert "port 54321" in conductor.deployment("supabase").reason
    assert conductor.deployment("gateway").verdict is Verdict.BLOCKED
    evidence = conductor.answer(asked)
    assert evidence.verdict is Verdict.BLOCKED
    assert "supabase" in evidence.summary


def test_a_provider_that_crashes_blocks_its_component(stack: Stack) -> None:
    def crash(_: Progress) -> Deployment:
        raise ZeroDivisionError("by zero")

    stack.providers["supabase"] = FakeProvider("supabase", crash)
    conductor, _ = ran(stack, question(fine))
    record = conductor.deployment("supabase")
    assert record.verdict is Verdict.BLOCKED
    assert record.reason == "supabase: the provider broke: ZeroDivisionError: by zero"


def test_a_provider_that_exits_does_not_leave_the_run_waiting(stack: Stack) -> None:
    stack.providers["supabase"] = FakeProvider("supabase", lambda _: sys.exit(0))
    conductor, _ = ran(stack, question(fine))
    assert conductor.deployment("supabase").verdict is Verdict.BLOCKED


def test_a_component_without_a_provider_is_blocked(stack: Stack) -> None:
    asked = question(fine, needs=("web",))
    conductor, _ = ran(stack, asked)
    assert conductor.answer(asked).verdict is Verdict.BLOCKED
    assert conductor.answer(asked).summary.startswith("no provider: nothing implements 'vercel'")


def test_what_a_deployment_says_is_redacted(stack: Stack) -> None:
    secret = Secret("hunter2-hunter2")

    def leak(_: Progress) -> Deployment:
        return Deployment("supabase", "d", (f"password set to {secret.reveal()}",))

    def fail(_: Progress) -> Deployment:
        raise DeployError("instant", f"key {secret.reveal()} refused")

    stack.providers["supabase"] = FakeProvider("supabase", leak)
    stack.providers["instant"] = FakeProvider("instant", fail)
    conductor, _ = ran(stack, question(fine), question(fine, "other", needs=("instant",)))
    assert conductor.deployment("supabase").changes == (f"password set to {MASK}",)
    assert conductor.deployment("instant").reason == f"instant: key {MASK} refused"


def test_what_can_be_prepared_is_prepared_before_what_is_needed_is_there(stack: Stack) -> None:
    prepared = threading.Event()

    class Prepared(FakeProvider):
        def prepare(self, progress: Progress) -> None:
            progress("fetching")
            prepared.set()

    def slow(_: Progress) -> Deployment:
        assert prepared.wait(SOON), "the gateway waited with its image until supabase was there"
        return Deployment("supabase", "d")

    stack.providers["supabase"] = FakeProvider("supabase", slow)
    stack.providers["gateway"] = Prepared("gateway", deployed("gateway"))
    conductor, listener = ran(stack, question(fine, needs=("gateway",)))
    assert conductor.deployment("gateway").verdict is Verdict.HOLDS
    assert listener.events.index("gateway: fetching") < listener.events.index("supabase done")


def test_what_cannot_be_prepared_is_not_deployed(stack: Stack) -> None:
    class Unprepared(FakeProvider):
        def prepare(self, progress: Progress) -> None:
            raise DeployError("gateway", "the image does not start", "read its log")

    def never(_: Progress) -> Deployment:
        raise AssertionError("it was deployed all the same")

    stack.providers["gateway"] = Unprepared("gateway", never)
    conductor, _ = ran(stack, question(fine, needs=("gateway",)))
    record = conductor.deployment("gateway")
    assert record.verdict is Verdict.REFUTED
    assert record.summary == "the image does not start"


def test_a_verify_only_run_prepares_nothing(stack: Stack) -> None:
    class Prepared(FakeProvider):
        def prepare(self, progress: Progress) -> None:
            raise AssertionError("something was fetched")

    stack.providers["gateway"] = Prepared("gateway", deployed("gateway"))
    conductor, _ = ran(stack, question(fine, needs=("gateway",)), verify_only=True)
    assert conductor.deployment("gateway").verdict is Verdict.HOLDS


# --- verify-only --------------------


def test_verify_only_deploys_nothing_and_calls_drift_by_its_name(stack: Stack) -> None:
    def never(_: Progress) -> Deployment:
        raise AssertionError("deployed under --verify-only")

    stack.providers["supabase"] = FakeProvider("supabase", never, drift=("apply 1 migration",))
    asked = question(fine)
    conductor, _ = ran(stack, asked, verify_only=True)
    record = conductor.deployment("supabase")
    assert record.verdict is Verdict.REFUTED
    assert record.reason == "supabase is not as declared: a deploy would change apply 1 migration"
    assert conductor.answer(asked).verdict is Verdict.HOLDS, "it has drifted, and still answers"


def test_verify_only_without_drift_holds(stack: Stack) -> None:
    conductor, _ = ran(stack, question(fine), verify_only=True)
    assert conductor.deployment("supabase") == ComponentRecord(
        "supabase", Verdict.HOLDS, "sha256:supabase", seconds=conductor.deployment("supabase").seconds
    )
