"""From `allows` to nftables, and from what nft says back to differences; the recorded answers are real."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from harness.environment.machines import Machines
from harness.errors import HarnessError
from harness.hosts.policy import Policy, nft_text, policy_of, refused
from harness.hosts.ruleset import differences, egress_filters, phrase

RECORDED = json.loads((Path(__file__).parent / "nft_ruleset.json").read_text())["nftables"]
"""`nft -j list ruleset` of nftables 1.0.6 on a machine with exactly the policy of :func:`instant`."""


def machines(**instant: Any) -> Machines:
    hosts = [
        {"name": "gateway-1", "address": "10.86.3.21", "private_address": "10.87.3.21"},
        {"name": "gateway-2", "address": "10.86.3.22", "private_address": "10.87.3.22"},
        {"name": "outsider", "address": "10.86.3.91", "role": "vantage"},
        {"name": "instant", "address": "10.86.3.31", "private_address": "10.87.3.31", **instant},
    ]
    text = {
        "ssh": {"user": "deploy", "key": "env:KEY", "known_hosts": "known_hosts"},
        "private_network": {"kind": "wireguard", "range": "10.87.3.0/24", "interface": "wg0"},
        "operator": "10.86.3.1",
        "operator_private_address": "10.87.3.1",
        "hosts": hosts,
    }
    return Machines.model_validate_json(json.dumps(text))


def allow(port: int, *sources: str, over: str = "public") -> dict[str, Any]:
    return {"port": port, "sources": list(sources), "over": over}


def instant() -> Policy:
    declared = machines(
        allows=[
            allow(22, "operator"),
            allow(8000, "gateway-1", "gateway-2", "operator", over="private"),
        ]
    )
    return policy_of(declared, declared.host("instant"))


def changed(kind: str, name: str, **values: Any) -> list[dict[str, Any]]:
    """The recorded ruleset with something else in one of its entries."""
    made = copy.deepcopy(RECORDED)
    for entry in made:
        if kind in entry and entry[kind].get("table") == "harness" and entry[kind].get("name") == name:
            entry[kind].update(values)
    return made


def test_each_grant_is_an_element_of_the_set_of_its_network() -> None:
    policy = instant()
    assert policy.public_v4 == {("10.86.3.1", 22)}
    assert policy.private_v4 == {("10.87.3.21", 8000), ("10.87.3.22", 8000), ("10.87.3.1", 8000)}
    assert policy.public_anyone == policy.private_anyone == frozenset()
    assert "elements = { 10.86.3.1 . 22 };" in nft_text(policy)


def test_anyone_is_a_port_and_names_are_resolved_to_every_address() -> None:
    declared = machines(allows=[allow(443, "anyone"), allow(22, "gateway-1")])
    policy = policy_of(declared, declared.host("instant"), lambda name: (name, "2001:db8::7"))
    assert policy.public_anyone == {443}
    assert policy.public_v6 == {("2001:db8::7", 22)}
    assert "tcp dport @public_anyone accept" in nft_text(policy)


def test_a_source_that_is_not_on_the_private_network_is_named() -> None:
    declared = machines(allows=[allow(8000, "outsider", over="private")])
    with pytest.raises(HarnessError, match="outsider has no address on the private network, but port 8000"):
        policy_of(declared, declared.host("instant"))


def test_a_name_that_does_not_resolve_is_named() -> None:
    declared = machines(allows=[allow(22, "operator")])
    declared = declared.model_copy(update={"operator": "nowhere.invalid"})
    with pytest.raises(HarnessError, match=r"nowhere\.invalid does not resolve"):
        policy_of(declared, declared.host("instant"))


def test_the_text_is_the_same_whatever_the_order_of_grants() -> None:
    one = machines(allows=[allow(22, "operator"), allow(80, "anyone")])
    other = machines(allows=[allow(80, "anyone"), allow(22, "operator")])
    made = [nft_text(policy_of(declared, declared.host("instant"))) for declared in (one, other)]
    assert made[0] == made[1]


def test_what_nft_says_of_the_declared_rules_is_no_difference() -> None:
    assert differences(instant(), RECORDED) == []


def test_another_machines_rules_are_different_in_their_sets() -> None:
    declared = machines(allows=[allow(22, "operator"), allow(8000, "gateway-1", over="private")])
    found = [str(one) for one in differences(policy_of(declared, declared.host("instant")), RECORDED)]
    assert found == [
        "set private_v4: 10.87.3.1 . 8000 is let in, and not declared",
        "set private_v4: 10.87.3.22 . 8000 is let in, and not declared",
    ]


def test_no_table_is_one_difference() -> None:
    others = [entry for entry in RECORDED if "harness" not in json.dumps(entry)]
    assert [str(one) for one in differences(instant(), others)] == [
        "table inet harness: there is no such table"
    ]


@pytest.mark.parametrize(
    ("ruleset", "said"),
    [
        (changed("chain", "input", policy="accept"), "chain input: hook input, priority 0, policy accept"),
        (
            changed("chain", "arriving", prio=0),
            "chain arriving: hook prerouting, priority 0, policy accept",
        ),
        (changed("set", "private_v4", elem=[]), "set private_v4: 10.87.3.1 . 8000 is missing"),
        (changed("set", "public_anyone", elem=[9000]), "set public_anyone: 9000 is let in"),
    ],
)
def test_what_was_changed_is_named(ruleset: list[dict[str, Any]], said: str) -> None:
    assert any(str(one).startswith(said) for one in differences(instant(), ruleset))


def test_a_rule_too_many_and_one_too_few_are_told_in_nfts_words() -> None:
    rules = [e["rule"] for e in RECORDED if "rule" in e and e["rule"]["chain"] == "refused"]
    without = [e for e in RECORDED if e.get("rule") is not rules[-1]]
    extra = {"family": "inet", "table": "harness", "chain": "allowed", "handle": 99}
    match = {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 9000}
    without.append({"rule": {**extra, "expr": [{"match": match}, {"accept": None}]}})
    found = {str(one) for one in differences(instant(), without)}
    assert found == {
        'chain refused: the rule `counter name "denied" drop` is missing',
        "chain allowed: there is also `tcp dport 9000 accept`",
    }


def test_what_we_do_not_know_is_shown_as_it_is() -> None:
    assert (
        phrase([{"xt": {"type": "target", "name": "TEE"}}]) == '{"xt": {"name": "TEE", "type": "target"}}'
    )


def test_refused_packets_are_read_with_and_without_a_time_out_around_them() -> None:
    concat = {"concat": ["10.86.3.91", 40312, 8000]}
    for element in (concat, {"elem": {"val": concat, "timeout": 300, "expires": 299}}):
        seen = refused(changed("set", "denied_v4", elem=[element]))
        assert seen is not None
        assert seen.tries == {("10.86.3.91", 40312, 8000)}
    assert refused([]) is None


def test_a_table_with_flags_rules_nothing_perhaps() -> None:
    changed = copy.deepcopy(RECORDED)
    next(entry["table"] for entry in changed if entry.get("table", {}).get("name") == "harness")[
        "flags"
    ] = "x"
    assert [str(one) for one in differences(instant(), changed)] == [
        "table inet harness: it has flags: is it dormant?"
    ]


def test_filters_on_the_way_out_are_found_in_any_table() -> None:
    place = {"family": "inet", "table": "mine"}
    chain = {"chain": {**place, "name": "out", "hook": "output", "policy": "accept"}}
    rule = {"rule": {**place, "chain": "out", "expr": [{"drop": None}]}}
    assert egress_filters([*RECORDED, chain, rule]) == ["table inet mine, chain out"]
    assert egress_filters([*RECORDED, chain]) == []
