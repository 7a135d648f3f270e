"""kill -9 of a rollout before every step, and at any moment: real containers, a real load balancer."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator

import pytest

from harness.errors import RolledBack
from harness.providers.docker.plan import Slot, steps
from harness.waiting import wait_until
from tests.rollout_stand import RolloutStand, needs_engine, rollout_stand

__all__ = ["rollout_stand"]
pytestmark = [needs_engine, pytest.mark.slow]


@pytest.fixture
def served(rollout_stand: RolloutStand) -> Iterator[RolloutStand]:
    """The stand with image a on both gateways, and led to."""
    rollout_stand.release = "gateway@a"
    assert rollout_stand.run("a")
    yield rollout_stand


def nobody_is_led_to_the_dead(stand: RolloutStand, allowed: set[str]) -> None:
    """Whatever the kill left: clients are answered, and by the old or the new release."""
    answers = [stand.answer() for _ in range(6)]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["x-gateway-release"] for answer in answers} <= allowed


def test_killed_before_any_step_a_second_run_ends_it(served: RolloutStand) -> None:
    """Every step of replacing both gateways by an image that has to be fetched."""
    stand, cycle = served, ["b", "c", "a"]
    number, ended = 0, False
    while not ended:
        image, old = cycle[number % 3], stand.release
        stand.release = f"gateway@{image}-{number}"
        ended = stand.run(image, kill_before=number)
        nobody_is_led_to_the_dead(stand, {old, stand.release})
        assert stand.run(image)
        assert stand.running() == {"gateway-1": image, "gateway-2": image}
        assert steps(stand.rollout().states(), stand.version(image)) == []
        nobody_is_led_to_the_dead(stand, {stand.release})
        number += 1
    assert number > 20, "there are more steps than that"


def test_killed_at_any_moment_a_second_run_ends_it(served: RolloutStand) -> None:
    stand, chance = served, random.Random(20261125)  # noqa: S311 - the same moments every time
    for number in range(6):
        image, old = ("b", "a")[number % 2], stand.release
        stand.release = f"gateway@{image}-any-{number}"
        child = stand.forked(image, lambda _: None)
        try:
            wait_until("the moment", lambda: None, seconds=chance.uniform(0.05, 2.5), longest_pause=0.05)
        except Exception:
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        nobody_is_led_to_the_dead(stand, {old, stand.release})
        assert stand.run(image)
        assert stand.running() == {"gateway-1": image, "gateway-2": image}


def test_a_bad_image_is_taken_back_on_the_first_gateway(served: RolloutStand) -> None:
    stand = served
    with pytest.raises(RolledBack, match="gateway-1: the container ended") as caught:
        stand.rollout().run(stand.version("bad"))
    assert caught.value.machines == ("gateway-1",)
    assert stand.running() == {"gateway-1": "a", "gateway-2": "a"}
    assert steps(stand.rollout().states(), stand.version("a")) == []
    nobody_is_led_to_the_dead(stand, {"gateway@a"})


def test_one_machine_that_differs_and_one_that_was_pruned_are_read_back(served: RolloutStand) -> None:
    """Somebody rolled out on one machine alone, and pruned the other's stopped containers."""
    stand = served
    alone = stand.rollout()
    alone.engines = {"gateway-2": alone.engines["gateway-2"]}
    alone.run(stand.version("b"))
    alone.engines["gateway-2"].discard(Slot.PREVIOUS)
    states = {state.machine: state for state in stand.rollout().states()}
    assert stand.running() == {"gateway-1": "a", "gateway-2": "b"}
    assert states["gateway-2"].previous is None
    assert {step.machine for step in steps([*states.values()], stand.version("a"))} == {"gateway-2"}
