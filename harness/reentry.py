"""Back to what ran before: the gate for a rollback.

A release that has passed here may come back at any hour: no age limit, no freeze, no new approval. What
speaks for it is this environment's own signature under a complete passing run of exactly these artefacts.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass, field

from harness.attestation.keys import PublicKey
from harness.attestation.statement import Statement, TestResult
from harness.errors import Problem
from harness.gate import Decision
from harness.gate_evidence import Sealed
from harness.invocation import FOREIGN
from harness.promotion import Promotion
from harness.runs import newest_first

__all__ = ["Reentry"]


@dataclass
class Reentry(Promotion):
    """One attempt to bring a release back into the environment in which it has passed."""

    key: PublicKey | None = None
    """The public half of the key that signs the environment's evidence."""
    number: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Names this rollback; a release may come back more than once."""

    def decide(self, now: dt.datetime | None = None) -> Decision:
        """Whether the release has passed here before, and every reason why that is not known.

        Raises:
            HarnessError: when the store cannot be read.
        """
        name = self.environment.environment
        reasons = self._tree()
        found: Statement[TestResult] | None = None
        if self.key is None:
            what = f"the key that signs the evidence of {name} is not known here"
            reasons.append(
                Problem("gate.rollback", what, "gate.public_key, or the secret of gate.signing_key")
            )
        else:
            self._evidence, found = self._passed(self.key)
        if self.key is not None and found is None:
            what = f"{self.release.name} has never passed in {name}: no run of it is signed by its key"
            hint = f"harness history --env {name} shows which releases have"
            reasons.append(Problem("gate.rollback", what, hint))
        self._decision = Decision(name, self.number, tuple(reasons), (), found)
        return self._decision

    def _passed(self, key: PublicKey) -> tuple[Sealed | None, Statement[TestResult] | None]:
        """The newest evidence of a passing run of the release here."""
        for kept in newest_first(self.store, self.environment.environment):
            if kept.problem or not kept.sealed.envelope.signed_by([key]):
                continue  # evidence of something else is none of this release
            if self._is_a_pass(kept.sealed.statement):
                return kept.with_report(self.store), kept.sealed.statement
        return None, None

    def _is_a_pass(self, found: Statement[TestResult]) -> bool:
        result = found.predicate
        subjects = {subject.name: subject.digest.text for subject in found.subject}
        return (
            result.environment == self.environment.environment
            and result.mode == "deploy"
            and result.result in ("PASSED", "WARNED")
            and not (result.failed_tests or result.skipped_tests or result.dirty)
            and not any(setting.startswith(FOREIGN) for setting in result.overrides)
            and subjects == self.release.subjects
            and result.release == self.release.digest
        )
