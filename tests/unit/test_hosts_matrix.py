"""Who should reach what, and what is made of how it went."""

from __future__ import annotations

from typing import Any

from harness.checks.firewall import reach_findings
from harness.hosts.facts import HostFacts
from harness.hosts.matrix import Probe, Seen, matrix
from tests.unit.test_hosts_policy import allow, machines

ANY = "0.0.0.0"  # noqa: S104


def told(name: str, *ports: int, **parts: Any) -> HostFacts:
    sockets = [{"protocol": "tcp", "address": ANY, "port": port, "holders": []} for port in ports]
    known = {"sockets": sockets, "containers": [], "ruleset": [], **parts}
    return HostFacts(name, {part: {"value": value} for part, value in known.items()}, 0.0, 0.0)


def environment() -> Any:
    return machines(
        allows=[allow(22, "operator"), allow(8000, "gateway-1", "operator", over="private")],
    )


def everything(facts: dict[str, HostFacts]) -> list[Probe]:
    return matrix(environment(), facts, lambda host: (host,))


def seen(outcomes: dict[tuple[str, str, int], tuple[str, bool]]) -> list[Seen]:
    """Every probe of the instant machine, ended as it should but for ``outcomes``."""
    made = []
    for probe in everything({"instant": told("instant", 22, 8000)}):
        right = ("open", False) if probe.allowed else ("silent", probe.joined)
        outcome, denied = outcomes.get((probe.vantage, probe.over, probe.port), right)
        made.append(Seen(probe, outcome, 1.0, denied))
    return made


def judged(outcomes: dict[tuple[str, str, int], tuple[str, bool]], **parts: Any) -> list[str]:
    facts = {name: told(name) for name in ("gateway-1", "gateway-2", "outsider")}
    facts["instant"] = told("instant", 22, 8000, **parts)
    return [f"{f.where} | {f.observed}" for f in reach_findings(seen(outcomes), facts)]


def test_everything_declared_listening_or_published_is_tried_from_everywhere() -> None:
    published = [{"address": ANY, "port": 9000}]
    container = dict.fromkeys(
        ("id", "name", "state", "health", "image", "user", "restart", "log_driver"), "x"
    )
    container |= {"pid": 1, "digests": [], "read_only": True, "privileged": False, "network": ""}
    facts = {"instant": told("instant", 22, 8000, 7000, containers=[{**container, "published": published}])}
    tried = everything(facts)
    assert {probe.port for probe in tried} == {22, 8000, 7000, 9000}
    assert {probe.vantage for probe in tried} == {
        "gateway-1",
        "gateway-2",
        "outsider",
        "instant",
        "operator",
    }
    may = {(p.vantage, p.over, p.port) for p in tried if p.allowed and not p.own}
    assert may == {
        ("operator", "public", 22),
        ("operator", "private", 8000),
        ("gateway-1", "private", 8000),
    }
    own = {(p.over, p.port) for p in tried if p.own}
    assert own == {("public", 22), ("private", 8000)}


def test_a_healthy_machine_has_no_finding() -> None:
    assert judged({}) == []


def test_who_gets_in_is_named_and_who_publishes_the_port() -> None:
    found = judged(
        {("outsider", "public", 8000): ("open", False), ("gateway-2", "public", 8000): ("refused", False)}
    )
    assert found == ["instant, 10.86.3.31:8000 | reached from gateway-2, outsider"]


def test_silence_that_the_firewall_does_not_know_of_proves_nothing() -> None:
    found = judged({("outsider", "public", 8000): ("silent", False)})
    assert found == ["outsider, public network | silent; none of it arrived at its firewall"]


def test_a_firewall_that_refuses_whom_it_should_not_is_named() -> None:
    found = judged({("gateway-1", "private", 8000): ("silent", True)})
    assert found == ["instant, 10.87.3.31:8000 | the firewall of instant refused gateway-1"]


def test_a_service_that_is_down_is_one_finding() -> None:
    down = {(who, "private", 8000): ("refused", False) for who in ("instant", "gateway-1", "operator")}
    assert judged(down, sockets=[]) == ["instant, port 8000 | nothing listens"]


def test_a_peer_from_which_nothing_arrives_is_one_finding() -> None:
    gone = {("gateway-1", "private", port): ("silent", False) for port in (22, 8000)}
    found = judged(gone)
    assert found == ["gateway-1, private network | silent; nothing arrived at its firewall"]
