"""Do the machines' firewalls hold what the environment allows, and does every connection show it?

Two views, because each is blind to something: nftables' own words (a rule that nothing uses yet), and real
connections from every vantage point (whatever goes past the rules: a port that Docker publishes, a peer
that cannot get out). That a connection failed proves nothing by itself; the machine's firewall must have
counted it, and who is allowed must get through.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

from harness.checks.base import check
from harness.environment.machines import OPERATOR
from harness.evidence import Evidence, Finding, judge
from harness.hosts import firewall
from harness.hosts.facts import HostFacts
from harness.hosts.matrix import Seen
from harness.hosts.policy import policy_of
from harness.hosts.ruleset import egress_filters
from harness.hosts.survey import Survey, survey
from harness.stack import Stack

__all__ = ["ON_MACHINES", "instant_reach", "reach", "reach_findings", "rules", "surveyed"]

ON_MACHINES = ("gateway", "instant", "supabase")
"""The components that may run on machines; when these are deployed, the machines are as they will be."""


@check("machines.firewall.rules", component="gateway", needs=ON_MACHINES)
def rules(stack: Stack) -> Evidence:
    """On every machine nftables holds what the environment allows, and will hold it after a reboot."""
    fleet = stack.fleet
    known = fleet.facts.every([machine.name for machine in fleet.servers])
    findings, grants = [], 0
    for machine in fleet.servers:
        policy = policy_of(fleet.machines, machine)
        grants += sum(len(elements) for elements in policy.sets().values())
        for wrong in firewall.wanting(policy, known[machine.name]):
            where = f"{machine.name}: {wrong.where}"
            remedy = f"deploy again; or declare it: machines.{machine.name}.allows"
            findings.append(Finding(wrong.expected, wrong.observed, where, remedy))
    packets = sum(_denied(known[machine.name]) for machine in fleet.servers)
    summary = f"{len(known)} firewalls as declared: {grants} grants, {packets} packets refused so far"
    return judge(summary, findings, machines=sorted(known), grants=grants, refused=packets)


def _denied(facts: HostFacts) -> int:
    counters = [entry["counter"] for entry in facts.ruleset if "counter" in entry]
    return sum(c["packets"] for c in counters if c["table"] == "harness")


@check("machines.firewall.reach", component="gateway", needs=ON_MACHINES)
def reach(stack: Stack) -> Evidence:
    """From every vantage point every port of every machine answers to whom it may, and to nobody else."""
    return _reach(
        stack, [machine.name for machine in stack.fleet.servers if machine.name != _instant(stack)]
    )


@check("instant.firewall", component="instant", needs=ON_MACHINES)
def instant_reach(stack: Stack) -> Evidence:
    """The instant host lets in whom the environment allows; everybody else is refused by its firewall."""
    return _reach(stack, [_instant(stack)])


def _instant(stack: Stack) -> str:
    return str(getattr(stack.environment.instant, "host", ""))


def _reach(stack: Stack, targets: Collection[str]) -> Evidence:
    seen = [one for one in surveyed(stack).seen if one.probe.target in targets]
    known = stack.fleet.facts.every(stack.fleet.names)
    findings = reach_findings(seen, known)
    opened = sum(one.outcome == "open" and not one.probe.own for one in seen)
    proven = sum(bool(one.denied) and not one.probe.allowed for one in seen)
    vantages = len({one.probe.vantage for one in seen})
    summary = (
        f"{', '.join(targets)}: {len(seen)} connections from {vantages} vantage points: "
        f"{opened} let in as declared, {proven} refused and counted by the firewall itself"
    )
    return judge(summary, findings, tried=len(seen), let_in=opened, refused=proven)


def surveyed(stack: Stack) -> Survey:
    """The survey of this run, if every machine took part in it.

    Raises:
        Unreachable: naming the first machine that did not.
    """
    made = survey(stack.fleet)
    for lost in made.unreachable.values():
        raise lost
    return made


# --- judging -------------------------------------------------------------------------------------


def reach_findings(seen: Sequence[Seen], facts: Mapping[str, HostFacts]) -> list[Finding]:
    """What contradicts the environment among ``seen``, one finding a cause."""
    found = [*_down(seen, facts)]
    down = {_place(one) for one in seen if one.probe.own and one.outcome != "open"}
    lost = [one for one in seen if _lost(one) and not (one.outcome == "refused" and _place(one) in down)]
    found += _let_in(seen, facts)
    found += _shut_out([one for one in seen if one.probe.allowed and one.denied and one.outcome != "open"])
    return found + list(_never_arrived(lost, seen, facts))


def _place(one: Seen) -> tuple[str, str, int]:
    return one.probe.target, one.probe.address, one.probe.port


def _lost(one: Seen) -> bool:
    """It came to nothing, and the target's firewall does not know of it."""
    if one.probe.own or not one.probe.joined or one.denied:
        return False
    return one.outcome != "open" if one.probe.allowed else one.outcome not in ("open", "refused")


