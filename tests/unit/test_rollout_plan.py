"""Planning a rollout: a kill after any step, and any state whatever, is one from which it comes right."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.providers.docker.plan import Action, Container, GatewayState, Version, steps, way_back
from tests.rollout_model import BAD, NEW, OLD, OTHER, Killed, NeverReady, World, healthy

GOOD = (OLD, NEW, OTHER)
containers = st.none() | st.builds(Container, st.sampled_from((*GOOD, BAD)), st.booleans())
digests = st.frozensets(st.sampled_from([version.digest for version in (OLD, NEW, BAD)]))


@st.composite
def machines(draw: st.DrawFn) -> GatewayState:
    """Anything that a machine can be in: of its containers at most one runs, each has its image."""
    current, candidate, previous = draw(containers), draw(containers), draw(containers)
    if current and current.running and candidate:
        candidate = replace(candidate, running=False)
    previous = replace(previous, running=False) if previous else None
    state = GatewayState("?", current, candidate, previous, drained=draw(st.booleans()))
    return replace(state, images=state.in_use | draw(digests))


def is_there(world: World, target: Version) -> bool:
    return all(
        s.current == Container(target, running=True)
        and s.next is None
        and s.serves
        and s.images == s.in_use | {target.digest}
        for s in world.now()
    )


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.lists(machines(), min_size=1, max_size=3), st.sampled_from(GOOD))
def test_from_any_state_a_rollout_ends_at_the_target_and_then_changes_nothing(
    states: list[GatewayState], target: Version
) -> None:
    world = World.of(*states)
    world.run(target)
    assert is_there(world, target)
    assert steps(world.now(), target) == []


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(machines(), min_size=1, max_size=2), st.sampled_from((*GOOD, BAD)), st.sampled_from(GOOD))
def test_a_kill_after_any_step_leaves_what_a_second_run_brings_right(
    states: list[GatewayState], first: Version, second: Version
) -> None:
    before = World.of(*states)
    for world in killed_everywhere(before, first):
        world.run(second)
        assert is_there(world, second)


def killed_everywhere(before: World, target: Version) -> list[World]:
    """The world after a run that was killed before its first step, its second step, … its end."""
    worlds = []
    for number in range(1000):
        world = before.copy()
        worlds.append(world)
        try:
            world.run(target, kill_before=number)
        except Killed:
            continue
        except NeverReady:
            pass
        return worlds
    raise AssertionError("no end of steps")


@pytest.mark.parametrize("previous", [None, BAD])
@pytest.mark.parametrize("target", [NEW, BAD])
def test_at_every_moment_each_gateway_is_old_or_new_and_one_of_two_serves(
    target: Version, previous: Version | None
) -> None:
    """Killed anywhere, then run again to either version: nobody is led to a dead gateway, or to none."""
    before = World.of(healthy(OLD, previous), healthy(OLD, previous))
    for world in killed_everywhere(before, target):
        for then in (OLD, target):
            later = world.copy()
            later.seen = [*world.seen, dict(world.states)]
            with contextlib.suppress(NeverReady):
                later.run(then)
            for moment in later.seen:
                led_to = [state for state in moment.values() if not state.drained]
                assert led_to, "requests are led nowhere"
                for state in led_to:
                    assert state.alive and state.current is not None
                    assert state.current.version in (OLD, target) and state.current.version != BAD


def test_a_killed_rollout_keeps_the_version_that_served_before() -> None:
    for world in killed_everywhere(World.of(healthy(OLD), healthy(OLD)), NEW):
        world.run(NEW)
        assert [s.previous for s in world.now()] == [Container(OLD, running=False)] * 2


def test_a_bad_image_touches_one_gateway_and_leaves_nothing_behind() -> None:
    before = World.of(healthy(OLD, NEW), healthy(OLD, NEW))
    world = before.copy()
    with pytest.raises(NeverReady):
        world.run(BAD)
    touched = {n for moment in world.seen for n in moment if moment[n].next or moment[n].drained}
    assert touched == {"gateway-1"}
    assert world.now() == before.now()
    assert steps(world.now(), OLD) == []


def test_a_gateway_that_fails_later_takes_the_others_back_with_it() -> None:
    """The second machine's own world breaks the image: both end with what they had."""
    before = World.of(healthy(OLD), healthy(OLD))
    forward = steps(before.now(), NEW)
    last_gate = max(n for n, step in enumerate(forward) if step.action is Action.GATE)
    world = before.copy()
    for step in forward[:last_gate]:
        world.take(step)
    back = way_back(world.now(), NEW, frozenset({"gateway-1"}))
    assert Action.CREATE not in {step.action for step in back}
    for step in back:
        world.take(step)
    assert all(s.current == Container(OLD, running=True) and s.serves for s in world.now())


def test_images_are_fetched_everywhere_before_anything_is_touched() -> None:
    planned = steps(World.of(healthy(OLD), healthy(OLD)).now(), NEW)
    assert [str(step) for step in planned[:3]] == ["pull gateway-1", "pull gateway-2", "create gateway-1"]


def test_what_is_down_is_mended_before_what_serves_is_touched() -> None:
    down = replace(healthy(OLD), drained=True)
    planned = steps(World.of(healthy(OLD), down).now(), NEW)
    assert planned[2].machine == "gateway-2"


def test_other_settings_keep_the_previous_image() -> None:
    world = World.of(healthy(NEW, OLD))
    taken = [step.action for step in world.run(OTHER)]
    assert Action.PULL not in taken and Action.RETIRE in taken
    assert world.now()[0].previous == Container(OLD, running=False)


def test_going_back_fetches_and_creates_nothing() -> None:
    world = World.of(healthy(NEW, OLD), healthy(NEW, OLD))
    taken = {step.action for step in world.run(OLD)}
    assert not taken & {Action.PULL, Action.CREATE}
    assert [s.previous for s in world.now()] == [Container(NEW, running=False)] * 2


def test_a_first_image_that_is_bad_is_not_left_running() -> None:
    world = World.of(GatewayState("?"), GatewayState("?"))
    with pytest.raises(NeverReady):
        world.run(BAD)
    assert all(s.current is None and s.next is None for s in world.now())
    world.run(NEW)
    assert is_there(world, NEW)
