"""Is what nftables holds what the environment declares? Compares `nft -j list ruleset` with a policy; pure.

Rules are compared in the words in which nft itself prints them, so a finding shows what an operator would
type, and versions of nft that write the same rule in different JSON agree.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.hosts.policy import DENIED, TABLE, Policy, chains

__all__ = ["Difference", "differences", "egress_filters", "phrase"]

_HOOKS = {
    "arriving": ("prerouting", -150, "accept"),
    "input": ("input", 0, "drop"),
    "forward": ("forward", -10, "accept"),
}
"""Chain: hook, priority, policy."""


@dataclass(frozen=True)
class Difference:
    """One place where the live rules are not the declared ones."""

    where: str
    expected: str
    observed: str

    def __str__(self) -> str:
        return f"{self.where}: {self.observed}"


def differences(policy: Policy, ruleset: Sequence[Mapping[str, Any]]) -> list[Difference]:
    """Every difference between the declared table and the live one; counters and time-outs are none."""
    live = [(kind, thing) for entry in ruleset for kind, thing in entry.items() if _ours(kind, thing)]
    tables = [thing for kind, thing in live if kind == "table"]
    if not tables:
        return [Difference(f"table inet {TABLE}", "the declared rules", "there is no such table")]
    asleep = [
        # which flags, nft 1.0.6 does not say right in JSON; we declare none, and `dormant` rules nothing
        Difference(f"table inet {TABLE}", "a table without flags", "it has flags: is it dormant?")
        for table in tables
        if "flags" in table
    ]
    return [*asleep, *_sets(policy, live), *_chains(live), *_rules(policy, live)]


def _ours(kind: str, thing: Any) -> bool:
    name = thing.get("name" if kind == "table" else "table")
    return bool(name == TABLE and thing.get("family") == "inet")


Live = Sequence[tuple[str, Mapping[str, Any]]]


def _sets(policy: Policy, live: Live) -> Iterator[Difference]:
    found = {thing["name"]: thing for kind, thing in live if kind == "set"}
    for name, declared in policy.sets().items():
        if name not in found:
            yield Difference(f"set {name}", "in the table", "missing")
            continue
        elements = {_element(element) for element in found[name].get("elem", [])}
        for element in sorted({_shown(e) for e in declared} - elements):
            yield Difference(f"set {name}", element, f"{element} is missing: who is allowed is refused")
        for element in sorted(elements - {_shown(e) for e in declared}):
            yield Difference(f"set {name}", f"without {element}", f"{element} is let in, and not declared")
    for name in (f"{DENIED}_v4", f"{DENIED}_v6"):
        if name not in found:
            yield Difference(f"set {name}", "in the table", "missing")
    for name in sorted(found.keys() - policy.sets().keys() - {f"{DENIED}_v4", f"{DENIED}_v6"}):
        yield Difference(f"set {name}", "no such set", "there is one")


def _shown(element: Any) -> str:
    return f"{element[0]} . {element[1]}" if isinstance(element, tuple) else str(element)


def _element(element: Any) -> str:
    if isinstance(element, Mapping) and "elem" in element:
        element = element["elem"]["val"]
    if isinstance(element, Mapping) and "concat" in element:
        return " . ".join(_value(part) for part in element["concat"])
    return _value(element)


def _chains(live: Live) -> Iterator[Difference]:
    found = {thing["name"]: thing for kind, thing in live if kind == "chain"}
    for name in ("allowed", "refused", *_HOOKS):
        if name not in found:
            yield Difference(f"chain {name}", "in the table", "missing")
            continue
        seen = tuple(found[name].get(key) for key in ("hook", "prio", "policy"))
        declared = _HOOKS.get(name, (None, None, None))
        if seen != declared:
            yield Difference(f"chain {name}", _hook(declared), _hook(seen))
    for name in sorted(found.keys() - {"allowed", "refused", *_HOOKS}):
        yield Difference(f"chain {name}", "no such chain", "there is one")


def _hook(declared: tuple[Any, ...]) -> str:
    return "hook {}, priority {}, policy {}".format(*declared) if any(declared) else "no base chain"


def _rules(policy: Policy, live: Live) -> Iterator[Difference]:
    for chain, declared in chains(policy).items():
        seen = [phrase(thing["expr"]) for kind, thing in live if kind == "rule" and thing["chain"] == chain]
        wanted = [_canonical(rule) for rule in declared]
        missing = [rule for rule in wanted if rule not in seen]
        extra = [rule for rule in seen if rule not in wanted]
        for rule in missing:
            yield Difference(f"chain {chain}", rule, f"the rule `{rule}` is missing")
        for rule in extra:
            yield Difference(f"chain {chain}", "the declared rules alone", f"there is also `{rule}`")
        if not missing and not extra and seen != wanted:
            yield Difference(f"chain {chain}", "; ".join(wanted), f"in another order: {'; '.join(seen)}")


def _canonical(rule: str) -> str:
    """Our words for a rule with the members of each list sorted, as :func:`phrase` has them."""
    if "{" in rule and "update" not in rule:
        before, _, rest = rule.partition("{ ")
        members, _, after = rest.partition(" }")
        return f"{before}{{ {', '.join(sorted(members.split(', ')))} }}{after}"
    return rule


# --- a rule in nft's own words -------------------------------------------------------------------


def phrase(expressions: Sequence[Mapping[str, Any]]) -> str:
    """A rule from its JSON, as `nft list` prints it; what we do not know stays JSON."""
    return " ".join(_statement(expression) for expression in expressions)


def _statement(expression: Mapping[str, Any]) -> str:
    ((kind, body),) = expression.items()
    if kind == "match":
        return _match(body)
    written: Callable[[], str] | None = {
        "accept": lambda: "accept",
        "drop": lambda: "drop",
        "return": lambda: "return",
        "jump": lambda: f"jump {body['target']}",
        "goto": lambda: f"goto {body['target']}",
        "counter": lambda: f'counter name "{body}"' if isinstance(body, str) else "counter",
        "set": lambda: f"{body['op']} {body['set']} {{ {_value(body['elem'])} }}",
        "reject": lambda: f"reject with {body['type']}" if body else "reject",
    }.get(kind)
    return written() if written else json.dumps(expression, sort_keys=True)


def _match(body: Mapping[str, Any]) -> str:
    left, right = _value(body["left"]), body["right"]
    operator = "" if body["op"] in ("==", "in") else f"{body['op']} "
    shown = _value(right)
    if left in ("iifname", "oifname") and isinstance(right, str):
        shown = f'"{right}"'
    return f"{left} {operator}{shown}"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(sorted(map(_value, value)))
    if not isinstance(value, Mapping):
        return str(value)
    ((kind, body),) = value.items()
    written: Callable[[], str] | None = {
        "payload": lambda: f"{body['protocol']} {body['field']}",
        "meta": lambda: str(body["key"]),
        "ct": lambda: f"ct {body['key']}",
        "fib": lambda: f"fib {' . '.join(_listed(body['flags']))} {body['result']}",
        "concat": lambda: " . ".join(map(_value, body)),
        "set": lambda: f"{{ {', '.join(sorted(map(_value, _listed(body))))} }}",
    }.get("" if kind == "payload" and "protocol" not in body else kind)
    return written() if written else json.dumps(value, sort_keys=True)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def egress_filters(ruleset: Sequence[Mapping[str, Any]]) -> list[str]:
    """Chains that may keep the machine's own packets from leaving: who cannot reach a peer looks here."""
    things = [(kind, thing) for entry in ruleset for kind, thing in entry.items()]
    found = []
    for kind, chain in things:
        if kind != "chain" or chain.get("hook") not in ("output", "postrouting"):
            continue
        rules = [
            thing["expr"]
            for kind, thing in things
            if kind == "rule"
            and all(thing[k] == chain[k] for k in ("family", "table"))
            and thing["chain"] == chain["name"]
        ]
        if chain.get("policy") == "drop" or any(
            "drop" in e or "reject" in e for rule in rules for e in rule
        ):
            found.append(f"table {chain['family']} {chain['table']}, chain {chain['name']}")
    return found