def _down(seen: Sequence[Seen], facts: Mapping[str, HostFacts]) -> Iterator[Finding]:
    for one in seen:
        if one.probe.own and one.outcome != "open":
            held = [s for s in facts[one.probe.target].listeners if s.port == one.probe.port]
            observed = ", ".join(f"{s.address} ({' '.join(s.holders)})" for s in held) or "nothing listens"
            yield Finding(
                f"a service on {one.probe.address}:{one.probe.port}",
                observed if not held else f"it listens on {observed} alone",
                f"{one.probe.target}, port {one.probe.port}",
                "start it, and let it listen on that address: whether it is protected cannot be seen",
            )


def _let_in(seen: Sequence[Seen], facts: Mapping[str, HostFacts]) -> Iterator[Finding]:
    grouped: dict[tuple[str, str, int], list[Seen]] = defaultdict(list)
    for one in seen:
        if not one.probe.allowed and one.outcome in ("open", "refused"):
            grouped[_place(one)].append(one)
    for (target, address, port), ones in grouped.items():
        who = ", ".join(one.probe.vantage for one in ones)
        how = (
            "reached" if any(one.outcome == "open" for one in ones) else "let through to where none listens"
        )
        published = [c.name for c in facts[target].containers if any(p.port == port for p in c.published)]
        by = f"; the container {published[0]} publishes it" if published else ""
        yield Finding(
            f"refused by the firewall of {target} ({ones[0].probe.over} network)",
            f"{how} from {who}{by}",
            f"{target}, {address}:{port}",
            f"deploy again: its firewall is not the declared one; or allow it in machines.{target}.allows",
        )


def _shut_out(ones: Sequence[Seen]) -> Iterator[Finding]:
    grouped: dict[tuple[str, str, int], list[Seen]] = defaultdict(list)
    for one in ones:
        grouped[_place(one)].append(one)
    for (target, address, port), several in grouped.items():
        who = ", ".join(one.probe.vantage for one in several)
        yield Finding(
            f"open for {who}, as machines.{target}.allows says",
            f"the firewall of {target} refused {who}",
            f"{target}, {address}:{port}",
            "deploy again: a grant is missing in its firewall",
        )


def _never_arrived(
    lost: Sequence[Seen], seen: Sequence[Seen], facts: Mapping[str, HostFacts]
) -> Iterator[Finding]:
    """What never came to the target's firewall, by vantage point and network: there is the cause."""
    grouped: dict[tuple[str, str], list[Seen]] = defaultdict(list)
    for one in lost:
        grouped[one.probe.vantage, one.probe.over].append(one)
    for (vantage, over), ones in grouped.items():
        filters = egress_filters(facts[vantage].ruleset) if vantage in facts else []
        tried = [s for s in seen if (s.probe.vantage, s.probe.over) == (vantage, over) and s.probe.joined]
        whole = len(ones) == len([one for one in tried if not one.probe.own])
        targets = ", ".join(dict.fromkeys(f"{one.probe.target}:{one.probe.port}" for one in ones))
        what = f"{ones[0].outcome}; {'nothing' if whole else 'none of it'} arrived at its firewall"
        cause = f"; {vantage} filters what it sends: {'; '.join(filters)}" if filters else ""
        yield Finding(
            f"{targets} let {vantage} in, or refuse it, over the {over} network",
            what.replace("that arrived", "none of that arrived").replace("nothing at all", "nothing")
            + cause,
            f"{vantage}, {over} network" if vantage != OPERATOR else f"this machine, {over} network",
            "mend the link between them, or what filters on the way",
        )
