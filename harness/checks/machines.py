"""Are the machines fit, on the private network, and set up so that what runs on them keeps running?"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from harness.checks.base import check
from harness.checks.firewall import ON_MACHINES, surveyed
from harness.environment.inference import PodInstant
from harness.environment.machines import Machine, Machines, PrivateNetwork
from harness.environment.supabase import HostSupabase
from harness.errors import DeadlineExceeded, NoProvider
from harness.evidence import Evidence, Finding, judge
from harness.hosts.facts import HostFacts
from harness.hosts.fleet import network_unit
from harness.hosts.matrix import Seen
from harness.hosts.private_network import status_of
from harness.providers.machine_programs import MachineProgram
from harness.stack import Stack
from harness.waiting import wait_until

__all__ = ["fit", "gpu", "kept_running", "kept_units", "private_only", "programs_on_machines"]

_MOST_OFFSET_SECONDS = 2.0
"""Tokens are refused when clocks disagree by more than some seconds."""
_LEAST_FREE = 0.1
_UNITS_RESTART = ("always", "on-failure")
_CONTAINERS_RESTART = ("always", "unless-stopped")
"""Docker leaves a container with `on-failure` alone when its machine has been rebooted."""


@check("instant.gpu", component="instant")
def gpu(stack: Stack) -> Evidence:
    """The host has the declared GPU with the declared memory, as its driver says."""
    declared = stack.environment.instant
    if not isinstance(declared, PodInstant):
        raise NoProvider(f"the provider {declared.provider} declares no GPU")
    seen = stack.fleet.facts.of(declared.host).gpus
    where = f"{declared.host}: nvidia-smi"
    findings = []
    if not any(one.name == declared.gpu for one in seen):
        observed = ", ".join(one.name for one in seen) or "no GPU"
        findings.append(
            Finding(declared.gpu, observed, where, "rent the declared one, or declare this one")
        )
    memory = sum(one.mib for one in seen if one.name == declared.gpu)
    if not findings and memory < declared.vram_mib:
        expected = f"at least {declared.vram_mib} MiB"
        findings.append(
            Finding(expected, f"{memory} MiB", where, "the model may not fit: see instant.vram_mib")
        )
    return judge(f"{declared.gpu}, {memory} MiB", findings, gpus=[vars(one) for one in seen])


# --- kept running --------------------------------------------------------------------------------


@check("machines.kept_running", component="gateway", needs=ON_MACHINES)
def kept_running(stack: Stack) -> Evidence:
    """Every program on a machine starts with the machine and is started again when it ends."""
    known = stack.fleet.facts.every([machine.name for machine in stack.fleet.servers])
    findings, seen = [], []
    for machine, unit, restarts in kept_units(stack):
        seen.append(f"{machine}: {unit}")
        findings += list(_unit(known[machine], unit, restarts))
    for program in programs_on_machines(stack):
        if program.container:
            seen.append(f"{program.machine}: container {program.container}")
            findings += list(_container(_begun(stack, program), program.container))
    return judge(f"{len(seen)} programs enabled, running, restarted when they end", findings, programs=seen)


def _begun(stack: Stack, program: MachineProgram) -> HostFacts:
    """The facts of the program's machine, once its container is past its start (as far as it has time)."""
    facts = stack.fleet.facts.of(program.machine)

    def begun() -> bool:
        nonlocal facts
        if not any(one.name == program.container and one.health == "starting" for one in facts.containers):
            return True
        facts = stack.fleet.facts.read(program.machine, ["containers"])
        return False

    with contextlib.suppress(DeadlineExceeded):  # it is what is found
        wait_until(f"the health of {program.container}", begun, seconds=program.ready_seconds)
    return facts


def programs_on_machines(stack: Stack) -> list[MachineProgram]:
    """What the providers keep running on machines."""
    found: list[MachineProgram] = []
    for provider in stack.providers.values():
        listed = getattr(provider, "machine_programs", None)
        found += listed() if listed else []
    return found


