"""A release that staging has passed and somebody has approved, with every key in the test's hands.

Honest by default. An attack changes one thing, and signs again where an attacker could.
"""

from __future__ import annotations

import copy
import datetime as dt
import functools
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from harness.approval import approve
from harness.attestation import dsse, strict_json
from harness.attestation.keys import Signer
from harness.attestation.statement import write
from harness.environment import Environment, Waiver
from harness.environment.loader import load
from harness.evidence import Verdict, holds
from harness.expectations import expected_tests
from harness.gate import Decision, Known, decide, promotion_id
from harness.gate_evidence import Sealed
from harness.gherkin import read_features
from harness.ledger import Ledger, ScenarioRecord
from harness.release import Release
from harness.sinks.attestation import RunFacts, test_result
from tests.release_tree import commit, make_tree

NOW = dt.datetime(2026, 3, 4, 12, 0, 0, tzinfo=dt.UTC)  # a Wednesday
IMAGE = "sha256:" + "a" * 64
REPORT = b"<!doctype html><title>GO: staging</title>"
Change = Callable[[dict[str, Any]], None]


def key(name: str) -> Signer:
    """A key of that name, always the same one."""
    return Signer(Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32, b"-")))


RUNNER, OTHER_RUNNER, LOCAL_RUNNER = key("staging runner"), key("second runner"), key("local runner")
PRODUCTION = key("production runner")
DANA, EVE = key("dana"), key("eve")


def write_tree(root: Path, ssh_public: str = "") -> Path:
    """The repository, with keys of ours in its environment files, and no freeze."""
    make_tree(root)
    production, staging = (root / "environments" / f"{name}.yaml" for name in ("production", "staging"))
    sam = f"      - name: sam\n        key: {ssh_public}\n" if ssh_public else ""
    demands = (
        f"  runners:\n    - name: pipeline\n      key: {RUNNER.public.text}\n"
        f"    - name: second\n      key: {OTHER_RUNNER.public.text}\n"
        "  maximum_age_hours: 12\n  approvals:\n    count: 1\n    approvers:\n"
        f"      - name: dana\n        key: {DANA.public.text}\n        accounts: [dana-at-forge]\n{sam}\n"
    )
    rest_of_gate = re.compile(r"^  runners:.*?(?=^[a-z])", re.MULTILINE | re.DOTALL)
    production.write_text(rest_of_gate.sub(demands, production.read_text()))
    for path, own, runner in ((production, PRODUCTION, None), (staging, RUNNER, LOCAL_RUNNER)):
        text = re.sub(r"public_key: \S+", f"public_key: {own.public.text}", path.read_text())
        path.write_text(
            re.sub(r"key: ed25519:\S+\n", f"key: {runner.public.text}\n", text) if runner else text
        )
    commit(root, "keys")
    return root


def ssh_key(path: Path) -> str:
    """A new ssh key at ``path``; its public half without the comment."""
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    return path.with_suffix(".pub").read_text().strip()


@functools.cache
def _expected(root: Path) -> tuple[str, ...]:
    return tuple(expected_tests(read_features(root / "features"), "staging", root, drills=True))


@dataclass
class Stand:
    """What the gate is told. Every method that changes something returns another stand."""

    root: Path
    environment: Environment
    release: Release
    predecessor: Environment
    evidence: Sealed | None = None
    approvals: Sequence[bytes] = ()
    used: dict[str, str] = field(default_factory=dict)
    now: dt.datetime = NOW
    waivers: Sequence[Waiver] = ()
    """Those of staging's file."""
    items: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Test: its checklist items."""

    @classmethod
    def honest(cls, root: Path) -> Stand:
        """Staging has passed an hour ago; dana has approved half an hour ago."""
        release = Release.build(root, IMAGE)
        made = cls(root, load("production", root).environment, release, load("staging", root).environment)
        return made.ran().approved()

    @property
    def expected(self) -> list[str]:
        """What staging must have passed."""
        return list(_expected(self.root))

    def payload(self) -> dict[str, Any]:
        """What an honest run states, as data."""
        start = NOW - dt.timedelta(hours=1)
        ledger = Ledger("staging", "20260304T110000Z-abc", False, start, by="pipeline (run 7)")
        ledger.finished = start + dt.timedelta(minutes=4)
        for name in self.expected:
            file, _, title = name.partition(": ")
            where = f"{self.root / file}:1"
            ledger.scenarios.append(
                ScenarioRecord(
                    "Gateway", "", title, "", (), where, Verdict.HOLDS, "", (holds("seen"),), 0.1
                )
            )
        facts = RunFacts(self.predecessor, self.release, self.root, load("staging", self.root).content)
        return strict_json.loads(write(test_result(ledger, facts, REPORT)))

    def ran(
        self,
        change: Change = lambda payload: None,
        signers: Iterable[Signer] = (RUNNER,),
        report: bytes | None = REPORT,
        payload_type: str = dsse.IN_TOTO,
    ) -> Stand:
        """With evidence that was changed before it was signed."""
        payload = copy.deepcopy(self.payload())
        change(payload)
        raw = dsse.seal(strict_json.dumps(payload), signers, payload_type)
        return replace(self, evidence=Sealed("evidence.intoto.json", raw, report))

    def carrying(self, raw: bytes, report: bytes | None = REPORT) -> Stand:
        """With these very bytes as evidence."""
        return replace(self, evidence=Sealed("evidence.intoto.json", raw, report))

    def approved(
        self, by: str = "dana", with_key: Signer | Path = DANA, at: dt.datetime | None = None
    ) -> Stand:
        """With one approval of what it carries now."""
        return replace(self, approvals=[*self.approvals, self.approval(by, with_key, at)])

    def approval(
        self, by: str = "dana", with_key: Signer | Path = DANA, at: dt.datetime | None = None
    ) -> bytes:
        """An approval of what it carries now."""
        assert self.evidence is not None
        when = at or NOW - dt.timedelta(minutes=30)
        name = self.environment.environment
        return approve(name, self.promotion, self.release, self.evidence, by, when, with_key)

    @property
    def promotion(self) -> str:
        return promotion_id(self.environment.environment, self.release, self.evidence)

    def gate(self, **changes: object) -> Stand:
        """With other demands."""
        gate = self.environment.gate.model_copy(update=changes)
        return replace(self, environment=self.environment.model_copy(update={"gate": gate}))

    def decide(self) -> Decision:
        """What the gate says."""
        return decide(
            Known(
                self.environment,
                self.release,
                self.evidence,
                self.approvals,
                self.expected,
                {"environments/staging.yaml": load("staging", self.root).digest},
                self.used,
                self.now,
                waivers=self.waivers,
                items=self.items,
            )
        )

    def is_denied(self, *told: str) -> None:
        """The gate stays closed and names the reason, with what to do about it."""
        decision = self.decide()
        assert not decision.open
        reasons = "\n".join(map(str, decision.reasons))
        for text in told:
            assert text in reasons, f"{text!r} is not in:\n{reasons}"

    def is_denied_only_for(self, told: str) -> None:
        """The same, and there is no other reason: this one alone keeps it closed."""
        self.is_denied(told)
        strange = [str(r) for r in self.decide().reasons if told not in str(r)]
        assert not strange, strange

    def is_let_in(self) -> None:
        decision = self.decide()
        assert decision.open, "\n".join(map(str, decision.reasons))
