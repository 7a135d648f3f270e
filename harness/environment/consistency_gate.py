"""Whether what a gate demands can be met, and means what it seems to."""

from __future__ import annotations

from collections.abc import Iterator

from harness.environment.explain import Found
from harness.environment.gate import Approvals, Freeze
from harness.environment.model import Environment
from harness.environment.yaml_tree import Path

__all__ = ["gate_inconsistencies"]


def gate_inconsistencies(environment: Environment) -> Iterator[Found]:
    """Every contradiction in the section ``gate``."""
    gate = environment.gate
    yield from _keys(environment)
    if environment.predecessor is None and (gate.runners or gate.approvals):
        yield ("gate",), "demands something of a predecessor, and there is none", "name a predecessor"
    if gate.runners and gate.signatures > len(gate.runners):
        yield ("gate", "signatures"), f"asks for more than the {len(gate.runners)} runners", "lower it"
    if gate.approvals:
        yield from _approvals(gate.approvals, {runner.key for runner in gate.runners})
    for index, freeze in enumerate(gate.freezes):
        yield from _freeze(freeze, ("gate", "freezes", index))


def _keys(environment: Environment) -> Iterator[Found]:
    gate = environment.gate
    local = all(getattr(environment, c).provider == "local" for c in ("supabase", "gateway", "web"))
    if gate.signing_key.startswith("local:") and not local:
        what = "local: makes up a key on this machine; nobody could pin it"
        yield ("gate", "signing_key"), what, "env:NAME or file:PATH; harness keys new makes one"
    for index, runner in enumerate(gate.runners):
        if runner.key in [other.key for other in gate.runners[:index]]:
            what = "stands here twice: one key is one runner, whatever it is called"
            yield ("gate", "runners", index, "key"), what, "remove one"


def _approvals(approvals: Approvals, runners: set[str]) -> Iterator[Found]:
    at: Path = ("gate", "approvals")
    approvers = approvals.approvers
    if approvals.count > len(approvers):
        yield (*at, "count"), f"asks for more than the {len(approvers)} approvers", "lower it, or add one"
    for index, approver in enumerate(approvers):
        place = (*at, "approvers", index)
        if approver.name in [other.name for other in approvers[:index]]:
            yield (*place, "name"), f"{approver.name} stands here twice", "keep one"
        if approver.key in [other.key for other in approvers[:index]]:
            what = "stands here twice: one key is one approver, whatever it is called"
            yield (*place, "key"), what, "every approver needs a key of their own"
        if approver.key in runners:
            yield (*place, "key"), "is that of a runner: a run cannot approve itself", "another key"


def _freeze(freeze: Freeze, at: Path) -> Iterator[Found]:
    if freeze.starts is None and freeze.ends is None and not freeze.days:
        yield at, "has neither a time nor days: it would never end", "starts and ends, or days"
    for name in ("starts", "ends"):
        moment = getattr(freeze, name)
        if moment is not None and moment.tzinfo is None:
            yield (*at, name), "has no time zone", "write 2027-12-24T00:00:00Z"
            return
    if freeze.starts and freeze.ends and freeze.starts >= freeze.ends:
        yield (*at, "ends"), "is not after its start", "swap them"
