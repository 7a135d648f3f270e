"""One run's way through the gate: asked before anything is touched, used once, and left with evidence."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.attestation.keys import Signer, signer
from harness.errors import ConfigurationError, HarnessError, Problem
from harness.history import own_key
from harness.invocation import arguments, foreign
from harness.ledger import Ledger
from harness.promotion import Promotion, current_release, not_this_tree
from harness.reentry import Reentry
from harness.release import Release
from harness.secrets import redact, redact_tree
from harness.sinks.attestation import RunFacts, write_evidence
from harness.sinks.decision_page import render
from harness.sinks.files import earlier_runs
from harness.stack import Stack
from harness.store import open_store

__all__ = ["Passage"]


class Passage:
    """What pytest's run delegates to: the gate in front of it, the evidence behind it."""

    def __init__(self, config: pytest.Config, stack: Stack, file: Path) -> None:
        """Know the release; touches nothing. ``file`` is that of the environment.

        Raises:
            HarnessError: when --release names none.
        """
        self._option, self._stack, self._file = config.option, stack, file
        self._config, self._foreign = config, foreign(config)  # a plug-in may leave before the end
        self._touches = not (config.option.verify_only or config.option.plan or config.option.collectonly)
        self.release = stack.release = current_release(stack.root, config.option.release)
        self._promotion: Promotion | None = None
        self._entered = False
        self.evidence = ""
        """Where the evidence of the run is, when it has been written."""

    def problems(self) -> list[Problem]:
        """Every reason why the release may not enter; none for a run that touches nothing."""
        environment = self._stack.environment
        if not self._touches:
            return []
        try:
            store = open_store(environment, self._stack.root, self._stack.secrets)
            if self._option.rollback:
                key = own_key(environment, self._stack.secrets)
                self._promotion = Reentry(environment, self._stack.root, store, self.release, key=key)
            else:
                self._promotion = Promotion(
                    environment,
                    self._stack.root,
                    store,
                    self.release,
                    self._option.evidence,
                    self._option.approval,
                )
            return list(self._promotion.decide().reasons)
        except ConfigurationError as error:
            return list(error.problems)
        except HarnessError as error:
            return [Problem("gate", str(error))]

    def enter(self) -> None:
        """Use the promotion; the last thing before something is deployed.

        Raises:
            HarnessError: when the gate has closed meanwhile, or another run was faster.
        """
        if self._promotion is not None:
            self._promotion.claim(self._signer())
        self._entered = True

    def changes(self) -> list[str]:
        """A trouble when the tree is not the release any more: what is signed must be what was proven."""
        if not self._entered:
            return []
        tree = Release.build(self._stack.root)
        return [f"the tree changed during the run: {line}" for line in not_this_tree(self.release, tree)]

    def overrides(self) -> list[str]:
        """Everything about the run that is not as the tree says: settings, options, plug-ins."""
        return list(dict.fromkeys([*self._option.set, *self._foreign, *foreign(self._config)]))

    def leave(self, ledger: Ledger) -> str:
        """Write the evidence of the run; what went wrong with that, or nothing. No evidence, no pass."""
        try:
            self.evidence = self._write(ledger)
            if self._promotion is not None and self._entered:
                self._promotion.finish(str(ledger.decision))
        except (HarnessError, OSError) as error:
            return f"the evidence could not be written: {error}"
        return ""

    # --- inside ----------------------------------------------------------------------------------

    def _signer(self) -> Signer:
        gate = self._stack.environment.gate
        found = signer(self._stack.secret(gate.signing_key))
        if gate.public_key and found.public.text != gate.public_key:
            what = f"is not the private half of gate.public_key, but of {found.public.text}"
            raise ConfigurationError([Problem(gate.signing_key, what, "correct one of them")], title="keys")
        return found

    def _write(self, ledger: Ledger) -> str:
        stack = self._stack
        run = redact_tree(ledger.as_dict())
        page = redact(render(run, earlier_runs(stack.state, ledger.run_id))).encode()
        facts = RunFacts(
            stack.environment,
            self.release,
            Path(stack.root),
            self._file,
            tuple(ledger.overrides),
            arguments(self._config),
        )
        store = open_store(stack.environment, stack.root, stack.secrets)
        return write_evidence(ledger, facts, page, self._signer(), store)