def kept_units(stack: Stack) -> Iterator[tuple[str, str, bool]]:
    """Machine, unit, and whether systemd must restart it."""
    programs = programs_on_machines(stack)
    for program in programs:
        if program.unit:
            yield program.machine, program.unit, True
    for machine in dict.fromkeys(program.machine for program in programs if program.container):
        yield machine, "docker.service", True
    if balancer := getattr(stack.environment.gateway, "balancer", None):
        yield balancer, "haproxy.service", True
    network = stack.fleet.machines.private_network
    for server in stack.fleet.servers:
        if server.private_address:
            yield server.name, network_unit(network), False


def _unit(facts: HostFacts, name: str, restarts: bool) -> Iterator[Finding]:
    unit, where = facts.unit(name), f"{facts.machine}: {name}"
    if not unit.found:
        yield Finding("installed", "systemd knows no such unit", where, "deploy it")
        return
    if not unit.enabled:
        yield Finding("starts with the machine", "not enabled", where, f"systemctl enable {name}")
    if unit.state != "active":
        yield Finding("active", unit.state, where, f"systemctl start {name}; journalctl -u {name}")
    if restarts and unit.restart and unit.restart not in _UNITS_RESTART:
        yield Finding("restarted when it ends", f"Restart={unit.restart}", where, "set Restart=always")


def _container(facts: HostFacts, name: str) -> Iterator[Finding]:
    where = f"{facts.machine}: container {name}"
    found = [container for container in facts.containers if container.name == name]
    if not found:
        others = ", ".join(container.name for container in facts.containers) or "none"
        yield Finding("a running container", f"there is none; there are: {others}", where, "deploy it")
        return
    one = found[0]
    if one.state != "running" or one.health not in ("healthy", ""):
        yield Finding("running, healthy", f"{one.state} {one.health}".strip(), where, f"docker logs {name}")
    if one.restart not in _CONTAINERS_RESTART:
        yield Finding("restarted when it ends", f"restart policy {one.restart or 'no'}", where, "deploy it")


# --- private network -----------------------------------------------------------------------------


@check("machines.private_only", component="instant", needs=ON_MACHINES)
def private_only(stack: Stack) -> Evidence:
    """The GPU and the database answer on the private network alone, to those who are on it."""
    machines = stack.fleet.machines
    network = machines.private_network
    made = surveyed(stack)
    known = stack.fleet.facts.every([machine.name for machine in stack.fleet.servers])
    findings, hidden = [], []
    for machine in stack.fleet.servers:
        findings += list(_joined(machine, machines, known[machine.name]))
        if machine.name in _hidden(stack):
            hidden.append(machine.name)
            findings += list(_elsewhere(machine, made.seen))
    findings += list(_addressed(stack, network))
    listed = ", ".join(hidden) or "no machine"
    return judge(f"{listed}: on {network.range} alone, {network.kind}", findings, machines=hidden)


def _hidden(stack: Stack) -> set[str]:
    """The machines of the instant model and of the database."""
    parts = (stack.environment.instant, stack.environment.supabase)
    return {part.host for part in parts if isinstance(part, PodInstant | HostSupabase)}


def _joined(machine: Machine, machines: Machines, facts: HostFacts) -> Iterator[Finding]:
    """What keeps ``machine`` from being on the private network, with all others and nobody else."""
    network = machines.private_network
    if machine.private_address is None:
        return
    where = f"{machine.name}: {network.interface}"
    status = status_of(network, facts)
    if status.problem or machine.private_address not in status.addresses:
        observed = status.problem or f"it has {', '.join(status.addresses) or 'no address'}"
        yield Finding(
            f"{machine.private_address} on {network.kind}", observed, where, f"start {network.kind}"
        )
    others = {m.private_address: m.name for m in machines.hosts if m.private_address and m is not machine}
    for address, name in others.items():
        peer = status.peer(address)
        if peer is None or peer.online is False:
            observed = "it does not know it" if peer is None else "offline, or its key has expired"
            yield Finding(f"{name} ({address}) as its peer", observed, where, f"see {network.kind} on both")
    known = {*others, machines.operator_private_address}
    for peer in status.peers if network.kind == "wireguard" else ():  # a tailnet has others, by design
        if not known & set(peer.addresses):
            observed = f"a peer at {', '.join(peer.addresses)} that no machine is"
            yield Finding(
                "the declared machines and the operator alone", observed, where, "remove that peer"
            )
    for interface, addresses in facts.addresses.items():
        strays = [a for a in addresses if interface != network.interface and _within(a, network)]
        if strays:
            expected = f"{network.range} on {network.interface} alone"
            yield Finding(expected, ", ".join(strays), f"{machine.name}: {interface}", "remove it")


