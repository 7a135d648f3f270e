"""Whether what a gate demands can be met, and means what it seems to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path as FilePath

from harness.attestation.sshsig import key_bytes
from harness.environment.explain import Found
from harness.environment.gate import Approvals, Approver, Freeze
from harness.environment.model import Environment
from harness.environment.pinned import Claim, claims, neighbours
from harness.environment.yaml_tree import Path

__all__ = ["gate_inconsistencies"]


def gate_inconsistencies(environment: Environment, file: FilePath) -> Iterator[Found]:
    """Every contradiction in the section ``gate``, and with those of the files beside ``file``."""
    gate = environment.gate
    others = neighbours(file)
    elsewhere = claims(others)
    yield from _keys(environment)
    yield from _relied_on(environment, [o.name for o in others if o.predecessor == environment.environment])
    yield from _speaks_for_one(environment, elsewhere)
    if environment.predecessor is None and (gate.runners or gate.approvals):
        yield ("gate",), "demands something of a predecessor, and there is none", "name a predecessor"
    if gate.runners and gate.signatures > len(gate.runners):
        yield ("gate", "signatures"), f"asks for more than the {len(gate.runners)} runners", "lower it"
    if gate.approvals:
        spoken = {claim.key for claim in elsewhere} | {key_bytes(runner.key) for runner in gate.runners}
        spoken |= {key_bytes(gate.public_key)} if gate.public_key else set()
        yield from _approvals(gate.approvals, spoken)
    for index, freeze in enumerate(gate.freezes):
        yield from _freeze(freeze, ("gate", "freezes", index))


def _keys(environment: Environment) -> Iterator[Found]:
    gate = environment.gate
    local = all(getattr(environment, c).provider == "local" for c in ("supabase", "gateway", "web"))
    if gate.signing_key.startswith("local:") and not local:
        what = "local: makes up a key on this machine; nobody could pin it"
        yield ("gate", "signing_key"), what, "env:NAME or file:PATH; harness keys new makes one"
    for index, runner in enumerate(gate.runners):
        if key_bytes(runner.key) in [key_bytes(other.key) for other in gate.runners[:index]]:
            what = "stands here twice: one key is one runner, whatever it is called"
            yield ("gate", "runners", index, "key"), what, "remove one"


def _relied_on(environment: Environment, successors: Sequence[str]) -> Iterator[Found]:
    """What others rely on must be verifiable without its secret: on an approver's machine, in any job."""
    gate = environment.gate
    if gate.public_key or gate.signing_key.startswith("local:"):  # that one is made on each machine
        return
    who = [f"{name} relies on its evidence" for name in successors]
    who += ["its approvers are shown what runs here"] if gate.approvals else []
    if who:
        hint = "pin the public half of gate.signing_key: harness keys show prints it"
        yield ("gate", "public_key"), f"is missing, and {' and '.join(who)}", hint


def _speaks_for_one(environment: Environment, elsewhere: Sequence[Claim]) -> Iterator[Found]:
    """A key that speaks for two environments would make one's pass the other's."""
    gate, hint = environment.gate, "every environment has a key of its own: harness keys new makes one"
    own = [(("gate", "runners", i, "key"), r.key) for i, r in enumerate(gate.runners)]
    pinned: list[tuple[Path, str, str | None]] = [(at, key, environment.predecessor) for at, key in own]
    if gate.public_key:
        pinned.append((("gate", "public_key"), gate.public_key, environment.environment))
        if key_bytes(gate.public_key) in [key_bytes(runner.key) for runner in gate.runners]:
            yield ("gate", "public_key"), f"also speaks for {environment.predecessor}", hint
    for at, key, speaks_for in pinned:
        for claim in elsewhere:
            if claim.key == key_bytes(key) and claim.speaks_for != speaks_for:
                yield at, f"also speaks for {claim.speaks_for}, in {claim.file}", hint
                break


def _approvals(approvals: Approvals, spoken: set[bytes]) -> Iterator[Found]:
    at: Path = ("gate", "approvals")
    approvers = approvals.approvers
    if approvals.count > len(approvers):
        yield (*at, "count"), f"asks for more than the {len(approvers)} approvers", "lower it, or add one"
    for index, approver in enumerate(approvers):
        place = (*at, "approvers", index)
        if key_bytes(approver.key) in spoken:
            yield (*place, "key"), "is that of a runner: a run cannot approve itself", "another key"
        for other in approvers[:index]:
            yield from _two_people(approver, other, place)


def _two_people(approver: Approver, other: Approver, at: Path) -> Iterator[Found]:
    """Two entries are two people, or a count of two means nothing."""
    if key_bytes(approver.key) == key_bytes(other.key):
        what = f"stands here twice ({other.name} has it): one key is one approver, however it is written"
        yield (*at, "key"), what, "every approver needs a key of their own"
    if approver.name == other.name:
        yield (*at, "name"), f"{approver.name} stands here twice", "keep one"
    elif shared := sorted(approver.known_as & other.known_as):
        field = "name" if approver.name.casefold() in shared else "accounts"
        what = f"{other.name} is {shared[0]} too: two entries for one person"
        yield (*at, field), what, "one entry a person; capitals make no difference"


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
