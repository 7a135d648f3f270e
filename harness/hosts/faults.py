"""Faults on purpose: for negative controls, and for drills of one's own. Each heals, whatever happens.

    with faults.link_cut(fleet, "gateway-1", "instant"):
        ...                                    # what notices it?

A fault is two scripts on one machine: one that inflicts it, one that heals it. The second is put behind a
timer on the machine before the first runs: when this process dies, or the way to the machine is what is
broken, the machine heals itself after ``seconds``. Nothing here runs on the machine that runs the harness.
"""

from __future__ import annotations

import contextlib
import secrets
import shlex
from collections.abc import Iterator, Sequence
from typing import Literal

from harness.environment.machines import Machine
from harness.errors import HarnessError, Unreachable
from harness.hosts.facts import UnknownFact
from harness.hosts.fleet import Fleet
from harness.hosts.policy import resolved
from harness.waiting import wait_until

__all__ = [
    "clock_skewed",
    "disk_filled",
    "fault",
    "file_replaced",
    "grant_revoked",
    "interface_down",
    "link_cut",
    "paused",
    "peer_slowed",
    "rebooted",
]

SECONDS = 120.0
"""After this a machine heals itself."""
_HEALTHY_AGAIN = 60.0

_INFLICT = """\
set -eu
umask 077
mkdir -p /run/harness
cat >/run/harness/{unit}.sh <<'END-OF-HEALING'
{heal}
END-OF-HEALING
systemd-run --quiet --collect --on-active={seconds:g} --timer-property=AccuracySec=100ms \\
    --unit={unit} sh -c 'sh -eu /run/harness/{unit}.sh && rm /run/harness/{unit}.sh'
{inflict}
"""
_HEAL = """\
systemctl stop {unit}.timer 2>/dev/null
if [ -e /run/harness/{unit}.sh ]; then sh -eu /run/harness/{unit}.sh && rm /run/harness/{unit}.sh; fi
"""


@contextlib.contextmanager
def fault(
    fleet: Fleet, machine: str, *, inflict: str, heal: str, seconds: float = SECONDS
) -> Iterator[None]:
    """``machine`` as after the script ``inflict`` inside the block, as after ``heal`` behind it.

    ``heal`` must be right twice in a row, and also when ``inflict`` stopped half-way. Both run as root.

    Raises:
        Unreachable: the machine did not let us in to inflict it.
        HarnessError: it could not be inflicted; or not healed from here, and what will heal it.
    """
    unit = f"harness-heal-{secrets.token_hex(4)}"
    script = _INFLICT.format(unit=unit, heal=heal, inflict=inflict, seconds=seconds)
    try:
        with fleet.writing(machine):
            fleet.remote.script(machine, script, sudo=True, seconds=60.0).require()
        yield
    finally:
        with fleet.writing(machine):
            _heal(fleet, machine, unit, seconds)


def _heal(fleet: Fleet, machine: str, unit: str, seconds: float) -> None:
    try:
        fleet.remote.await_login(machine, 5.0)
        fleet.remote.script(machine, _HEAL.format(unit=unit), sudo=True, seconds=_HEALTHY_AGAIN).require()
    except HarnessError as error:
        raise HarnessError(
            f"{machine} could not be healed from here ({error}); it does it itself within {seconds:g} s of "
            f"the fault: `systemctl list-timers '{unit}*'` there"
        ) from error


# --- networks ------------------------------------------------------------------------------------


def link_cut(
    fleet: Fleet, machine: str, peer: str, *, seconds: float = SECONDS
) -> contextlib.AbstractContextManager[None]:
    """Nothing passes between ``machine`` and ``peer``, over any network; others notice nothing."""
    rules = [f"{way} {{ {', '.join(_addresses(fleet, peer))} }} drop" for way in ("ip saddr", "ip daddr")]
    return _filtered(fleet, machine, rules, seconds)


def peer_slowed(
    fleet: Fleet, machine: str, peer: str, *, lost: int = 30, seconds: float = SECONDS
) -> contextlib.AbstractContextManager[None]:
    """``lost`` percent of the packets from ``peer`` to ``machine`` do not arrive: TCP becomes slow.

    Loss, not delay: it needs no `netem` in the kernel.
    """
    chance = f"numgen random mod 100 < {lost}"
    shown = ", ".join(_addresses(fleet, peer))
    return _filtered(fleet, machine, [f"ip saddr {{ {shown} }} {chance} drop"], seconds)


def interface_down(
    fleet: Fleet, machine: str, interface: str, *, seconds: float = SECONDS
) -> contextlib.AbstractContextManager[None]:
    """``interface`` of ``machine`` is down: for the private network, not for the one that ssh uses."""
    name = shlex.quote(interface)
    return fault(
        fleet,
        machine,
        inflict=f"ip link set {name} down",
        heal=f"ip link set {name} up",
        seconds=seconds,
    )


def grant_revoked(
    fleet: Fleet,
    machine: str,
    source: str,
    port: int,
    *,
    over: Literal["public", "private"] = "private",
    seconds: float = SECONDS,
) -> contextlib.AbstractContextManager[None]:
    """The firewall of ``machine`` refuses ``source`` on ``port``, which the environment allows.

    Connections that are open stay: a firewall asks about new ones.

    Raises:
        HarnessError: when ``source`` has no address there.
    """
    peer = fleet.machines.host(source)
    address = peer.private_address if over == "private" else _addresses(fleet, source)[0]
    if address is None:
        raise HarnessError(f"{source} has no address on the private network")
    place = f"inet harness {over}_v4 '{{ {address} . {port} }}'"
    return fault(
        fleet,
        machine,
        inflict=f"nft delete element {place}",
        heal=f"nft add element {place}",
        seconds=seconds,
    )


