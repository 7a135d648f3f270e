"""Brings the firewalls of machines to what the environment allows; idempotent, and never locks us out.

New rules are loaded in one transaction with a dead man's switch behind them: a timer on the machine puts
the rules before back, unless a new login works under the new ones. Only what was confirmed is kept for the
next reboot. Nothing but the table `inet harness` is touched: Docker's rules and everybody else's stay.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from harness.environment.machines import Machine
from harness.errors import DeadlineExceeded, DeployError, Unreachable
from harness.hosts import firewall_files
from harness.hosts.facts import HostFacts
from harness.hosts.fleet import Fleet
from harness.hosts.policy import Policy, nft_text, policy_of
from harness.hosts.ruleset import Difference, differences
from harness.hosts.ssh import CommandResult
from harness.waiting import wait_until

__all__ = ["drift", "prepare", "prepared", "wanting"]

_PARTS = ("ruleset", "units", "files")
_LOGIN_SECONDS = 15.0


def prepare(fleet: Fleet, names: Sequence[str], progress: Callable[[str], None]) -> tuple[str, ...]:
    """Bring the firewalls of the machines ``names`` to their declared state, side by side.

    Returns what was changed; empty when nothing had to be.

    Raises:
        DeployError: naming the machine: rules refused by nft, or new rules under which nobody can log in.
        Unreachable: a machine did not let us in at all.
    """
    progress("comparing firewalls")
    with ThreadPoolExecutor(max(1, len(names))) as pool:
        return tuple(
            change for change in pool.map(lambda name: _one(fleet, name, progress), names) if change
        )


def drift(fleet: Fleet, names: Sequence[str]) -> tuple[str, ...]:
    """What :func:`prepare` would change; reads only.

    Raises:
        Unreachable: a machine did not let us in.
    """
    with ThreadPoolExecutor(max(1, len(names))) as pool:
        wrong = pool.map(lambda name: _differences(fleet, name)[1], names)
        return tuple(f"{name}: firewall: {w[0]}" for name, w in zip(names, wrong, strict=True) if w)


def prepared(fleet: Fleet, machine: Machine, facts: HostFacts) -> list[Difference]:
    """Every way in which ``facts`` of ``machine`` contradict the firewall that the environment declares."""
    return wanting(policy_of(fleet.machines, machine), facts)


def wanting(policy: Policy, facts: HostFacts) -> list[Difference]:
    """Every way in which a machine's firewall is not the declared one, now or after the next reboot."""
    found = differences(policy, facts.ruleset)
    for path, text in (
        (firewall_files.RULES, nft_text(policy)),
        (firewall_files.UNIT, firewall_files.UNIT_TEXT),
    ):
        if facts.files.get(path) != hashlib.sha256(text.encode()).hexdigest():
            seen = "another one" if facts.files.get(path) else "there is none"
            found.append(Difference(path, "what a deploy writes", seen))
    unit = facts.unit(firewall_files.UNIT_NAME)
    if not unit.enabled or unit.state != "active":
        seen = f"{'enabled' if unit.enabled else 'not enabled'}, {unit.state}"
        found.append(Difference(firewall_files.UNIT_NAME, "enabled, active", seen))
    return found


def _differences(fleet: Fleet, name: str) -> tuple[Policy, list[Difference]]:
    policy = policy_of(fleet.machines, fleet.machines.host(name))
    return policy, wanting(policy, fleet.facts.read(name, _PARTS))


def _one(fleet: Fleet, name: str, progress: Callable[[str], None]) -> str:
    with fleet.writing(name):
        policy, wrong = _differences(fleet, name)
        if not wrong:
            return ""
        progress(f"firewall of {name}")
        _load(fleet, name, policy)
        _confirm(fleet, name)
        _require(name, fleet.remote.script(name, firewall_files.keep(), sudo=True))
        left = wanting(policy, fleet.facts.read(name, _PARTS))
        if left:
            raise DeployError(name, f"its firewall is not as declared after the deploy: {left[0]}")
        return f"replace the firewall of {name} ({wrong[0]})"


def _load(fleet: Fleet, name: str, policy: Policy) -> None:
    """Load the new rules behind a dead man's switch; waits for one that somebody left behind."""
    script, last = firewall_files.arm(nft_text(policy)), firewall_files.BUSY

    def loaded() -> CommandResult | None:
        nonlocal last
        done = fleet.remote.script(name, script, sudo=True)
        last = done.status
        return None if done.status == firewall_files.BUSY else done

    try:
        done = wait_until(
            f"{name}: an unfinished change of its firewall",
            loaded,
            seconds=firewall_files.REVERT_SECONDS + 10.0,
            longest_pause=1.0,
            seen=lambda: f"status {last}: its rules are still waiting to be taken back",
        )
    except DeadlineExceeded as error:
        raise DeployError(name, str(error), "see `systemctl list-timers 'harness-*'` there") from None
    _require(name, done)


def _confirm(fleet: Fleet, name: str) -> None:
    """A new login under the new rules, or the old ones come back by themselves."""
    try:
        wait_until(
            f"a login on {name} under its new firewall",
            lambda: fleet.remote.login_anew(name),
            seconds=_LOGIN_SECONDS,
            errors=(Unreachable,),
        )
    except DeadlineExceeded as error:
        raise DeployError(
            name,
            f"nobody can log in under its new firewall ({error.last_seen}); the one before is back"
            f" within {firewall_files.REVERT_SECONDS} s",
            f"let the machine that runs this in: machines.operator, and `allows` of {name} (ssh)",
        ) from None


def _require(name: str, done: CommandResult) -> None:
    if done.status == firewall_files.GONE:
        raise DeployError(name, "its new firewall was taken back before it could be kept", "deploy again")
    if done.status:
        said = done.stderr.decode("utf-8", "replace").strip()[-400:]
        raise DeployError(name, f"its firewall could not be changed: {said}", "read it on the machine")