def _within(address: str, network: PrivateNetwork) -> bool:
    held = ipaddress.ip_address(address)
    private = ipaddress.ip_network(network.range)
    return held.version == private.version and held in private


def _elsewhere(machine: Machine, seen: Sequence[Seen]) -> Iterator[Finding]:
    ports = {allow.port for allow in machine.allows if allow.over == "private"}
    for one in seen:
        probe = one.probe
        if probe.target != machine.name or probe.port not in ports or probe.own:
            continue
        if probe.over == "public" and not probe.allowed and one.outcome in ("open", "refused"):
            where = f"{machine.name}, {probe.address}:{probe.port}"
            observed = f"{one.outcome} from {probe.vantage}, over the public network"
            yield Finding("nothing but the private network", observed, where, "deploy its firewall again")
        if probe.over == "private" and not probe.joined and one.outcome == "open":
            where = f"{machine.name}, {probe.address}:{probe.port}"
            observed = f"open from {probe.vantage}, which is not on the private network"
            yield Finding("nobody from outside", observed, where, "see who is on the private network")


def _addressed(stack: Stack, network: PrivateNetwork) -> Iterator[Finding]:
    """Who uses the GPU must do it by its private address."""
    declared = stack.environment.instant
    host = urlsplit(declared.url).hostname or ""
    if isinstance(declared, PodInstant) and not _is_private(host, network):
        where = f"environments/{stack.environment.environment}.yaml: instant.url"
        yield Finding(f"an address in {network.range}", host, where, "write its private address")


def _is_private(host: str, network: PrivateNetwork) -> bool:
    try:
        return _within(host, network)
    except ValueError:  # a name: whoever resolves it decides
        return False


# --- fit -----------------------------------------------------------------------------------------


@check("machines.fit", component="gateway", needs=ON_MACHINES)
def fit(stack: Stack) -> Evidence:
    """Every machine has the right time and room on its disks."""
    known = stack.fleet.facts.every([machine.name for machine in stack.fleet.servers])
    findings = [finding for facts in known.values() for finding in (*_clock(facts), *_disks(facts))]
    worst = max((max(map(abs, facts.clock_offset)) for facts in known.values()), default=0.0)
    least = min((d.free / d.bytes for f in known.values() for d in f.disks if d.bytes), default=1.0)
    summary = f"{len(known)} machines: clocks within {worst:.2f} s of ours, disks at least {least:.0%} free"
    return judge(summary, findings, offset_seconds=round(worst, 3), free=round(least, 3))


def _clock(facts: HostFacts) -> Iterator[Finding]:
    least, most = facts.clock_offset
    if least > _MOST_OFFSET_SECONDS or most < -_MOST_OFFSET_SECONDS:
        expected = f"within {_MOST_OFFSET_SECONDS:g} s of this machine's"
        observed = f"at least {least:.1f} s ahead" if least > 0 else f"at least {-most:.1f} s behind"
        yield Finding(
            expected, observed, f"{facts.machine}: clock", "let NTP keep it: timedatectl set-ntp true"
        )


def _disks(facts: HostFacts) -> Iterator[Finding]:
    for disk in facts.disks:
        if disk.bytes and disk.free / disk.bytes < _LEAST_FREE:
            expected = f"at least {_LEAST_FREE:.0%} free"
            observed = f"{disk.free / disk.bytes:.1%} of {disk.bytes / 2**30:.1f} GiB"
            yield Finding(
                expected, observed, f"{facts.machine}: {disk.path}", "make room: logs, images, dumps"
            )