def _addresses(fleet: Fleet, machine: str) -> Sequence[str]:
    known: Machine = fleet.machines.host(machine)
    public = [address for address in resolved(known.address) if ":" not in address]
    return [*public, *([known.private_address] if known.private_address else [])]


def _filtered(
    fleet: Fleet, machine: str, rules: Sequence[str], seconds: float
) -> contextlib.AbstractContextManager[None]:
    """A table of its own with ``rules`` on everything that comes and goes, before all others."""
    table = f"inet harness_fault_{secrets.token_hex(4)}"
    chains = "\n".join(
        f"  chain {hook} {{ type filter hook {hook} priority -300; {'; '.join(rules)}; }}"
        for hook in ("prerouting", "output")
    )
    return fault(
        fleet,
        machine,
        inflict=f"nft -f - <<'END-OF-RULES'\ntable {table} {{\n{chains}\n}}\nEND-OF-RULES",
        heal=f"nft add table {table}; nft delete table {table}",
        seconds=seconds,
    )


# --- machines ------------------------------------------------------------------------------------


def paused(
    fleet: Fleet, machine: str, unit: str, *, seconds: float = SECONDS
) -> contextlib.AbstractContextManager[None]:
    """Everything of ``unit`` stands still, as a hung program does: systemd still calls it active."""
    name = shlex.quote(unit)
    return fault(
        fleet,
        machine,
        inflict=f"systemctl kill --signal=SIGSTOP {name}",
        heal=f"systemctl kill --signal=SIGCONT {name}",
        seconds=seconds,
    )


def rebooted(fleet: Fleet, machine: str, *, within: float = 120.0) -> None:
    """Reboot ``machine``, and wait until it has gone down and lets us in again.

    Raises:
        DeadlineExceeded: when it does not within ``within`` seconds.
    """
    with fleet.writing(machine):
        before = fleet.facts.read(machine, ["booted"]).booted
        with contextlib.suppress(Unreachable):  # it may be gone before it has answered
            fleet.remote.run(machine, ["systemctl", "reboot"], sudo=True)
        fleet.remote.drop(machine)
        wait_until(
            f"{machine} after its reboot",
            lambda: fleet.facts.read(machine, ["booted"]).booted > before + 0.5,
            seconds=within,
            errors=(Unreachable, UnknownFact),
        )


def disk_filled(
    fleet: Fleet,
    machine: str,
    directory: str,
    *,
    left_mib: int = 1,
    most_mib: int = 4096,
    seconds: float = SECONDS,
) -> contextlib.AbstractContextManager[None]:
    """The file system of ``directory`` has ``left_mib`` MiB free; refused if it took over ``most_mib``."""
    path = shlex.quote(f"{directory.rstrip('/')}/.harness-filler")
    inflict = f"""\
free=$(df --output=avail -m {shlex.quote(directory)} | tail -1)
fill=$((free - {left_mib}))
if [ "$fill" -gt {most_mib} ]; then echo "it would take $fill MiB, more than {most_mib}" >&2; exit 1; fi
if [ "$fill" -gt 0 ]; then fallocate -l "${{fill}}MiB" {path}; fi"""
    return fault(fleet, machine, inflict=inflict, heal=f"rm -f {path}", seconds=seconds)


def clock_skewed(
    fleet: Fleet, machine: str, ahead: int, *, seconds: float = SECONDS
) -> contextlib.AbstractContextManager[None]:
    """The clock of ``machine`` is ``ahead`` seconds ahead (negative: behind), and NTP does not mend it.

    A container has no clock of its own (setting it would set that of the machine which carries it), and
    neither has a machine whose kernel refuses: then this says so, and nothing is changed.
    """
    inflict = f"""\
if systemd-detect-virt -cq; then echo "a container has no clock of its own" >&2; exit 1; fi
timedatectl set-ntp false
touch /run/harness/skewed
date -s "@$(($(date +%s) + {ahead}))" >/dev/null"""
    heal = f"""\
if [ -e /run/harness/skewed ]; then date -s "@$(($(date +%s) - {ahead}))" >/dev/null; fi
rm -f /run/harness/skewed
systemd-detect-virt -cq || timedatectl set-ntp true"""
    return fault(fleet, machine, inflict=inflict, heal=heal, seconds=seconds)


@contextlib.contextmanager
def file_replaced(
    fleet: Fleet, machine: str, path: str, content: bytes, *, then: str = ":", seconds: float = SECONDS
) -> Iterator[None]:
    """``path`` holds ``content``, and ``then`` has been run; behind the block the file before, and again.

    With a certificate that has ended: what happens when nobody renews it.
    """
    new = f"/run/harness/{secrets.token_hex(8)}"
    kept, place = shlex.quote(f"{path}.before-the-fault"), shlex.quote(path)
    fleet.remote.run(machine, ["mkdir", "-p", "/run/harness"], sudo=True).require()
    fleet.remote.put(machine, new, content, mode=0o600)
    inflict = f"cp -p {place} {kept}; cat {new} >{place}; rm {new}\n{then}"
    heal = f"if [ -e {kept} ]; then mv -f {kept} {place}; fi; rm -f {new}\n{then}"
    with fault(fleet, machine, inflict=inflict, heal=heal, seconds=seconds):
        yield
