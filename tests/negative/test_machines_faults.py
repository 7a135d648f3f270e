"""Faults on real machines: each is noticed, each heals, also when whoever inflicted it is gone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from harness.errors import DeployError, HarnessError
from harness.hosts import faults, firewall, firewall_files
from harness.hosts.fleet import Fleet
from harness.waiting import wait_until
from tests.machines_stack import Machines

pytestmark = pytest.mark.slow
RULES, REACH, INSTANT, PRIVATE = (
    "machines.firewall.rules",
    "machines.firewall.reach",
    "instant.firewall",
    "machines.private_only",
)
Fault = Callable[[Fleet], AbstractContextManager[None]]


@pytest.mark.parametrize(
    ("fault", "culprits", "named"),
    [
        (
            lambda f: faults.link_cut(f, "instant", "gateway-1"),
            {REACH, INSTANT},
            "where     gateway-1, private network",
        ),
        (
            lambda f: faults.interface_down(f, "instant", "wg0"),
            {REACH, INSTANT, PRIVATE},
            "where     instant: wg0",
        ),
        (
            lambda f: faults.grant_revoked(f, "instant", "gateway-1", 8000),
            {RULES, INSTANT},
            "the firewall of instant refused gateway-1",
        ),
    ],
    ids=["link cut", "interface down", "grant revoked"],
)
def test_a_fault_is_noticed_and_healed(
    machines: Machines, fault: Fault, culprits: set[str], named: str
) -> None:
    with fault(machines.stack.fleet):
        text = machines.only(*culprits)
    assert named in text
    wait_until("healthy again", lambda: not unhealthy(machines), seconds=30)


def unhealthy(machines: Machines) -> set[str]:
    return {name for name, evidence in machines.ask().items() if not evidence.verdict.passes}


def test_a_slow_peer_loses_packets_and_is_healed(machines: Machines) -> None:
    fleet = machines.stack.fleet
    with faults.peer_slowed(fleet, "instant", "gateway-1", lost=50):
        shown = machines.run("instant", "nft list ruleset").text
        assert "numgen random mod 100 < 50" in shown
    assert "harness_fault" not in machines.run("instant", "nft list ruleset").text


def test_a_machine_heals_itself_when_nobody_else_does(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after kill -9 of whoever inflicted it: only the machine's own timer is left."""
    monkeypatch.setattr(faults, "_heal", lambda *arguments: None)
    fleet = machines.stack.fleet
    with faults.grant_revoked(fleet, "instant", "gateway-1", 8000, seconds=2.0):
        pass
    wait_until("healed by its timer", lambda: not firewall.drift(fleet, ["instant"]), seconds=30)


def test_healing_runs_when_the_test_dies_inside(machines: Machines) -> None:
    fleet = machines.stack.fleet
    with pytest.raises(ZeroDivisionError), faults.grant_revoked(fleet, "instant", "gateway-1", 8000):
        raise ZeroDivisionError
    assert firewall.drift(fleet, ["instant"]) == ()


def test_a_clock_that_is_not_the_machines_own_is_left_alone(machines: Machines) -> None:
    before = machines.run("instant", "date +%s").text
    with (
        pytest.raises(HarnessError, match="a container has no clock of its own"),
        faults.clock_skewed(machines.stack.fleet, "instant", 3600),
    ):
        raise AssertionError("it said that it could")
    assert int(machines.run("instant", "date +%s").text) - int(before) < 600


def test_a_disk_that_would_take_too_much_is_left_alone(machines: Machines) -> None:
    with (
        pytest.raises(HarnessError, match="MiB, more than 16"),
        faults.disk_filled(machines.stack.fleet, "instant", "/", most_mib=16),
    ):
        raise AssertionError("it filled it")
    machines.run("instant", "test ! -e /.harness-filler")


# --- the dead man's switch ---------------------------------------------------------------------------


@contextlib.contextmanager
def operator_elsewhere(machines: Machines) -> object:
    """The environment says that the operator comes from an address that is not this machine's."""
    fleet = machines.stack.fleet
    right = fleet.machines
    fleet.machines = right.model_copy(update={"operator": "192.0.2.7"})
    try:
        yield
    finally:
        fleet.machines = right


def test_rules_that_lock_us_out_go_by_themselves(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = machines.stack.fleet
    monkeypatch.setattr(firewall_files, "REVERT_SECONDS", 8)
    monkeypatch.setattr(firewall, "_LOGIN_SECONDS", 2.0)
    with operator_elsewhere(machines):
        with pytest.raises(DeployError, match="nobody can log in under its new firewall") as caught:
            firewall.prepare(fleet, ["instant"], lambda _: None)
        assert "machines.operator" in caught.value.hint
    wait_until("the rules before", lambda: not firewall.drift(fleet, ["instant"]), seconds=40)
    assert fleet.remote.login_anew("instant")


def test_a_run_that_was_killed_before_it_confirmed_is_waited_for(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = machines.stack.fleet
    monkeypatch.setattr(firewall_files, "REVERT_SECONDS", 4)
    machines.run("instant", firewall_files.arm("table inet harness\ndelete table inet harness"))
    (done,) = firewall.prepare(fleet, ["instant"], lambda _: None)
    assert done.startswith("replace the firewall of instant (table inet harness: there is no such table")
    assert firewall.drift(fleet, ["instant"]) == ()
    left = machines.run("instant", "ls /run/harness; systemctl list-timers --no-legend 'harness-*'").text
    assert left.strip() == ""


def test_rules_that_nft_refuses_change_nothing(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = machines.stack.fleet
    machines.run("instant", "nft add element inet harness public_anyone '{ 9 }'")
    monkeypatch.setattr(firewall, "nft_text", lambda policy: "table inet harness { nonsense }")
    with pytest.raises(DeployError, match="its firewall could not be changed"):
        firewall.prepare(fleet, ["instant"], lambda _: None)
    assert "9" in machines.run("instant", "nft list set inet harness public_anyone").text
    assert machines.run("instant", "systemctl list-timers --no-legend 'harness-*'").text.strip() == ""
