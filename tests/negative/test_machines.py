"""Negative controls of the machines: programs, reboot, disks, clock, journals; each on real machines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.checks import inference, journal, recovery, secret_files
from harness.checks import machines as asked
from harness.evidence import Evidence, Verdict
from harness.hosts import faults
from harness.hosts.facts import HostFacts
from harness.waiting import wait_until
from tests.machines_stack import Machines, programs, said

pytestmark = pytest.mark.slow
KEPT, FIT, REACH, INSTANT = (
    "machines.kept_running",
    "machines.fit",
    "machines.firewall.reach",
    "instant.firewall",
)


def refuted(evidence: Evidence) -> str:
    assert evidence.verdict is Verdict.REFUTED, evidence.summary
    return said(evidence)


def test_a_disabled_unit_is_refuted(machines: Machines) -> None:
    with machines.broken("instant", "systemctl -q disable instant", "systemctl -q enable instant"):
        text = machines.only(KEPT)
    assert "where     instant: instant.service" in text
    assert "observed  not enabled" in text


def test_a_unit_that_is_not_restarted_is_refuted(machines: Machines) -> None:
    drop_in = "/run/systemd/system/instant.service.d"
    careless = (
        f"mkdir -p {drop_in}; printf '[Service]\\nRestart=no\\n' >{drop_in}/x.conf; systemctl daemon-reload"
    )
    with machines.broken("instant", careless, f"rm -r {drop_in}; systemctl daemon-reload"):
        text = machines.only(KEPT)
    assert "observed  Restart=no" in text


def test_a_stopped_unit_is_refuted(machines: Machines) -> None:
    with machines.broken("instant", "systemctl stop instant", "systemctl start instant"):
        text = machines.only(KEPT, INSTANT)
        machines.run("instant", "systemctl start instant")
        wait_until("it serves", machines.stack.providers["instant"]._serves, seconds=60)
    assert "observed  inactive" in text
    assert "observed  nothing listens" in text


@pytest.mark.parametrize("policy", ["no", "on-failure"])
def test_a_container_that_stays_away_is_refuted(machines: Machines, policy: str) -> None:
    careless = f"docker update --restart={policy} gateway"
    with machines.broken("gateway-1", careless, "docker update --restart=unless-stopped gateway"):
        text = machines.only(KEPT)
    assert "gateway-1: container gateway" in text
    assert f"restart policy {policy}" in text


def test_a_hung_engine_is_found_though_systemd_calls_it_active(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = machines.stack.environment
    instant = environment.instant.model_copy(update={"answer_within_seconds": 4.0})  # none comes anyway
    monkeypatch.setattr(machines.stack, "environment", environment.model_copy(update={"instant": instant}))
    fleet = machines.stack.fleet
    with faults.paused(fleet, "instant", "instant.service"):
        assert machines.only() == ""  # its unit is active, and it listens
        text = refuted(inference.answers["instant"](machines.stack))
    assert "the worker hangs: restart instant" in text
    machines.stack.close()


def test_a_host_that_comes_back_holds(machines: Machines) -> None:
    evidence = recovery.reboots(machines.stack)
    assert evidence.verdict is Verdict.HOLDS, (evidence.summary, said(evidence))
    assert machines.only() == ""


def test_a_host_that_is_not_back_after_a_reboot_is_refuted(machines: Machines) -> None:
    environment = machines.stack.environment
    instant = environment.instant.model_copy(update={"recover_within_seconds": 8.0})
    machines.stack.environment = environment.model_copy(update={"instant": instant})
    try:
        with machines.broken(
            "instant",
            "systemctl -q disable instant",
            "systemctl -q enable instant; systemctl start instant",
        ):
            text = refuted(recovery.reboots(machines.stack))
    finally:
        machines.stack.environment = environment
    assert "instant.service is inactive" in text
    wait_until("it serves", machines.stack.providers["instant"]._serves, seconds=60)


def test_programs_that_are_killed_come_back(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "programs_on_machines", programs)
    evidence = recovery.programs_recover(machines.stack)
    assert evidence.verdict is Verdict.HOLDS, (evidence.summary, said(evidence))
    assert set(evidence.facts["took"]) == {"instant on instant", "gateway on gateway-1"}


def test_a_program_that_stays_dead_is_refuted(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    hasty = [replace(one, ready=None, ready_seconds=6.0) for one in programs(machines.stack)]
    monkeypatch.setattr(recovery, "programs_on_machines", lambda stack: hasty)
    careless = "docker update --restart=no gateway"
    with machines.broken(
        "gateway-1", careless, "docker update --restart=unless-stopped gateway; docker start gateway"
    ):
        text = refuted(recovery.programs_recover(machines.stack))
    assert "where     gateway-1: container gateway" in text
    assert "observed  it does not run" in text


def test_a_key_that_everybody_can_read_is_refuted(machines: Machines) -> None:
    evidence = secret_files.secret_files(machines.stack)
    assert evidence.verdict is Verdict.HOLDS, (evidence.summary, said(evidence))
    with machines.broken("instant", "chmod 644 /etc/instant/key.env", "chmod 600 /etc/instant/key.env"):
        text = refuted(secret_files.secret_files(machines.stack))
    assert "where     instant: /etc/instant/key.env" in text
    assert "observed  mode 0644" in text
    given = "chgrp nogroup /etc/instant/key.env; chmod 640 /etc/instant/key.env"
    with machines.broken(
        "instant", given, "chgrp root /etc/instant/key.env; chmod 600 /etc/instant/key.env"
    ):
        text = refuted(secret_files.secret_files(machines.stack))
    assert "observed  mode 0640, root:nogroup" in text
    with machines.broken("instant", "chown nobody /etc/instant/key.env", "chown root /etc/instant/key.env"):
        text = refuted(secret_files.secret_files(machines.stack))
    assert "observed  mode 0600, nobody:root" in text


def test_another_gpu_is_refuted(machines: Machines) -> None:
    double = "/usr/local/bin/nvidia-smi"
    made = f"printf '#!/bin/sh\\necho NVIDIA T4, 15360\\n' >{double}; chmod +x {double}"
    with machines.broken("instant", made, f"rm {double}"):
        machines.stack.fleet.refresh()
        text = refuted(asked.gpu(machines.stack))
    assert "observed  NVIDIA T4" in text
    with machines.broken("instant", made.replace("T4, 15360", "L40S, 23034"), f"rm {double}"):
        machines.stack.fleet.refresh()
        text = refuted(asked.gpu(machines.stack))
    assert "observed  23034 MiB" in text


def test_a_full_disk_is_refuted(machines: Machines) -> None:
    fleet = machines.stack.fleet
    mounted = "mkdir -p /srv/small; mount -t tmpfs -o size=32M none /srv/small"
    with machines.broken("instant", mounted, "umount /srv/small"):
        assert machines.only() == ""
        with faults.disk_filled(fleet, "instant", "/srv/small"):
            text = machines.only(FIT)
        assert machines.only() == ""
    assert "where     instant: /srv/small" in text


def test_a_clock_that_is_wrong_is_refuted(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel gives containers no clock of their own: the machine's answer is changed instead."""
    facts = machines.stack.fleet.facts
    read = facts.read

    def late(machine: str, *arguments: Any) -> HostFacts:
        seen = read(machine, *arguments)
        if machine != "instant":
            return seen
        clock = {name: t - 30 for name, t in seen.part("clock").items() if name != "synchronized"}
        return replace(seen, parts={**seen.parts, "clock": {"value": clock}})

    monkeypatch.setattr(facts, "read", late)
    text = machines.only(FIT)
    assert "where     instant: clock" in text
    assert "s behind" in text


def test_a_line_that_is_not_json_is_refuted(machines: Machines) -> None:
    assert journal.containers_logged(machines.stack).verdict is Verdict.HOLDS
    machines.run(
        "gateway-1", "printf 'MESSAGE=Traceback: oh\\nCONTAINER_TAG=gateway\\n' | logger --journald"
    )
    machines.stack.fleet.refresh()
    text = refuted(journal.containers_logged(machines.stack))
    assert "observed  Traceback: oh" in text
    assert "where     gateway-1: container gateway" in text
    machines.run("gateway-1", "journalctl -q --rotate; journalctl -q --vacuum-time=1s")


def test_what_a_container_wrote_that_is_gone_is_past(machines: Machines) -> None:
    drill = "docker run --rm --log-driver journald --log-opt tag=gateway --entrypoint /usr/bin/perl perl -e"
    machines.run("gateway-1", f"{drill} 'print STDERR \"Traceback: it ended\\n\"'")
    machines.stack.fleet.refresh()
    evidence = journal.containers_logged(machines.stack)
    assert evidence.verdict is Verdict.HOLDS, said(evidence)
    assert "Traceback" in machines.run("gateway-1", "journalctl -q -b CONTAINER_TAG=gateway").text


def test_a_container_with_another_log_driver_is_refuted(machines: Machines) -> None:
    other = (
        "docker rename gateway kept; docker run -d --name gateway -v /opt/gateway.pl:/gateway.pl:ro perl"
    )
    healed = "docker rm -f gateway; docker rename kept gateway"
    with machines.broken("gateway-1", other, healed):
        machines.stack.fleet.refresh()
        text = refuted(journal.containers_logged(machines.stack))
    assert "observed  json-file" in text


@pytest.mark.parametrize("encoding", ["plain", "base64"])
def test_a_leaking_log_is_refuted(machines: Machines, encoding: str) -> None:
    stack = machines.stack
    assert journal.journals_private(stack).verdict is Verdict.HOLDS
    secret = stack.secret(stack.environment.instant.api_key).reveal()
    piped = "base64 -w0" if encoding == "base64" else "cat"
    stack.remote.run(
        "gateway-1",
        ["sh", "-c", f"(printf 'key: '; {piped}) | systemd-cat -t careless"],
        stdin=secret.encode(),
        sudo=True,
    ).require()
    stack.fleet.refresh()
    evidence = journal.journals_private(stack)
    text = refuted(evidence)
    assert "instant.api_key" in text
    assert "where     gateway-1: journal of" in text
    assert secret not in str(evidence)
    machines.run("gateway-1", "journalctl -q --rotate; journalctl -q --vacuum-time=1s")
